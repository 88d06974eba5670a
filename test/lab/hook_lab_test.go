//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/build"
	"one-clvm/test/fakeoned"
)

// Where the hook is, and what it knows, on a node.
const (
	hookProgram  = "/usr/libexec/one-clvm/one-migrate-hook"
	hookSpool    = "/var/spool/one-clvm"
	hookState    = "/var/lib/one-clvm/hook"
	hookKey      = "/etc/one-clvm/hook.key"
	oneadminHome = "/var/lib/one"
)

// hooked is a cluster that tells oned what it does by itself. Both nodes are front-ends of a
// pair, too: there is no other machine that they reach. oned itself, which a tunnel leads to,
// has its drivers called on the real disks and VMs.
type hooked struct {
	*site
	passed, all int
}

func startHooked(t *testing.T) *hooked {
	t.Helper()
	h := &hooked{site: startHA(t, profile.HA)}
	programs := map[string]string{}
	for _, name := range []string{"one-migrate-hook", "one-migrate-hook-commands"} {
		programs[name] = filepath.Join(h.directory, name)
		require.NoError(t, build.Program(t.Context(), programs[name], "./cmd/"+name))
	}
	key := filepath.Join(h.directory, "hook")
	_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "ssh-keygen", Args: []string{"-q", "-t", "ed25519", "-N", "", "-f", key}})
	require.NoError(t, err)
	for _, n := range h.Nodes {
		for name, program := range programs {
			require.NoError(t, n.PutFile(t.Context(), program, filepath.Join(filepath.Dir(hookProgram), name), 0o755))
		}
		h.setUpHook(n, key)
		h.tunnel(n)
	}
	h.oned.Live(h)
	h.configure(t, "../../hook/entrances/pacemaker-alert.xml")
	return h
}

// setUpHook does on a node what docs/hook.md says, for nodes and for front-ends.
func (h *hooked) setUpHook(n *cluster.Node, key string) {
	h.Helper()
	root, err := build.Repository()
	require.NoError(h, err)
	require.NoError(h, n.PutFile(h.Context(), key, hookKey, 0o600))
	require.NoError(h, n.PutFile(h.Context(), filepath.Join(root, "sudoers.d/one-clvm-hook"), "/etc/sudoers.d/one-clvm-hook", 0o440))
	settings := "FRONTENDS=\"node1 node2\"\nNODES=\"node1 node2\"\nVERSION=7.4.0\nLOCAL_MIGRATE=True\nSTATE_DIR=" + hookState + "\n"
	require.NoError(h, n.Put(h.Context(), "/etc/one-clvm/hook.conf", strings.NewReader(settings), 0o644, 0))
	require.NoError(h, n.Put(h.Context(), oneadminHome+"/.one/one_auth", strings.NewReader(fakeoned.Session+"\n"), 0o600, cluster.OneadminID))
	h.Output(h.T, n, "install", "-d", "-m", "3770", "-o", "root", "-g", "haclient", hookSpool)
	h.Output(h.T, n, "install", "-d", "-m", "0700", "-o", "oneadmin", "-g", "oneadmin", hookState)
	public, err := os.ReadFile(key + ".pub")
	require.NoError(h, err)
	allowed := h.Output(h.T, n, "cat", authorizedKeys) + fmt.Sprintf("command=\"%s receive\",restrict %s", hookProgram, public)
	require.NoError(h, n.Put(h.Context(), authorizedKeys, strings.NewReader(allowed), 0o600, cluster.OneadminID))
}

const authorizedKeys = oneadminHome + "/.ssh/authorized_keys"

// tunnel lets a node reach oned where a front-end has it.
func (h *hooked) tunnel(n *cluster.Node) {
	h.Helper()
	oned := strings.TrimSuffix(strings.TrimPrefix(h.oned.URL(), "http://"), "/RPC2")
	ctx, end := context.WithCancel(context.Background())
	ssh := exec.CommandContext(ctx, "ssh", "-F", h.SSHConfig(), "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-N", "-R", "127.0.0.1:2633:"+oned, n.Name) //nolint:gosec // the lab's own
	require.NoError(h, ssh.Start())
	h.Cleanup(func() {
		end()
		_ = ssh.Wait() // killed, or the node was
	})
}

// configure puts a file of ours into the cluster's configuration.
func (h *hooked) configure(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, err = h.Nodes[0].Run(t.Context(), run.Cmd{Path: "cibadmin", Args: []string{"--modify", "--allow-create", "-o", "alerts", "-p"}, Stdin: strings.NewReader(string(text))})
	require.NoError(t, err)
}

// Migrate implements fakeoned.Drivers, as oned 7.4 does it where the driver's migrate runs on
// the front-end. That POSTMIGRATE fails is nothing to it.
func (h *hooked) Migrate(vm int, from, to string) error {
	call := append([]string{from, to, home(vm)}, of(vm, fakeoned.SystemDS)...)
	if r := h.verb(strings.NewReader(h.document(vm)), "premigrate", call...); r.status != 0 {
		return errors.New(r.stderr)
	}
	if r := h.driverFrom(h.frontEnd(), from, h.action(vm), "migrate_local", vm, name(vm), to, from); r.status != 0 {
		return errors.New(r.stderr)
	}
	h.verb(strings.NewReader(h.document(vm)), "postmigrate", call...)
	return nil
}

// Deploy implements fakeoned.Drivers. No VM here is lost, or off.
func (h *hooked) Deploy(vm int, host string) error {
	return fmt.Errorf("deploy of VM %d on %s", vm, host)
}

// alive are the nodes that have power.
func (h *hooked) alive() []*cluster.Node {
	var alive []*cluster.Node
	for _, n := range h.Nodes {
		if on, err := n.Running(); err == nil && on {
			alive = append(alive, n)
		}
	}
	return alive
}

func (h *hooked) frontEnd() string { return h.alive()[0].Name }

// deliver is what the timer of a node starts. A cluster that does not answer just now is asked
// again by the next one.
func (h *hooked) deliver(n *cluster.Node) {
	h.Helper()
	r, err := n.Run(h.Context(), run.Cmd{Path: hookProgram, Args: []string{"deliver"}})
	var failed *run.Error
	if err != nil && !errors.As(err, &failed) {
		require.NoError(h, err)
	}
	if len(r.Stderr) > 0 {
		h.Logf("%s: %s", n.Name, r.Stderr)
	}
}

// waiting are the events in a node's spool.
func (h *hooked) waiting(n *cluster.Node) []string {
	h.Helper()
	return strings.Fields(h.Output(h.T, n, "ls", hookSpool))
}

// told: the nodes' timers and oned go on until the record of the VMs is the truth, which the
// telling has not changed: the same process runs each on the node, for which alone its disk
// is active. calls is how many calls of oned that takes.
func (h *hooked) told(n *cluster.Node, calls int, vms ...int) {
	h.Helper()
	processes, before := map[int]string{}, len(h.oned.Changes())
	for _, vm := range vms {
		processes[vm] = h.process(n, vm)
	}
	h.await("oned's record is the truth, and nothing is left to be told", func() bool {
		left := 0
		for _, node := range h.alive() {
			h.deliver(node)
			left += len(h.waiting(node))
		}
		h.oned.Settle()
		return left == 0
	})
	for _, vm := range vms {
		h.agrees(n, vm)
		assert.Equal(h, processes[vm], h.process(n, vm), "the VM was moved or started by the telling")
	}
	assert.Len(h, h.oned.Changes(), before+calls, "calls of oned")
}

// agrees: oned has the VM running where it runs, and its disk is that node's alone.
func (h *hooked) agrees(n *cluster.Node, vm int) {
	h.Helper()
	host, state, lcm := h.oned.At(vm)
	assert.Equal(h, []any{n.Name, 3, 3}, []any{host, state, lcm}, "oned's record of VM %d", vm)
	for _, node := range h.alive() {
		want, mode := "", lvm.Off
		if node == n {
			want, mode = "running", lvm.Exclusive
		}
		assert.Equal(h, want, h.domstate(node, vm), node.Name)
		assert.Equal(h, mode, h.volumes(node)[volume(vm, 0)].Mode, node.Name)
	}
}

// move has the cluster move VMs, as an administrator does by hand, and waits until it has.
func (h *hooked) move(to *cluster.Node, vms ...int) {
	h.Helper()
	for _, vm := range vms {
		h.Output(h.T, to, "crm_resource", "--move", "-r", name(vm), "--node", to.Name)
	}
	for _, vm := range vms {
		h.comesTo(to, vm)
		h.Output(h.T, to, "crm_resource", "--clear", "-r", name(vm))
	}
}

// scenario is one of what a cluster does by itself.
func (h *hooked) scenario(name string, do func()) {
	h.Helper()
	h.all++
	h.sub(name, do)
	h.passed++
}

// What a real Pacemaker does to a VM by itself comes to oned by its alerts, once and in the end
// right, and telling moves no VM. All that a cluster can do, under a clock of its own:
// hook.TestScenarios.
func TestHookOnPacemaker(t *testing.T) {
	h := startHooked(t)
	one, two := h.Nodes[0], h.Nodes[1]
	h.guestVM(vmID, one.Name)
	h.deploy(one.Name, vmID)
	h.oned.Lose(vmID, 3, 3) // RUNNING
	h.told(one, 0, vmID)
	h.scenario("moved by hand", func() {
		h.move(two, vmID)
		h.told(two, 1, vmID)
	})
	fmt.Printf("hook: %d scenarios, %d ok\n", h.all, h.passed)
}
