package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cluster"
	"one-clvm/cluster/standalone"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// node is a node without a cluster: a libvirt with one domain, volumes, and a clock that
// only waiting moves.
type node struct {
	state        string    // of the domain; "" for none
	down         bool      // libvirt does not answer
	back         time.Time // when it does again; zero: never
	processes    []string  // command lines of the node's; nil: it has no /proc
	stubborn     bool      // the guest ignores a shutdown
	created      string    // document of the domain that was created
	fail         map[string]error
	volumes      []lvm.Volume
	manager      string
	unconfigured error  // why the resource agent has no configuration
	uri          string // of the libvirt that was asked last
	calls        []string
	now          time.Time
	base         string
	first        string // a HOME_BASE before it

	disks      map[string]string // of the running domain, by target
	nics       []string
	report     string   // of crm_mon, where there is a cluster; down where that does not answer
	configured []string // what cibadmin was given

	peer   *node         // where migrations go
	memory string        // KiB that it may have at most
	holds  bool          // the guest does not let go of a device
	stats  string        // answer of domstats
	dies   int           // after that many calls that change something, the process dies
	asked  int           // how often domstats was called
	limit  time.Duration // that the last create, restore or shutdown was given

	phaseLimit time.Duration // of what libvirt's hook runs; 0 its own
	hangs      bool          // network drivers do not end
	documents  []string      // that they got
}

func newNode(t *testing.T) *node {
	n := &node{fail: map[string]error{}, manager: "dlm", memory: "2097152", base: t.TempDir(), now: time.Unix(1e9, 0)}
	for disk := range 2 {
		n.volumes = append(n.volumes, lvm.Volume{Group: "vg-one", Name: fmt.Sprintf("lv-one-42-%d", disk), Path: fmt.Sprintf("/dev/vg-one/lv-one-42-%d", disk), Tags: lvm.DiskTags(42, disk, 101)})
	}
	n.disks = map[string]string{"vda": "/dev/vg-one/lv-one-42-1"}
	n.volumes = append(n.volumes, lvm.Volume{Group: "vg-one", Name: "lv-one-4-2", Path: "/dev/vg-one/lv-one-4-2", Tags: lvm.DiskTags(4, 2, 101)})
	require.NoError(t, os.MkdirAll(n.home(), 0o755))
	return n
}

func (n *node) home() string { return filepath.Join(n.base, "101", "42") }

func (n *node) config() Config {
	bases := []string{n.base}
	if n.first != "" {
		bases = []string{n.first, n.base}
	}
	return Config{HomeBases: bases, Hypervisor: "qemu:///system", MigrationURI: "qemu+ssh://%s/system", LockDir: filepath.Join(n.base, "locks"), Remotes: "/var/tmp/one", Owner: "oneadmin"}
}

// death is that of the process: nothing is taken back.
type death struct{}

// ended is told after each call.
func (n *node) ended() {
	if n.dies > 0 && len(n.calls) >= n.dies {
		n.dies = 0
		panic(death{})
	}
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

// Run implements run.Runner: virsh, the scripts of network drivers, and another node.
func (n *node) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	defer n.ended()
	switch c.Path {
	case "runuser":
		return n.network(ctx, c)
	case "ssh":
		return n.other(ctx, c)
	case "crm_mon", "crm_node", "cibadmin", "crm_resource":
		return n.tool(c)
	}
	n.uri = c.Args[1]
	verb := c.Args[2]
	if deadline, limited := ctx.Deadline(); limited && verb == "shutdown" {
		n.limit = time.Until(deadline)
	}
	switch verb {
	case "domstate":
		return n.domstate()
	case "dumpxml":
		return run.Result{Stdout: []byte(n.dumpxml())}, nil
	case "list": // of another node
		if n.peer == nil || n.peer.down {
			return n.failure("error: failed to connect to the hypervisor")
		}
		return run.Result{Stdout: []byte(map[bool]string{true: "one-42\n"}[n.peer.state != ""])}, nil
	case "domstats":
		n.asked++
		if n.silent() {
			return n.failure("error: failed to connect to the hypervisor")
		}
		if n.stats == "" && n.state == "running" {
			return run.Result{Stdout: []byte("Domain: 'one-42'\n  state.state=1\n  state.reason=1\n")}, nil
		}
		return run.Result{Stdout: []byte(n.stats)}, nil
	}
	if n.silent() {
		return n.failure("error: failed to connect to the hypervisor")
	}
	if err := n.note("virsh " + strings.Join(c.Args[2:], " ")); err != nil {
		return run.Result{Status: 1}, err
	}
	switch verb {
	case "create", "restore":
		if deadline, ok := ctx.Deadline(); ok {
			n.limit = time.Until(deadline)
		}
		text, err := io.ReadAll(c.Stdin)
		if err != nil {
			return run.Result{}, err
		}
		n.created, n.state = string(text), "running"
		if slices.Contains(c.Args, "--paused") {
			n.state = "paused"
		}
		if err := n.plug(n.created); err != nil {
			return run.Result{}, err
		}
	case "resume":
		n.state = "running"
	case "shutdown":
		if !n.stubborn {
			n.state = ""
		}
	case "migrate":
		if n.peer != nil {
			n.peer.state, n.peer.disks, n.peer.nics, n.peer.memory = n.state, n.disks, n.nics, n.memory
		}
		n.state = ""
	case "save":
		n.state = ""
		return run.Result{}, os.WriteFile(c.Args[4], []byte("its memory"), 0o600)
	case "destroy":
		n.state = ""
	case "attach-device":
		return run.Result{}, n.attach(c.Stdin)
	case "detach-disk":
		if !n.holds {
			delete(n.disks, c.Args[4])
		}
	case "detach-interface":
		n.nics = slices.DeleteFunc(n.nics, func(mac string) bool { return mac == c.Args[6] })
	case "change-media":
		n.disks[c.Args[4]] = ""
		if slices.Contains(c.Args, "--insert") {
			n.disks[c.Args[4]] = c.Args[5]
		}
	}
	return run.Result{}, nil
}

// network is a script of a network driver; what it reads has to be the VM's document.
func (n *node) network(ctx context.Context, c run.Cmd) (run.Result, error) {
	text, err := opennebula.ReadDocument(c.Stdin)
	if err != nil || !strings.HasPrefix(string(text), "<VM>") {
		return run.Result{Status: 1}, fmt.Errorf("document %q: %w", text, err)
	}
	n.documents = append(n.documents, string(text))
	err = n.note(strings.Join(c.Args, " "))
	if n.hangs {
		<-ctx.Done()
		err = ctx.Err()
	}
	return run.Result{}, err
}

// other is the privileged end of the node that a migration goes to.
func (n *node) other(ctx context.Context, c run.Cmd) (run.Result, error) {
	if err := n.note("ssh " + c.Args[0]); err != nil {
		return run.Result{Status: 255}, err
	}
	return run.Result{}, n.agent().Serve(ctx, c.Stdin, c.Stdout)
}

func (n *node) attach(document io.Reader) error {
	doc := etree.NewDocument()
	if _, err := doc.ReadFrom(document); err != nil {
		return err
	}
	if mac := doc.Root().SelectElement("mac"); mac != nil {
		n.nics = append(n.nics, mac.SelectAttrValue("address", ""))
		return nil
	}
	source := doc.Root().SelectElement("source")
	n.disks[doc.Root().SelectElement("target").SelectAttrValue("dev", "")] = source.SelectAttrValue("dev", source.SelectAttrValue("file", ""))
	return nil
}

// plug gives the domain the disks of its document.
func (n *node) plug(document string) error {
	doc := etree.NewDocument()
	if err := doc.ReadFromString(document); err != nil {
		return err
	}
	n.disks, n.nics = map[string]string{}, nil
	for _, disk := range doc.FindElements("domain/devices/disk") {
		source := disk.SelectElement("source")
		n.disks[disk.SelectElement("target").SelectAttrValue("dev", "")] = source.SelectAttrValue("dev", source.SelectAttrValue("file", ""))
	}
	if memory := doc.FindElement("domain/memory"); memory != nil {
		n.memory = memory.Text()
	}
	return nil
}

// dumpxml is what libvirt says of the running domain.
func (n *node) dumpxml() string {
	devices := ""
	for target, path := range n.disks {
		devices += fmt.Sprintf("<disk><source dev='%s'/><target dev='%s'/></disk>", path, target)
	}
	for _, mac := range n.nics {
		devices += fmt.Sprintf("<interface><mac address='%s'/></interface>", mac)
	}
	return "<domain><memory unit='KiB'>" + n.memory + "</memory><vcpu current='1'>4</vcpu><devices>" + devices + "</devices></domain>"
}

// silent says that libvirt does not answer.
func (n *node) silent() bool { return n.down && (n.back.IsZero() || n.now.Before(n.back)) }

// root has the /proc of the node.
func (n *node) root(t *testing.T) string {
	root := t.TempDir()
	for i, line := range n.processes {
		dir := filepath.Join(root, "proc", strconv.Itoa(i+1))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cmdline"), []byte(strings.ReplaceAll(line, " ", "\x00")+"\x00"), 0o644))
	}
	return root
}

func (*node) failure(text string) (run.Result, error) {
	return run.Result{Status: 1}, &run.Error{Argv: []string{"virsh"}, Status: 1, Stderr: text, Err: errors.New("exit status 1")}
}

func (n *node) domstate() (run.Result, error) {
	switch {
	case n.silent():
		return n.failure("error: failed to connect to the hypervisor")
	case n.state == "":
		return n.failure("error: failed to get domain 'one-42'")
	}
	return run.Result{Stdout: []byte(n.state + "\n\n")}, nil
}

// Do implements Agents.
func (n *node) Do(_ context.Context, host string, q agent.Request) (agent.Result, error) {
	defer n.ended()
	if host == Here {
		host = "here"
	}
	if q.Op == agent.OpVolumes {
		return agent.Result{Info: &lvm.GroupInfo{Name: q.Group, LockManager: n.manager}, Volumes: n.volumes}, n.fail["volumes"]
	}
	return agent.Result{}, n.note(fmt.Sprintf("%s: %s %s of VM %d in %s", host, q.Op, q.Activate, q.VM, strings.TrimPrefix(q.Home, n.base)))
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
			return &standalone.Stack{Hypervisor: &virsh.Client{Runner: n, MigrationURI: n.config().MigrationURI}, Document: document}, nil
		},
	}
}

// document is a domain as oned writes it.
func (n *node) document() string {
	return `<domain type="kvm"><name>one-42</name><devices><disk type="file" device="disk"><source file="` + n.home() +
		`/disk.1"/><target dev="vda"/></disk></devices></domain>`
}
