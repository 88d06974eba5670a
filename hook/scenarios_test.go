package hook

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
	"one-clvm/test/fakeoned"
)

// scenarios are what a cluster does by itself, and what can go wrong with telling it. Each
// ends with oned's records equal to the truth, and no VM moved or started by the telling.
var scenarios = map[string]func(t *testing.T){
	"moved by hand": func(t *testing.T) {
		w := newWorld(t, 1)
		w.move(0, "node2")
		w.pass(time.Minute)
		w.mustAgree()
		assert.Equal(t, []string{"one.vm.migrate"}, w.oned.Changes())
		assert.Contains(t, w.ends(0), Done)
	},
	"node drained": func(t *testing.T) {
		w := newWorld(t, 12)
		for vm := range 12 {
			w.move(vm, nodeNames[1+vm%2])
		}
		w.pass(5 * time.Minute)
		w.mustAgree()
		assert.Len(t, w.oned.Changes(), 12)
	},
	"node killed and fenced": func(t *testing.T) {
		w := newWorld(t, 4)
		w.die("node1", Fenced, "node2")
		w.pass(time.Minute)
		w.mustAgree()
	},
	"node killed, oned found it first": func(t *testing.T) {
		w := newWorld(t, 4)
		for vm := range 4 {
			w.oned.Lose(vm, 3, 16)
		}
		w.die("node1", Fenced, "node2")
		w.pass(time.Minute)
		w.mustAgree()
	},
	"node killed, oned cannot migrate from a dead one": func(t *testing.T) {
		w := newWorld(t, 2)
		w.front["fe1"].LocalMigrate = false
		w.die("node1", Fenced, "node2")
		w.pass(time.Minute)
		require.Empty(t, w.oned.Changes(), "it has to find out first")
		w.oned.Lose(0, 3, 16)
		w.oned.Lose(1, 3, 16)
		w.pass(10 * time.Minute)
		w.mustAgree()
	},
	"node lost, fenced 20 minutes later": func(t *testing.T) {
		w := newWorld(t, 2)
		w.die("node1", Lost, "node2")
		w.pass(20 * time.Minute)
		require.Empty(t, w.oned.Changes(), "without proof of fencing nothing is told")
		w.fates["node1"] = Fenced
		w.pass(10 * time.Minute)
		w.mustAgree()
	},
	"node killed, and nothing but a person's word says so": func(t *testing.T) {
		w := newWorld(t, 2)
		w.die("node1", Lost, "node2")
		w.pass(20 * time.Minute)
		require.Empty(t, w.oned.Changes())
		for _, why := range w.waitFor(0) {
			assert.Contains(t, why, "onehost offline node1")
		}
		w.oned.Put(fakeoned.Hosts, 0, fakeoned.Host(0, "node1", int(opennebula.HostOffline)))
		w.pass(10 * time.Minute)
		w.mustAgree()
	},
	"crashed and restarted in place": func(t *testing.T) {
		w := newWorld(t, 2)
		w.event("node1", 0, "stop")
		w.event("node1", 0, "start")
		w.pass(time.Minute)
		w.mustAgree()
		assert.Empty(t, w.oned.Changes())
		assert.Equal(t, Nothing, w.last(0).Outcome)
	},
	"front-end unreachable for 10 minutes during 50 moves": func(t *testing.T) {
		w := newWorld(t, 25)
		w.cut["fe1"] = true
		for move := range 50 {
			vm := move % 25
			w.move(vm, nodeNames[1+(move/25+vm)%2])
			w.pass(10 * time.Second)
		}
		w.pass(100 * time.Second)
		require.Empty(t, w.oned.Changes())
		require.Positive(t, w.waiting())
		w.cut["fe1"] = false
		w.pass(10 * time.Minute)
		w.mustAgree()
		assert.Len(t, w.oned.Changes(), 25, "one call a VM, however often it moved")
	},
	"reports delivered twice, reordered, a week late": func(t *testing.T) {
		w := newWorld(t, 50)
		for round := range 3 {
			for vm := range 50 {
				w.move(vm, nodeNames[(1+round)%3])
			}
			w.pass(2 * time.Minute)
		}
		w.mustAgree()
		calls, lines := len(w.oned.Changes()), slices.Clone(w.lines)
		again := func() {
			for _, line := range lines {
				w.serve("fe1", line)
				w.serve("fe1", line)
			}
			w.settle()
		}
		again()
		slices.Reverse(lines)
		again()
		w.now = w.now.Add(7 * 24 * time.Hour)
		again()
		w.mustAgree()
		assert.Len(t, w.oned.Changes(), calls, "old reports call nothing")
	},
	"node dies between spool and delivery": func(t *testing.T) {
		w := newWorld(t, 2)
		w.move(0, "node2") // its events are on both
		w.fates["node2"] = Fenced
		w.fates["node1"] = Fenced
		w.vms[0], w.vms[1] = "node3", "node3" // and nobody says so
		found := w.reconcile(true)
		require.Len(t, found, 2)
		assert.Equal(t, Act, found[0].Outcome)
		require.Empty(t, w.oned.Changes(), "a dry run")
		for range 2 {
			w.reconcile(false)
			w.settle()
		}
		w.mustAgree()
	},
	"oned is migrating the same VM": func(t *testing.T) {
		w := newWorld(t, 1)
		w.oned.Begin(0, "node3")
		w.move(0, "node2") // meanwhile, by the cluster
		waiting, err := w.nodes["node2"].Run(context.Background())
		require.NoError(t, err)
		require.Equal(t, 1, waiting, "left alone")
		require.Empty(t, w.oned.Changes())
		w.pass(5 * time.Minute) // oned's own migration fails, and then
		w.mustAgree()
	},
	"front-end of a pair is down": func(t *testing.T) {
		w := newWorld(t, 2)
		dead, err := fakeoned.Listen("127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, dead.Close())
		w.front["fe0"] = w.receiver(dead.URL()) // reached by ssh, without oned
		for _, node := range w.nodes {
			node.FrontEnds = []string{"cut", "fe0", "fe1"}
		}
		w.cut["cut"] = true
		w.move(0, "node2")
		w.pass(time.Minute)
		w.move(1, "node2")
		w.pass(time.Minute)
		w.mustAgree()
		state, err := ReadState(w.nodes["node2"].StateFile)
		require.NoError(t, err)
		assert.Equal(t, "fe1", state.FrontEnd, "tried first from now on")
	},
	"front-ends of a group are sick": func(t *testing.T) {
		w := newWorld(t, 2)
		w.sick["fe-unconfigured"] = errors.New("hook.conf: permission denied")
		w.front["fe-stateless"] = w.receiver(w.oned.URL())
		w.front["fe-stateless"].StateDir = filepath.Join(t.TempDir(), "missing")
		w.front["fe-stranger"] = w.receiver(w.oned.URL())
		client, err := opennebula.NewClient(opennebula.Config{Endpoint: w.oned.URL(), Session: "oneadmin:old"})
		require.NoError(t, err)
		w.front["fe-stranger"].OneD = client
		for _, node := range w.nodes {
			node.FrontEnds = []string{"fe-unconfigured", "fe-stateless", "fe-stranger", "fe1"}
		}
		w.move(0, "node2")
		w.pass(time.Minute)
		w.mustAgree()
		state, err := ReadState(w.nodes["node2"].StateFile)
		require.NoError(t, err)
		assert.Equal(t, "fe1", state.FrontEnd, "tried first from now on")
	},
	"reports to two front-ends of a pair, in the wrong order": func(t *testing.T) {
		w := newWorld(t, 1)
		w.front["fe0"] = w.receiver(w.oned.URL()) // with a state of its own
		early, err := Truth{VM: 0, On: "node1", Seen: w.now, Nodes: map[string]Fate{"node1": Alive, "node2": Alive}}.Line()
		require.NoError(t, err)
		w.now = w.now.Add(10 * time.Second)
		w.move(0, "node2")
		w.pass(time.Minute)
		calls := w.oned.Changes()
		answer := w.serve("fe0", early)
		assert.Equal(t, Retry, answer.Outcome, answer)
		w.settle()
		w.mustAgree()
		assert.Equal(t, calls, w.oned.Changes(), "what was seen before oned had it on node2 is no news")
	},
	"powered off, and running again elsewhere": func(t *testing.T) {
		w := newWorld(t, 1)
		w.oned.Lose(0, 8, 0)
		w.move(0, "node2")
		w.pass(time.Minute)
		w.mustAgree()
	},
	"the cluster is still moving it": func(t *testing.T) {
		w := newWorld(t, 1)
		w.moving[0] = true
		w.move(0, "node2")
		w.pass(time.Minute)
		require.Empty(t, w.oned.Changes())
		w.moving[0] = false
		w.pass(10 * time.Minute)
		w.mustAgree()
	},
	"events that are none of OpenNebula's": func(t *testing.T) {
		w := newWorld(t, 1)
		w.event("node1", 99, "start")
		require.NoError(t, w.nodes["node1"].Spool.Append([]byte("nonsense")))
		w.pass(10 * time.Second)
		w.mustAgree()
		assert.Empty(t, w.lines)
	},
}

func TestScenarios(t *testing.T) {
	passed := 0
	for name, run := range scenarios {
		if t.Run(name, run) {
			passed++
		}
	}
	fmt.Printf("hook: %d scenarios, %d ok\n", len(scenarios), passed)
}

// What has no safe way ends with a person, who is told what to type, and calls nothing.
func TestNeedsAPerson(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world)
		says    string
	}{
		"suspended":        {func(w *world) { w.oned.Lose(0, 5, 0) }, "do not resume"},
		"failed to boot":   {func(w *world) { w.oned.Lose(0, 3, 36) }, "vmm-rhcs recover"},
		"deleted":          {func(w *world) { w.oned.Remove(fakeoned.VMs, 0) }, "has no such VM"},
		"on no host of it": {func(w *world) { w.oned.Remove(fakeoned.Hosts, 1) }, "onehost create node2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			c.prepare(w)
			w.move(0, "node2")
			w.pass(time.Minute)
			assert.Equal(t, Person, w.last(0).Outcome)
			assert.Contains(t, w.last(0).Text, c.says)
			assert.Empty(t, w.oned.Changes())
			assert.Zero(t, w.waiting())
			assert.Contains(t, fmt.Sprint(w.journal), "ALARM VM 0")
		})
	}
}

// A call that oned accepts and that never helps is not repeated for ever.
func TestCallsInVainEnd(t *testing.T) {
	w := newWorld(t, 1)
	w.move(0, "node2")
	w.oned.Live(neverHelps{})
	w.pass(time.Hour)
	calls := len(w.oned.Changes())
	assert.LessOrEqual(t, calls, 2*maxAsked, "of two nodes")
	assert.Equal(t, []Outcome{Person, Person}, w.ends(0))
	assert.Zero(t, w.waiting())
	for range 10 {
		w.pass(10 * time.Minute)
		w.reconcile(false)
	}
	assert.Len(t, w.oned.Changes(), calls, "a person was told, and nothing has happened since")
	w.oned.Live(w) // mended
	w.event("node2", 0, "start")
	w.pass(time.Minute)
	w.mustAgree()
	assert.Len(t, w.oned.Changes(), calls+1)
}

type neverHelps struct{}

func (neverHelps) Migrate(int, string, string) error { return fmt.Errorf("no") }
func (neverHelps) Deploy(int, string) error          { return fmt.Errorf("no") }
