package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cluster"
	"one-clvm/cluster/standalone"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// node is a node without a cluster: a libvirt with one domain, volumes, and a clock that
// only waiting moves.
type node struct {
	state    string // of the domain; "" for none
	down     bool   // libvirt does not answer
	stubborn bool   // the guest ignores a shutdown
	created  string // document of the domain that was created
	fail     map[string]error
	volumes  []lvm.Volume
	manager  string
	calls    []string
	now      time.Time
	base     string
}

func newNode(t *testing.T) *node {
	n := &node{fail: map[string]error{}, manager: "dlm", base: t.TempDir(), now: time.Unix(1e9, 0)}
	for disk := range 2 {
		n.volumes = append(n.volumes, lvm.Volume{Group: "vg-one", Name: fmt.Sprintf("lv-one-42-%d", disk), Path: fmt.Sprintf("/dev/vg-one/lv-one-42-%d", disk), Tags: lvm.DiskTags(42, disk, 101)})
	}
	n.volumes = append(n.volumes, lvm.Volume{Group: "vg-one", Name: "lv-one-4-2", Path: "/dev/vg-one/lv-one-4-2", Tags: lvm.DiskTags(4, 2, 101)})
	require.NoError(t, os.MkdirAll(n.home(), 0o755))
	return n
}

func (n *node) home() string { return filepath.Join(n.base, "101", "42") }

func (n *node) config() Config {
	return Config{HomeBases: []string{n.base}, Hypervisor: "qemu:///system", MigrationURI: "qemu+ssh://%s/system", LockDir: filepath.Join(n.base, "locks")}
}

func (n *node) note(call string) error {
	n.calls = append(n.calls, call)
	for beginning, err := range n.fail {
		if strings.HasPrefix(call, beginning) {
			return err
		}
	}
	return nil
}

// Run implements run.Runner: virsh.
func (n *node) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	verb := c.Args[2]
	if verb == "domstate" {
		return n.domstate()
	}
	if err := n.note("virsh " + strings.Join(c.Args[2:], " ")); err != nil {
		return run.Result{Status: 1}, err
	}
	switch verb {
	case "create", "restore":
		text, err := io.ReadAll(c.Stdin)
		if err != nil {
			return run.Result{}, err
		}
		n.created, n.state = string(text), "running"
	case "shutdown":
		if !n.stubborn {
			n.state = ""
		}
	case "destroy", "migrate", "save":
		n.state = ""
	}
	return run.Result{}, nil
}

func (n *node) domstate() (run.Result, error) {
	failure := func(text string) (run.Result, error) {
		return run.Result{Status: 1}, &run.Error{Argv: []string{"virsh"}, Status: 1, Stderr: text, Err: errors.New("exit status 1")}
	}
	switch {
	case n.down:
		return failure("error: failed to connect to the hypervisor")
	case n.state == "":
		return failure("error: failed to get domain 'one-42'")
	}
	return run.Result{Stdout: []byte(n.state + "\n\n")}, nil
}

// Do implements Agents.
func (n *node) Do(_ context.Context, host string, q agent.Request) (agent.Result, error) {
	if host == Here {
		host = "here"
	}
	switch q.Op {
	case agent.OpVolumes:
		return agent.Result{Volumes: n.volumes}, n.fail["volumes"]
	case agent.OpMonitor:
		return agent.Result{Info: &lvm.GroupInfo{Name: q.Group, LockManager: n.manager}}, nil
	}
	return agent.Result{}, n.note(fmt.Sprintf("%s: %s %s of VM %d in %s", host, q.Op, q.Activate, q.VM, q.Home[len(n.base):]))
}

// Now implements cluster.Clock.
func (n *node) Now() time.Time { return n.now }

// Sleep implements cluster.Clock.
func (n *node) Sleep(_ context.Context, d time.Duration) error {
	n.now = n.now.Add(d)
	return nil
}

func (n *node) agent() *Agent {
	return &Agent{
		Config: n.config(), Groups: []string{"vg-one"}, Agents: n, Runner: n, Clock: n,
		Stack: func(document func() (string, error)) (cluster.Stack, error) {
			return &standalone.Stack{Virsh: &virsh.Client{Runner: n, MigrationURI: n.config().MigrationURI}, Document: document}, nil
		},
	}
}

// document is a domain as oned writes it.
func (n *node) document() string {
	return `<domain type="kvm"><name>one-42</name><devices><disk type="file" device="disk"><source file="` + n.home() +
		`/disk.1"/><target dev="vda"/></disk></devices></domain>`
}
