package hook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/hook/entrance"
	"one-clvm/hook/spool"
	"one-clvm/opennebula"
	"one-clvm/test/fakeoned"
)

// world is a cluster of three nodes with a hook each, and a front-end with a stand-in for
// oned, all under one clock that only pass moves.
type world struct {
	*testing.T
	now    time.Time
	vms    map[int]string // where each really runs
	names  map[string]int // of services: the metadata of the drivers
	moving map[int]bool
	fates  map[string]Fate
	nodes  map[string]*Delivery
	oned   *fakeoned.Server
	front  map[string]*Receiver
	lines  []string // reports that arrived
	// cut are front-ends that no ssh reaches.
	cut map[string]bool
	// sick are front-ends that cannot take a report.
	sick      map[string]error
	journal   []string
	byTelling int // VMs that were moved or started because oned was told something
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var nodeNames = []string{"node1", "node2", "node3"}

// newWorld has VMs 0 to n-1 on node1, running, and oned knows it.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	oned, err := fakeoned.Listen("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, oned.Close()) })
	w := &world{T: t, now: noon, vms: map[int]string{}, names: map[string]int{}, moving: map[int]bool{}, fates: map[string]Fate{},
		nodes: map[string]*Delivery{}, oned: oned, front: map[string]*Receiver{}, cut: map[string]bool{}, sick: map[string]error{}}
	oned.Live(w)
	oned.Clock(w.clock)
	for id, name := range nodeNames {
		oned.Put(fakeoned.Hosts, id, fakeoned.Host(id, name, 2))
		w.fates[name] = Alive
		w.nodes[name] = &Delivery{
			Spool: spool.Spool{Dir: t.TempDir(), Now: w.clock}, Cluster: w.cluster(), Transport: w, FrontEnds: []string{"fe1"},
			StateFile: filepath.Join(t.TempDir(), "state.json"), Now: w.clock, Journal: w,
		}
	}
	w.front["fe1"] = w.receiver(oned.URL())
	for vm := range n {
		w.vms[vm] = "node1"
		w.names[fmt.Sprintf("service-%d", vm)] = vm // a name that shows no id by looks alone
		oned.Put(fakeoned.VMs, vm, fakeoned.VM{ID: vm, Name: "x", Host: "node1", LCMState: 3}.Document())
	}
	return w
}

func (w *world) receiver(url string) *Receiver {
	client, err := opennebula.NewClient(opennebula.Config{Endpoint: url, Session: fakeoned.Session})
	require.NoError(w, err)
	return &Receiver{OneD: client, Version: opennebula.Version{Major: 7, Minor: 4}, LocalMigrate: true, StateDir: w.TempDir(), Now: w.clock, Journal: w}
}

func (w *world) clock() time.Time { return w.now }

// Note and Alarm: the world is the journal.
func (w *world) Note(format string, args ...any) {
	w.journal = append(w.journal, fmt.Sprintf(format, args...))
}
func (w *world) Alarm(format string, args ...any) { w.Note("ALARM "+format, args...) }

// The world is the cluster manager that nodes ask, and their hypervisors.

func (w *world) Survey(context.Context) (cluster.Survey, error) {
	s := cluster.Survey{Self: "node1", Quorate: true}
	for _, name := range nodeNames {
		fate := w.fates[name]
		s.Nodes = append(s.Nodes, cluster.Node{Name: name, Online: fate == Alive, Fenced: fate == Fenced, Unclean: fate == Lost})
	}
	for name, vm := range w.names {
		c := cluster.Condition{Defined: true, Running: []string{w.vms[vm]}}
		if w.moving[vm] {
			c.Pending = "migrating"
		}
		s.VMs = append(s.VMs, cluster.Surveyed{Name: name, Definition: fmt.Sprintf("/ds/0/%d/cluster.xml", vm), Condition: c})
	}
	return s, nil
}

func (w *world) domains(_ context.Context, node string) ([]string, error) {
	var names []string
	for name, vm := range w.names {
		if w.vms[vm] == cmp.Or(node, "node1") {
			names = append(names, name)
		}
	}
	return names, nil
}

func (w *world) cluster() *Nodes { return &Nodes{Manager: w, Active: w.domains, Now: w.clock} }

// reconcile is what a timer starts on a front-end.
func (w *world) reconcile(dryRun bool) []Finding {
	w.Helper()
	all, err := w.cluster().All(context.Background())
	require.NoError(w, err)
	text, err := json.Marshal(all)
	require.NoError(w, err)
	answer, err := parseWhereabouts(text)
	require.NoError(w, err)
	found, err := w.front["fe1"].Reconcile(context.Background(), answer.Truths, dryRun)
	require.NoError(w, err)
	return found
}

// The world is the drivers that oned calls, which find their work done or do it.

func (w *world) Migrate(vm int, from, to string) error {
	switch w.vms[vm] {
	case to:
		return nil
	case from:
		w.vms[vm] = to
		w.byTelling++
		return nil
	}
	return errors.New("it runs on neither")
}

func (w *world) Deploy(vm int, host string) error {
	if w.vms[vm] == "" {
		w.vms[vm] = host
		w.byTelling++
	}
	if w.vms[vm] != host {
		return errors.New("it runs elsewhere")
	}
	return nil
}

// Send is ssh.
func (w *world) Send(_ context.Context, frontEnd, line string) (Answer, error) {
	if w.cut[frontEnd] {
		return Answer{}, errors.New("connection timed out")
	}
	w.lines = append(w.lines, line)
	return parseAnswer(w.serve(frontEnd, line).String())
}

// serve is what sshd starts on a front-end.
func (w *world) serve(frontEnd, line string) Answer {
	return Serve(context.Background(), line, w, func() (*Receiver, error) { return w.front[frontEnd], w.sick[frontEnd] })
}

// event is what a cluster manager calls on a node.
func (w *world) event(node string, vm int, what string) {
	w.Helper()
	if w.fates[node] != Alive {
		return
	}
	env := fmt.Sprintf("CRM_alert_kind=resource\nCRM_alert_rsc=service-%d\nCRM_alert_node=%s\nCRM_alert_task=%s\nCRM_alert_rc=0", vm, node, what)
	called := entrance.Called{Now: w.now, Env: func(name string) string {
		for line := range strings.Lines(env) {
			if value, ok := strings.CutPrefix(line, name+"="); ok {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}}
	require.NoError(w, entrance.Accept(context.Background(), entrance.Pacemaker, called, func() spool.Spool { return w.nodes[node].Spool }, w))
}

// move is a live migration by the cluster.
func (w *world) move(vm int, to string) {
	w.Helper()
	from := w.vms[vm]
	w.event(from, vm, "migrate_to")
	w.vms[vm] = to
	w.event(to, vm, "migrate_from")
	w.event(from, vm, "stop")
}

// die: a node fails, and what ran there starts elsewhere.
func (w *world) die(node string, fate Fate, elsewhere string) {
	w.Helper()
	w.fates[node] = fate
	for vm, on := range w.vms {
		if on == node {
			w.vms[vm] = elsewhere
			w.event(elsewhere, vm, "start")
		}
	}
}

// pass lets time pass in steps of 10 seconds: the timers of all nodes, what oned has begun,
// its monitoring.
func (w *world) pass(d time.Duration) {
	w.Helper()
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(10 * time.Second) {
		for _, name := range nodeNames {
			if w.fates[name] == Alive {
				_, err := w.nodes[name].Run(context.Background())
				require.NoError(w, err)
			}
		}
		w.settle()
	}
}

func (w *world) settle() {
	w.oned.Settle()
	for vm, on := range w.vms {
		if w.fates[on] == Alive && w.oned.Document(fakeoned.VMs, vm) != "" {
			w.oned.Monitor(vm, on)
		}
	}
}

// waiting are the events in all spools of nodes that live.
func (w *world) waiting() int {
	n := 0
	for name, node := range w.nodes {
		entries, err := node.Spool.List()
		require.NoError(w, err)
		if w.fates[name] == Alive {
			n += len(entries)
		}
	}
	return n
}

// last is how the last report of a VM ended.
func (w *world) last(vm int) Answer {
	w.Helper()
	for _, node := range w.nodes {
		state, err := ReadState(node.StateFile)
		require.NoError(w, err)
		for _, d := range slices.Backward(state.Last) {
			if d.VM == vm {
				return d.Answer
			}
		}
	}
	return Answer{}
}

// waitFor is why the nodes that live try a VM again.
func (w *world) waitFor(vm int) []string {
	w.Helper()
	var all []string
	for name, node := range w.nodes {
		state, err := ReadState(node.StateFile)
		require.NoError(w, err)
		if why := state.Waiting[vm].Why; w.fates[name] == Alive && why != "" {
			all = append(all, why)
		}
	}
	require.NotEmpty(w, all)
	return all
}

// ends are the outcomes of all reports of a VM that have ended.
func (w *world) ends(vm int) []Outcome {
	w.Helper()
	var all []Outcome
	for _, node := range w.nodes {
		state, err := ReadState(node.StateFile)
		require.NoError(w, err)
		for _, d := range state.Last {
			if d.VM == vm {
				all = append(all, d.Answer.Outcome)
			}
		}
	}
	return all
}

// mustAgree: oned's record of every VM is the truth, and nobody moved one to have it so.
func (w *world) mustAgree() {
	w.Helper()
	for vm, on := range w.vms {
		host, state, lcm := w.oned.At(vm)
		require.Equal(w, []any{on, 3, 3}, []any{host, state, lcm}, "VM %d\n%s", vm, strings.Join(w.journal, "\n"))
	}
	require.Zero(w, w.byTelling, "VMs moved by the telling")
	require.Zero(w, w.waiting(), "events that wait")
}
