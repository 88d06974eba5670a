//go:build lab

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	rec "one-clvm/recovery"
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
	stuck       *worker // the front-end of the VM that waits in vain
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
	h.stoppable()
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
	tunnel(h.T, h.Cluster, n, "127.0.0.1:2633:"+oned)
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

// Deploy implements fakeoned.Drivers.
func (h *hooked) Deploy(vm int, host string) error {
	r := h.driver(host, guestDomain(vm), "deploy", vm, home(vm)+"/deployment.0", host)
	if r.status != 0 {
		return errors.New(r.stderr)
	}
	return nil
}

// Move implements fakeoned.Transfers.
func (h *hooked) Move(vm int, from, to string) error {
	h.moves(from, to, vm)
	return nil
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

// doings are what the cluster's log has of VMs that it moved or started.
func (h *hooked) doings() int {
	h.Helper()
	n := 0
	for _, node := range h.alive() {
		lines := h.Output(h.T, node, "sed", "-n", `/Requesting local execution of \(migrate_to\|start\) operation for one-/p`, "/var/log/pacemaker/pacemaker.log")
		n += strings.Count(lines, "\n")
	}
	return n
}

// told: the nodes' timers and oned go on until the record of the VMs is the truth, which the
// telling has not changed: the cluster's log has no move and no start more, the same process
// runs each on the node, for which alone its disk is active. calls is how many calls of oned
// that takes.
func (h *hooked) told(n *cluster.Node, calls int, vms ...int) {
	h.Helper()
	h.moveless(n, vms, func() {
		before := len(h.oned.Changes())
		h.await("oned's record is the truth, and nothing is left to be told", func() bool {
			left := 0
			for _, node := range h.alive() {
				h.deliver(node)
				left += len(h.waiting(node))
			}
			h.oned.Settle()
			for _, vm := range vms { // an alert takes its time
				if host, _, lcm := h.oned.At(vm); host != n.Name || lcm != 3 {
					return false
				}
			}
			return left == 0
		})
		assert.Len(h, h.oned.Changes(), before+calls, "calls of oned")
	})
}

// moveless is a telling that leaves VMs where they are.
func (h *hooked) moveless(n *cluster.Node, vms []int, tell func()) {
	h.Helper()
	doings, processes := h.doings(), map[int]string{}
	require.Positive(h, doings, "the cluster's log tells what it does")
	for _, vm := range vms {
		processes[vm] = h.process(n, vm)
	}
	tell()
	for _, vm := range vms {
		h.agrees(n, vm)
		assert.Equal(h, processes[vm], h.process(n, vm), "the VM was moved or started by the telling")
	}
	assert.Equal(h, doings, h.doings(), "moves and starts in the cluster's log")
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

// What a real Pacemaker does to VMs by itself comes to oned by its alerts, once and in the end
// right, and telling moves no VM. The same at full size, under a clock of its own:
// hook.TestScenarios. In between a front-end dies with its drivers, again and again.
func TestHookOnPacemaker(t *testing.T) {
	h := startHooked(t)
	one, two := h.Nodes[0], h.Nodes[1]
	const first, second = vmID, vmID + 1
	for _, vm := range []int{first, second} {
		h.guestVM(vm, one.Name)
		h.deploy(one.Name, vm)
		h.oned.Lose(vm, 3, 3) // RUNNING
	}
	h.told(one, 0, first, second)
	early := time.Now()
	h.scenario("a: moved by hand", func() {
		h.move(two, first)
		h.told(two, 1, first)
	})
	h.scenario("f: reports twice, reordered, late", func() { h.repeats(two, first, early) })
	h.scenario("e: front-ends unreachable", func() {
		for _, n := range h.Nodes {
			h.Output(h.T, n, "mv", authorizedKeys, authorizedKeys+".away")
		}
		h.move(one, first)
		h.deliver(two)
		assert.NotEmpty(h, h.waiting(two), "kept")
		for _, n := range h.Nodes {
			h.Output(h.T, n, "mv", authorizedKeys+".away", authorizedKeys)
		}
		h.told(one, 1, first)
	})
	h.scenario("h: oned is migrating the same VM", func() {
		h.oned.Begin(first, two.Name)
		h.windowVerb("premigrate", one.Name, two.Name, first)
		h.move(two, first) // meanwhile, by the cluster: into the open window
		h.deliver(two)
		assert.NotEmpty(h, h.waiting(two), "left alone")
		h.told(two, 0, first)
	})
	h.scenario("d: crashed and restarted in place", func() {
		h.crashes(two, first)
		h.told(two, 0, first)
	})
	h.scenario("b: node drained", func() {
		h.standby(one, "on")
		h.comesTo(two, second)
		h.told(two, 1, first, second)
		h.standby(one, "off")
	})
	h.loses(one, func() { h.move(one, second) })
	h.scenario("c: node killed and fenced", func() {
		require.NoError(h, two.Kill())
		h.comesTo(one, first)
		h.told(one, 1, first)
	})
	h.scenario("g: node dies between spool and delivery", func() {
		h.oned.Put(fakeoned.Hosts, 1, fakeoned.Host(1, two.Name, 3)) // ERROR: meanwhile oned has missed the node
		h.oned.Lose(second, 3, 16)                                   // UNKNOWN
		h.judged(second, rec.Person, "it runs on node1, and oned lost it on node2", "one-migrate-hook reconcile")
		h.moveless(one, []int{second}, func() {
			h.await("reconciled", func() bool {
				h.reconciles(one)
				h.oned.Settle()
				host, _, lcm := h.oned.At(second)
				return host == one.Name && lcm == 3
			})
		})
	})
	fmt.Printf("hook: %d scenarios, %d ok\n", h.all, h.passed)
}

// loses takes from a node what it has heard of something that the cluster does: what the
// other one has heard of it dies with that.
func (h *hooked) loses(n *cluster.Node, happens func()) {
	h.Helper()
	before := len(h.waiting(n))
	happens()
	h.await("it is told of", func() bool { return len(h.waiting(n)) > before })
	h.Output(h.T, n, "find", hookSpool, "-type", "f", "-delete")
}

// repeats has what was told before told again, and what was true before the VM moved, to both
// front-ends: one has seen newer reports, the other has its oned's word alone.
func (h *hooked) repeats(n *cluster.Node, vm int, early time.Time) {
	h.Helper()
	kept := "/root/kept"
	for range 2 {
		h.Output(h.T, n, hookProgram, "report", fmt.Sprint(vm))
	}
	h.Output(h.T, n, "cp", "-a", hookSpool, kept)
	h.await("delivered", func() bool { h.deliver(n); return len(h.waiting(n)) == 0 })
	events := strings.Fields(h.Output(h.T, n, "ls", "-r", kept))
	require.Len(h, events, 2)
	for _, event := range events {
		h.Output(h.T, n, "mv", kept+"/"+event, hookSpool)
	}
	h.told(n, 0, vm)
	other := h.Nodes[len(h.Nodes)-n.Index].Name
	for _, frontEnd := range h.Nodes {
		for _, seen := range []time.Time{early, early.Add(-7 * 24 * time.Hour)} {
			line := fmt.Sprintf("report/1 vm=%d on=%s seen=%d alive=node1,node2 fenced= lost=", vm, other, seen.UnixNano())
			answer := h.Output(h.T, n, "ssh", "-T", "-i", hookKey, "-l", "oneadmin", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", frontEnd.Name, line)
			assert.Regexp(h, "^retry .*look again", answer)
		}
	}
	h.oned.Settle()
	h.agrees(n, vm)
}

// reconciles is what the timer of a front-end starts.
func (h *hooked) reconciles(n *cluster.Node) {
	h.Helper()
	r := h.onFrontEnd(n, hookProgram+" reconcile")
	h.Logf("reconcile: %s%s", r.Stdout, r.Stderr)
	require.LessOrEqual(h, r.Status, 1, "it could not look")
}

// onFrontEnd runs a program as oneadmin.
func (h *hooked) onFrontEnd(n *cluster.Node, line string) run.Result {
	h.Helper()
	r, err := run.Exec{}.Run(h.Context(), run.Cmd{Path: "ssh", Args: []string{"-F", h.SSHConfig(), "-l", "oneadmin", n.Name, line}})
	var failed *run.Error
	if err != nil && !errors.As(err, &failed) {
		require.NoError(h, err)
	}
	return r
}
