package recovery

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/audit"
	"one-clvm/hook"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// site is oned and the nodes of datastore 100 in one.
type site struct {
	vms     map[int]opennebula.VM
	hosts   []opennebula.Host
	deaf    int // the VM that it does not tell of
	heard   hook.Heard
	now     time.Time
	state   *audit.State
	collect int
	calls   []string
}

func (s *site) VMs(context.Context) ([]opennebula.VM, error) {
	var all []opennebula.VM
	for _, vm := range s.vms {
		all = append(all, vm)
	}
	return all, nil
}

func (s *site) Hosts(context.Context) ([]opennebula.Host, error) { return s.hosts, nil }

func (s *site) VM(_ context.Context, id int) (*opennebula.VM, error) {
	if id == s.deaf {
		return nil, errors.New("its document is cut off")
	}
	vm := s.vms[id]
	return &vm, nil
}

func (s *site) Do(_ context.Context, request opennebula.Request) error {
	s.calls = append(s.calls, request.String())
	return nil
}

func (s *site) Collect(_ context.Context, t audit.Target) (*audit.State, error) {
	s.collect++
	s.now = s.now.Add(time.Second)
	if t.Datastore != 100 || s.state == nil {
		return nil, errors.New("no node has answered")
	}
	return s.state, nil
}

// newSite has VM 42 stuck in a state on node2, after node1, with two disks that are whole.
func newSite(lcm opennebula.LCMState) *site {
	vm := opennebula.VM{ID: 42, State: opennebula.StateActive, LCMState: lcm,
		Disks:   []opennebula.Disk{{ID: 0, TMMAD: "clvm"}, {ID: 1, ImageID: opennebula.None}, {ID: 2, TMMAD: "ceph"}},
		History: []opennebula.History{{Seq: 0, Hostname: "node1", DatastoreID: 100, TMMAD: "clvm"}, {Seq: 1, Hostname: "node2", DatastoreID: 100, TMMAD: "clvm"}},
	}
	s := &site{vms: map[int]opennebula.VM{42: vm, 7: {ID: 7, State: opennebula.StateActive, LCMState: opennebula.LCMRunning}}, state: &audit.State{}, now: noon}
	volumes := []lvm.Volume{volume(42, 0), volume(42, 1), volume(7, 0, lvm.TagBuilding)}
	for _, name := range []string{"node1", "node2"} {
		home := agent.Home{DS: 100, VM: 42, Files: []string{agent.CheckpointName}, Checkpoint: agent.CheckpointSaved}
		s.state.Nodes = append(s.state.Nodes, audit.Node{Names: []string{name}, Report: agent.Result{Volumes: volumes, Audit: &agent.Audit{Homes: []agent.Home{home}, Domains: []agent.Domain{}}}})
	}
	return s
}

func volume(vm, disk int, tags ...string) lvm.Volume {
	return lvm.Volume{Tags: lvm.NewTags(append([]string{lvm.TagOurs, lvm.KeyTag(lvm.TagVM, vm), lvm.KeyTag(lvm.TagDisk, disk)}, tags...)...)}
}

func (s *site) recoverer(truths ...hook.Truth) *Recoverer {
	s.heard = hook.Heard{Truths: truths, Spoken: map[string]bool{"node1": true, "node2": true}}
	return &Recoverer{
		OneD: s, Version: newest, Nodes: s, Clusters: func(context.Context) hook.Heard { return s.heard },
		Work: Work{LastLine: func(int) time.Time { return time.Time{} }}, Now: func() time.Time { return s.now },
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func one(t *testing.T, r *Recoverer) Stuck {
	t.Helper()
	all, err := r.Stuck(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0]
}

func TestFactsOfAStuckVM(t *testing.T) {
	s := newSite(35)
	got := one(t, s.recoverer())
	assert.Equal(t, []any{42, "BOOT_MIGRATE", "node2", "node1"}, []any{got.VM, got.Name(), got.Host, got.Previous})
	assert.Equal(t, []any{Whole, Saved, ""}, []any{got.Facts.Disks, got.Facts.Checkpoint, got.Facts.Busy})
	assert.Equal(t, hook.Truth{VM: 42, Seen: noon, Nodes: map[string]hook.Fate{"node1": hook.Alive, "node2": hook.Alive}}, got.Facts.Truth)
	assert.Equal(t, Retry, Decide(got).Action)

	other := hook.Truth{VM: 42, On: "node2", Nodes: map[string]hook.Fate{"node2": hook.Alive}}
	assert.Equal(t, other, one(t, s.recoverer(other)).Facts.Truth, "the cluster's word, where it has one")

	s.state.Nodes[0].Report.Audit.Domains = []agent.Domain{{VM: 42}}
	assert.Equal(t, "node1", one(t, s.recoverer()).Facts.Truth.On)
	s.state.Nodes[1].Report.Audit.Domains = []agent.Domain{{VM: 42}}
	assert.Contains(t, one(t, s.recoverer()).Facts.Truth.Doubt, "node1 and node2")
}

// What is missing from the answers is not known, and never taken for a no.
func TestWhatIsNotKnown(t *testing.T) {
	for name, spoil := range map[string]func(s *site){
		"no node answers":       func(s *site) { s.state = nil },
		"one is not asked":      func(s *site) { s.state.Unasked = map[string]string{"node3": "timeout"} },
		"a silent hypervisor":   func(s *site) { s.state.Nodes[1].Report.Audit.Domains = nil },
		"no report of machines": func(s *site) { s.state.Nodes[1].Report.Audit = nil },
	} {
		s := newSite(2)
		spoil(s)
		got := one(t, s.recoverer())
		assert.NotEmpty(t, got.Facts.Truth.Doubt, name)
		assert.Equal(t, Person, Decide(got).Action, name)
	}
	for name, spoil := range map[string]func(s *site){
		"its host's cluster does not speak":    func(s *site) { delete(s.heard.Spoken, "node2") },
		"nor that of its host before":          func(s *site) { delete(s.heard.Spoken, "node1") },
		"a host that is disabled is not asked": func(s *site) { s.state.Nodes = s.state.Nodes[1:] },
	} {
		s := newSite(2)
		r := s.recoverer()
		spoil(s)
		got := one(t, r)
		assert.NotEmpty(t, got.Facts.Truth.Doubt, name)
		assert.Equal(t, Person, Decide(got).Action, name)
	}
	s := newSite(2)
	vm := s.vms[42]
	vm.History = nil
	s.vms[42] = vm
	assert.Equal(t, Person, Decide(one(t, s.recoverer())).Action)
}

// Where no tool tells of a fencing, a person's word does.
func TestHostThatIsOffline(t *testing.T) {
	dead := hook.Truth{VM: 42, Nodes: map[string]hook.Fate{"node1": hook.Alive, "node2": hook.Lost}}
	s := newSite(11) // EPILOG
	got := Decide(one(t, s.recoverer(dead)))
	assert.Equal(t, Wait, got.Action)
	assert.Contains(t, got.Why, "onehost offline node2")
	s.hosts = []opennebula.Host{{Name: "node1"}, {Name: "node2", State: opennebula.HostOffline}}
	assert.Equal(t, Retry, Decide(one(t, s.recoverer(dead))).Action)

	other := dead
	other.VM = 7
	s.state.Nodes = s.state.Nodes[:1] // a VM in no cluster: its host is not asked
	assert.Equal(t, Retry, Decide(one(t, s.recoverer(other))).Action)
	s.hosts = nil
	assert.Equal(t, Person, Decide(one(t, s.recoverer(other))).Action)
}

func TestDisks(t *testing.T) {
	for want, volumes := range map[Disks][]lvm.Volume{
		Whole: {volume(42, 0), volume(42, 1)}, Building: {volume(42, 0, lvm.TagBuilding), volume(42, 1)}, Missing: {volume(42, 0), volume(4, 1)}, Gone: {volume(41, 0)},
		Half: {volume(42, 0, "reverting=3"), volume(42, 1, lvm.TagBuilding)},
	} {
		s := newSite(2)
		for i := range s.state.Nodes {
			s.state.Nodes[i].Report.Volumes = volumes
		}
		assert.Equal(t, want, one(t, s.recoverer()).Facts.Disks)
	}
	s := newSite(2)
	for i := range s.state.Nodes {
		s.state.Nodes[i].Report.Volumes = []lvm.Volume{volume(42, 0), volume(42, 1, lvm.TagQuarantine)}
	}
	assert.Equal(t, Missing, one(t, s.recoverer()).Facts.Disks, "a deleted disk is none")
}

func TestCheckpoint(t *testing.T) {
	for name, c := range map[string]struct {
		homes []agent.Home
		want  Checkpoint
	}{
		"none":          {[]agent.Home{{VM: 42, Files: []string{"deployment.0"}}}, Absent},
		"cut off":       {[]agent.Home{{VM: 42, Files: []string{"checkpoint"}, Checkpoint: agent.CheckpointPartial}}, Partial},
		"not libvirt's": {[]agent.Home{{VM: 42, Files: []string{"checkpoint"}}}, ""},
		"no home":       {nil, ""},
	} {
		s := newSite(35)
		for i := range s.state.Nodes {
			s.state.Nodes[i].Report.Audit.Homes = c.homes
		}
		assert.Equal(t, c.want, one(t, s.recoverer()).Facts.Checkpoint, name)
	}
	s := newSite(35)
	s.state.Nodes[0].Report.Audit.Homes = nil
	assert.Equal(t, Saved, one(t, s.recoverer()).Facts.Checkpoint, "of the node that has it")
	s.state.Nodes[0].Report.Audit.Homes = []agent.Home{{VM: 42}}
	assert.Empty(t, one(t, s.recoverer()).Facts.Checkpoint, "they do not agree")
}

func TestNodesAreAskedOnce(t *testing.T) {
	s := newSite(2)
	vm := s.vms[42]
	vm.ID = 43
	s.vms[43] = vm
	all, err := s.recoverer().Stuck(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
	assert.Equal(t, []int{42, 43}, []int{all[0].VM, all[1].VM})
	assert.Equal(t, 1, s.collect)
}

// A VM that oned cannot tell of does not hide the others.
func TestOneVMIsNotTold(t *testing.T) {
	s := newSite(2)
	vm := s.vms[42]
	for _, id := range []int{41, 43} {
		vm.ID = id
		s.vms[id] = vm
	}
	s.deaf = 42
	all, err := s.recoverer().Stuck(t.Context())
	require.ErrorContains(t, err, "VM 42: its document is cut off")
	require.Len(t, all, 2)
	assert.Equal(t, []int{41, 43}, []int{all[0].VM, all[1].VM})
}

// What was seen minutes ago is not acted on: the cluster may have started the VM since.
func TestRecoverWhatWasSeenLongAgo(t *testing.T) {
	s := newSite(35)
	r := s.recoverer()
	stuck := one(t, r)
	for _, wrong := range []time.Duration{hook.MaxAge + time.Second, -hook.MaxAge - time.Second} {
		s.now = stuck.Facts.Truth.Seen.Add(wrong)
		require.ErrorIs(t, r.Recover(t.Context(), stuck, Decide(stuck)), ErrOld)
	}
	assert.Empty(t, s.calls)
	s.now = stuck.Facts.Truth.Seen.Add(hook.MaxAge)
	require.NoError(t, r.Recover(t.Context(), stuck, Decide(stuck)))
}

func TestRecover(t *testing.T) {
	s := newSite(35)
	r := s.recoverer()
	stuck := one(t, r)
	require.NoError(t, r.Recover(t.Context(), stuck, Decide(stuck)))
	assert.Equal(t, []string{"one.vm.recover 42 2"}, s.calls)
	require.Error(t, r.Recover(t.Context(), stuck, Decision{Action: Person}))
	vm := s.vms[42]
	vm.LCMState = opennebula.LCMRunning
	s.vms[42] = vm
	require.ErrorIs(t, r.Recover(t.Context(), stuck, Decide(stuck)), ErrChanged)
	assert.Len(t, s.calls, 1)
}

// What oned has begun since its start may be at work, what it has not has no driver left.
func TestWork(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	vm := &opennebula.VM{ID: 42, State: opennebula.StateActive, LCMState: 2}
	later := func(int) time.Time { return start.Add(time.Minute) }
	before := func(int) time.Time { return start.Add(-time.Minute) }
	assert.NotEmpty(t, Work{OnedStart: start, LastLine: later}.of(vm))
	assert.Empty(t, Work{OnedStart: start, LastLine: before}.of(vm))
	assert.Empty(t, Work{OnedStart: start, LastLine: later, Hung: true}.of(vm))
	silent := func(int) time.Time { return time.Time{} } // oned logs to syslog
	for since, busy := range map[time.Time]bool{start.Add(time.Minute): true, start.Add(-time.Minute): false, {}: false} {
		begun := *vm
		begun.History = []opennebula.History{{Seq: 0, Since: start.Add(time.Hour)}, {Seq: 1, Since: since}}
		assert.Equal(t, busy, Work{OnedStart: start, LastLine: silent}.of(&begun) != "")
		assert.Empty(t, Work{OnedStart: start, LastLine: before}.of(&begun), "its log says more")
	}
	assert.Empty(t, Work{OnedStart: start, LastLine: silent}.of(vm))
	failed := &opennebula.VM{ID: 42, State: opennebula.StateActive, LCMState: 36}
	assert.Empty(t, Work{OnedStart: start, LastLine: later}.of(failed), "oned waits for a person")
	for line, busy := range map[string]bool{
		"/var/lib/one/remotes/tm/clvm/clone fe:/i node1:/ds/100/42/disk.0 42 1":   true,
		"ssh node1 /var/tmp/one/vmm/rhcs/deploy '/ds/100/42/deployment.0' 42":     true,
		"/var/lib/one/remotes/tm/clvm/clone fe:/i node1:/ds/100/421/disk.0 421 1": false,
		"ssh node1 /var/tmp/one/vnm/bridge/clean 42":                              true,
		"vi /tmp/42": false,
	} {
		w := Work{Processes: []Process{{PID: 9, Name: "p", Command: []string{line}}}, Hung: true, LastLine: later}
		assert.Equal(t, busy, w.of(failed) != "", line)
		w.Self = 9
		assert.Empty(t, w.of(failed), "this process itself")
	}
}

func TestReadWork(t *testing.T) {
	logs := t.TempDir()
	w, err := ReadWork(logs)
	require.NoError(t, err)
	assert.True(t, w.LastLine(42).IsZero())
	require.NoError(t, os.WriteFile(logs+"/42.log", nil, 0o600))
	assert.False(t, w.LastLine(42).IsZero())
	for _, p := range w.Processes {
		if p.PID == os.Getpid() {
			assert.Equal(t, os.Args, p.Command)
			assert.WithinRange(t, p.Start, time.Now().Add(-time.Hour), time.Now().Add(time.Minute))
			return
		}
	}
	t.Fatal("this process was not found")
}
