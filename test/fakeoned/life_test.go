package fakeoned

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

// drivers succeed or fail, and remember what they were asked for.
type drivers struct {
	err   error
	calls []string
}

func (d *drivers) Migrate(_ int, from, to string) error {
	d.calls = append(d.calls, "migrate "+from+" "+to)
	return d.err
}

func (d *drivers) Deploy(_ int, host string) error {
	d.calls = append(d.calls, "deploy "+host)
	return d.err
}

// The ways between a VM's states that a migration takes, by the contract of 7.4.
func TestLifeOfAVM(t *testing.T) {
	for name, c := range map[string]struct {
		state, lcm          int
		live                bool
		fails               error
		during, after, host any // LCM_STATE; STATE and LCM_STATE; host
		calls               []string
	}{
		"live":              {3, 3, true, nil, 4, [2]int{3, 3}, "node2", []string{"migrate node1 node2"}},
		"live, fails":       {3, 3, true, errors.New("no"), 4, [2]int{3, 3}, "node1", []string{"migrate node1 node2"}},
		"unknown":           {3, 16, false, nil, 60, [2]int{3, 3}, "node2", []string{"deploy node2"}},
		"unknown, fails":    {3, 16, true, errors.New("no"), 60, [2]int{3, 16}, "node2", []string{"deploy node2"}},
		"powered off":       {8, 0, false, nil, 43, [2]int{8, 0}, "node2", nil},
		"not in this state": {3, 2, true, nil, 2, [2]int{3, 2}, "node1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := start(t)
			d := &drivers{err: c.fails}
			s.Live(d)
			s.Put(Hosts, 0, Host(0, "node1", 2))
			s.Put(Hosts, 1, Host(1, "node2", 2))
			s.Put(VMs, 7, VM{ID: 7, Host: "node1"}.Document())
			s.Lose(7, c.state, c.lcm)
			call(t, client, "one.vm.migrate", Session, 7, 1, c.live, false, -1, 0)
			_, _, lcm := s.At(7)
			assert.Equal(t, c.during, lcm)
			s.Settle()
			s.Settle()
			host, state, lcm := s.At(7)
			assert.Equal(t, c.after, [2]int{state, lcm})
			assert.Equal(t, c.host, host)
			assert.Equal(t, c.calls, d.calls)
			assert.Equal(t, []string{"one.vm.migrate"}, s.Changes())
		})
	}
}

// transfers are drivers that make disks, too.
type transfers struct{ drivers }

func (d *transfers) Prolog(_ int, host string) error {
	d.calls = append(d.calls, "prolog "+host)
	return d.err
}

func (d *transfers) Move(_ int, from, to string) error {
	d.calls = append(d.calls, "move "+from+" "+to)
	return d.err
}

func (d *transfers) Epilog(_ int, host string) error {
	d.calls = append(d.calls, "epilog "+host)
	return d.err
}

// What one.vm.recover leads to, at once and in the end, by the contract of 7.4. 0 failure, 1
// success, 2 retry.
func TestRecoveries(t *testing.T) {
	for name, c := range map[string]struct {
		lcm, operation int
		fails          error
		then, end      [2]int
		host           string
		calls          []string
	}{
		"prolog, retry":         {1, 2, nil, [2]int{3, 1}, [2]int{3, 3}, "node2", []string{"prolog node2", "deploy node2"}},
		"prolog, retry fails":   {1, 2, errors.New("no"), [2]int{3, 1}, [2]int{3, 39}, "node2", []string{"prolog node2"}},
		"prolog, success":       {1, 1, nil, [2]int{3, 2}, [2]int{3, 3}, "node2", []string{"deploy node2"}},
		"prolog, failure":       {1, 0, nil, [2]int{3, 39}, [2]int{3, 39}, "node2", nil},
		"boot, success":         {2, 1, nil, [2]int{3, 3}, [2]int{3, 3}, "node2", nil},
		"boot, retry":           {2, 2, nil, [2]int{3, 2}, [2]int{3, 3}, "node2", []string{"deploy node2"}},
		"boot, retry fails":     {2, 2, errors.New("no"), [2]int{3, 2}, [2]int{3, 36}, "node2", []string{"deploy node2"}},
		"boot, failure":         {2, 0, nil, [2]int{3, 36}, [2]int{3, 36}, "node2", nil},
		"migrate, success":      {4, 1, nil, [2]int{3, 3}, [2]int{3, 3}, "node2", nil},
		"migrate, failure":      {4, 0, nil, [2]int{3, 3}, [2]int{3, 3}, "node1", nil},
		"migrate, retry":        {4, 2, nil, [2]int{3, 4}, [2]int{3, 3}, "node2", []string{"migrate node1 node2"}},
		"migrate, retry fails":  {4, 2, errors.New("no"), [2]int{3, 4}, [2]int{3, 3}, "node1", []string{"migrate node1 node2"}},
		"save, success":         {6, 1, nil, [2]int{5, 0}, [2]int{5, 0}, "node2", nil},
		"save, failure":         {6, 0, nil, [2]int{3, 3}, [2]int{3, 3}, "node2", nil},
		"epilog, success":       {11, 1, nil, [2]int{6, 0}, [2]int{6, 0}, "node2", nil},
		"epilog, failure":       {11, 0, nil, [2]int{3, 40}, [2]int{3, 40}, "node2", nil},
		"epilog, retry":         {11, 2, nil, [2]int{3, 11}, [2]int{6, 0}, "node2", []string{"epilog node2"}},
		"epilog, retry fails":   {11, 2, errors.New("no"), [2]int{3, 11}, [2]int{3, 40}, "node2", []string{"epilog node2"}},
		"unknown, even failure": {16, 0, nil, [2]int{3, 3}, [2]int{3, 3}, "node2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := start(t)
			d := &transfers{drivers{err: c.fails}}
			s.Live(d)
			s.Put(Hosts, 0, Host(0, "node1", 2))
			s.Put(Hosts, 1, Host(1, "node2", 2))
			s.Put(VMs, 7, VM{ID: 7, Host: "node1", LCMState: 3}.Document())
			s.Begin(7, "node2") // a migration, of which nothing is heard any more
			s.Die()
			s.Settle()
			s.Lose(7, 3, c.lcm)
			assert.Equal(t, true, call(t, client, "one.vm.recover", Session, 7, c.operation)[0])
			_, state, lcm := s.At(7)
			assert.Equal(t, c.then, [2]int{state, lcm})
			s.Settle()
			s.Settle()
			host, state, lcm := s.At(7)
			assert.Equal(t, c.end, [2]int{state, lcm})
			assert.Equal(t, c.host, host)
			assert.Equal(t, c.calls, d.calls)
		})
	}
}

// A VM that does not run, as far as oned knows, has its disks carried to its new host first.
func TestDisksAreCarriedOver(t *testing.T) {
	for name, c := range map[string]struct {
		state, lcm int
		fails      error
		end        [2]int
		calls      []string
	}{
		"unknown":            {3, 16, nil, [2]int{3, 3}, []string{"move node1 node2", "deploy node2"}},
		"unknown, fails":     {3, 16, errors.New("no"), [2]int{3, 61}, []string{"move node1 node2"}},
		"powered off":        {8, 0, nil, [2]int{8, 0}, []string{"move node1 node2"}},
		"powered off, fails": {8, 0, errors.New("no"), [2]int{3, 44}, []string{"move node1 node2"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := start(t)
			d := &transfers{drivers{err: c.fails}}
			s.Live(d)
			s.Put(Hosts, 1, Host(1, "node2", 2))
			s.Put(VMs, 7, VM{ID: 7, Host: "node1"}.Document())
			s.Lose(7, c.state, c.lcm)
			call(t, client, "one.vm.migrate", Session, 7, 1, false, false, -1, 0)
			s.Settle()
			s.Settle()
			host, state, lcm := s.At(7)
			assert.Equal(t, []any{"node2", c.end}, []any{host, [2]int{state, lcm}})
			assert.Equal(t, c.calls, d.calls)
		})
	}
}

// A record says since when oned has the VM there, and running there.
func TestHistoryTells(t *testing.T) {
	s, client := start(t)
	now := time.Unix(1_800_000_000, 0)
	s.Clock(func() time.Time { return now })
	s.Live(&drivers{})
	s.Put(Hosts, 1, Host(1, "node2", 2))
	s.Put(VMs, 7, VM{ID: 7, Host: "node1", LCMState: 3}.Document())
	assert.True(t, parse(t, s.Document(VMs, 7)).Last().Since.Before(time.Unix(1_400_000_000, 0)))
	call(t, client, "one.vm.migrate", Session, 7, 1, true, false, -1, 0)
	assert.Equal(t, now, parse(t, s.Document(VMs, 7)).Last().Since)
	now = now.Add(time.Minute)
	s.Settle()
	assert.Equal(t, now, parse(t, s.Document(VMs, 7)).Last().Since)
}

func parse(t *testing.T, document string) *opennebula.VM {
	t.Helper()
	vm, err := opennebula.ParseVM(strings.NewReader(document))
	require.NoError(t, err)
	return vm
}

func TestRecoverAndMonitoring(t *testing.T) {
	s, client := start(t)
	s.Put(VMs, 7, VM{ID: 7, Host: "node1", LCMState: 16}.Document())
	s.Monitor(7, "node2")
	_, _, lcm := s.At(7)
	assert.Equal(t, 16, lcm, "reports of other hosts count for nothing")
	assert.Equal(t, true, call(t, client, "one.vm.recover", Session, 7, 1)[0])
	_, _, lcm = s.At(7)
	assert.Equal(t, 3, lcm)
	for _, params := range [][]any{{Session, 7, 1}, {Session, 7, 0}, {Session, 7}, {Session, 8, 1}} {
		assert.Equal(t, false, call(t, client, "one.vm.recover", params...)[0], params)
	}
	for _, params := range [][]any{{Session, 7, 1, true}, {Session, 7, 5, true, false, -1, 0}} {
		assert.Equal(t, false, call(t, client, "one.vm.migrate", params...)[0], params)
	}
	s.Lose(7, 8, 0)
	s.Monitor(7, "node1")
	_, state, lcm := s.At(7)
	assert.Equal(t, [2]int{3, 3}, [2]int{state, lcm})
}
