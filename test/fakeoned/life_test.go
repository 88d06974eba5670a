package fakeoned

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
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
