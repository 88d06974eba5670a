package vmm

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest"
	"one-clvm/cluster/clustertest/double"
	"one-clvm/cluster/clustertest/rhcs"
	"one-clvm/cluster/clustertest/xendouble"
	"one-clvm/cluster/rgmanager"
	"one-clvm/cluster/virsh"
	"one-clvm/cluster/xen"
)

// bench is two nodes of a stack, for the life of a VM through the privileged end.
type bench struct {
	*testing.T
	agents map[string]*Agent
	domain string // as oned writes it
	name   string // under Xen
	home   string
	target string    // of the disk that comes and goes
	skip   func()    // the time after which a verb that has ended is none that just did
	noNIC  bool      // an interface cannot be taken from a running VM
	calls  *[]string // that changed something: of the volumes, and of Xen's tools
	// Of the doubles.
	rhcs   *rhcs.Cluster
	xen    *xendouble.Cluster
	files  string // CFG_DIR
	config string // cxm.conf
	// left is what is there besides the homes: nothing of the VM in the end.
	left func() string
}

// stacks are all but Pacemaker, which has no double with a state.
var stacks = map[string]func(*testing.T) *bench{
	"standalone-libvirt": func(t *testing.T) *bench {
		one, two := newNode(t), newNode(t)
		one.peer, two.peer, two.base = two, one, one.base
		return &bench{T: t, calls: &one.calls, agents: map[string]*Agent{"node1": one.agent(), "node2": two.agent()}, domain: one.document(), home: one.home(), target: "vdb",
			skip: func() { one.skip(); two.skip() },
			left: func() string { return one.state + two.state }}
	},
	"standalone-xl": func(t *testing.T) *bench { return xenBench(t, xen.XL, false) },
	"standalone-xm": func(t *testing.T) *bench { return xenBench(t, xen.XM, false) },
	"cxm":           func(t *testing.T) *bench { return xenBench(t, xen.XM, true) },
	"rgmanager":     rhcsBench,
}

func xenBench(t *testing.T, program string, clustered bool) *bench {
	one, two := xenNodes(t, program, clustered)
	b := &bench{T: t, xen: one.tools, files: one.files, config: one.config, calls: &one.calls, agents: map[string]*Agent{"node1": one.agent(), "node2": two.agent()}, domain: one.file(), name: web, home: one.home(), target: "xvdb", noNIC: program == xen.XM, skip: func() { one.skip(); two.skip() },
		left: func() string {
			assert.Empty(t, one.tools.Violations)
			files, err := filepath.Glob(one.files + "/*")
			require.NoError(t, err)
			return one.tools.Summary() + strings.Join(files, " ")
		}}
	one.reconfigured = func() string { return b.config }
	return b
}

const clusterConf = `<?xml version="1.0"?>
<cluster name="sanone" config_version="17"><clusternodes>
<clusternode name="node1" nodeid="1"><fence><method name="m1"><device name="ipmi"/></method></fence></clusternode>
<clusternode name="node2" nodeid="2"><fence><method name="m1"><device name="ipmi"/></method></fence></clusternode>
</clusternodes><fencedevices><fencedevice name="ipmi" agent="fence_ipmilan"/></fencedevices><rm><failoverdomains/><resources/></rm></cluster>
`

func rhcsBench(t *testing.T) *bench {
	tools, err := rhcs.New(clusterConf)
	require.NoError(t, err)
	n := newNode(t)
	var guard sync.Mutex
	b := &bench{T: t, rhcs: tools, calls: &n.calls, agents: map[string]*Agent{}, domain: n.document(), home: n.home(), target: "vdb", skip: n.skip,
		left: func() string {
			assert.Empty(t, tools.Violations)
			return tools.Configuration() + tools.Node("node1").Domains["one-42"] + tools.Node("node2").Domains["one-42"]
		}}
	for _, name := range []string{"node1", "node2"} {
		runner := &double.Node{Name: name, Tools: tools, Guard: &guard, Clock: n}
		a := n.agent()
		a.Runner = runner
		a.Stack = func(document func() (string, error)) (cluster.Stack, error) {
			return &rgmanager.Stack{
				Runner: runner, Virsh: &virsh.Client{Runner: runner, MigrationURI: n.config().MigrationURI}, Clock: n, Document: document,
				Config: func() ([]byte, error) { return []byte(tools.Node(name).Config), nil }, Lock: clustertest.Lock, Scratch: t.TempDir(),
			}, nil
		}
		b.agents[name] = a
	}
	return b
}

// do is a verb on a node.
func (b *bench) do(verb cluster.Verb, node string, change func(*Request)) error {
	b.Helper()
	q := Request{Verb: verb, VM: 42, DS: 101, Home: b.home, Node: node, Start: 60, Shutdown: 30, Migrate: 600, Settle: 10}
	if verb == cluster.VerbStart {
		q.Domain, q.Name = b.domain, b.name
	}
	if change != nil {
		change(&q)
	}
	text, err := json.Marshal(q)
	require.NoError(b, err)
	var out bytes.Buffer
	return b.agents[node].Serve(b.Context(), bytes.NewReader(text), &out)
}

// reported is what a node's poll says of the VM; "" for nothing.
func (b *bench) reported(node string) cluster.Report {
	b.Helper()
	q := Request{Verb: VerbPoll, Node: node, Start: 1, Shutdown: 1, Migrate: 1, Settle: 1}
	text, err := json.Marshal(q)
	require.NoError(b, err)
	var out bytes.Buffer
	require.NoError(b, b.agents[node].Serve(b.Context(), bytes.NewReader(text), &out))
	var l Line
	require.NoError(b, json.Unmarshal(out.Bytes(), &l))
	for _, sight := range l.Survey.VMs {
		if sight.VM == 42 && sight.Here && sight.Report != cluster.ReportUnknown {
			return sight.Report
		}
	}
	return ""
}

// TestEveryStack: the same life of a VM in all of them, each verb also a second time, and
// nothing left of it in the end.
func TestEveryStack(t *testing.T) {
	for name, build := range stacks {
		t.Run(name, func(t *testing.T) {
			b := build(t)
			before := b.left()
			to := func(node string) func(*Request) { return func(q *Request) { q.To = node } }
			disk := func(q *Request) {
				q.Target = b.target
				if q.Verb == cluster.VerbAttachDisk {
					q.Device = "<disk type='file' device='disk'><source file='" + b.home + "/disk.0'/><target dev='" + b.target + "'/></disk>"
				}
			}
			nic := func(q *Request) {
				q.MAC = mac
				if q.Verb == cluster.VerbAttachNIC {
					q.Device = strings.Replace(nic, "HOME", b.home, 1)
				}
			}
			for _, step := range []struct {
				verb   cluster.Verb
				on     string
				change func(*Request)
				where  string // "" for nowhere
			}{
				{cluster.VerbStart, "node1", nil, "node1"}, {cluster.VerbStart, "node1", nil, "node1"},
				{cluster.VerbAttachDisk, "node1", disk, "node1"}, {cluster.VerbAttachDisk, "node1", disk, "node1"},
				{cluster.VerbDetachDisk, "node1", disk, "node1"}, {cluster.VerbDetachDisk, "node1", disk, "node1"},
				{cluster.VerbAttachNIC, "node1", nic, "node1"}, {cluster.VerbDetachNIC, "node1", nic, "node1"},
				{cluster.VerbReboot, "node1", nil, "node1"}, {cluster.VerbReset, "node1", nil, "node1"},
				{cluster.VerbMigrate, "node1", to("node2"), "node2"}, {cluster.VerbMigrate, "node2", to("node1"), "node1"},
				{cluster.VerbSave, "node1", nil, ""}, {cluster.VerbRestore, "node2", nil, "node2"}, {cluster.VerbRestore, "node2", nil, "node2"},
				{cluster.VerbShutdown, "node2", nil, ""}, {cluster.VerbShutdown, "node2", nil, ""},
				{cluster.VerbStart, "node2", nil, "node2"}, {cluster.VerbCancel, "node2", nil, ""}, {cluster.VerbCancel, "node2", nil, ""},
			} {
				err := b.do(step.verb, step.on, step.change)
				if step.verb == cluster.VerbDetachNIC && b.noNIC {
					require.ErrorIs(t, err, xen.ErrNotByXM)
				} else {
					require.NoError(t, err, "%s on %s", step.verb, step.on)
				}
				for _, node := range []string{"node1", "node2"} {
					b.skip()
					want := cluster.Report("")
					if node == step.where {
						want = cluster.ReportRunning
					}
					assert.Equal(t, want, b.reported(node), "%s after %s on %s", node, step.verb, step.on)
				}
			}
			assert.Equal(t, before, b.left())
			for _, verb := range []cluster.Verb{cluster.VerbReboot, cluster.VerbSave} {
				require.ErrorIs(t, b.do(verb, "node1", nil), cluster.ErrRefused, verb)
			}
			entries, err := os.ReadDir(b.home)
			require.NoError(t, err)
			assert.LessOrEqual(t, len(entries), 1, "the definition alone")
		})
	}
}

// skip lets pass the time in which a verb has just ended.
func (n *node) skip() { n.now = n.now.Add(2 * lately) }
