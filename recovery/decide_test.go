package recovery

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/hook"
	"one-clvm/opennebula"
)

var update = flag.Bool("update", false, "write the table of decisions")

const decisions = "testdata/decisions.golden"

var newest = opennebula.Version{Major: 7, Minor: 4}

// situation is what can be known of VM 42, which oned has on node2, and had on node1 before.
type situation struct {
	name  string
	facts Facts
}

func facts(on string, disks Disks, checkpoint Checkpoint) Facts {
	nodes := map[string]hook.Fate{"node1": hook.Alive, "node2": hook.Alive, "node3": hook.Alive}
	return Facts{Truth: hook.Truth{VM: 42, On: on, Nodes: nodes}, Disks: disks, Checkpoint: checkpoint}
}

func situations() []situation {
	all := []situation{
		{"runs on node2", facts("node2", Whole, Absent)},
		{"runs on node1", facts("node1", Whole, Absent)},
		{"runs on node3", facts("node3", Whole, Absent)},
		{"off, all whole", facts("", Whole, Saved)},
		{"off, no checkpoint", facts("", Whole, Absent)},
		{"off, half a checkpoint", facts("", Whole, Partial)},
		{"off, checkpoint not known", facts("", Whole, "")},
		{"off, a disk building", facts("", Building, Absent)},
		{"off, a disk half done", facts("", Half, Absent)},
		{"off, a disk missing", facts("", Missing, Absent)},
		{"off, no disk left", facts("", Gone, Absent)},
		{"off, disks not known", facts("", "", Absent)},
	}
	for _, fate := range []hook.Fate{hook.Fenced, hook.Lost, ""} {
		for _, node := range []string{"node1", "node2"} {
			f := facts("", Whole, Saved)
			f.Truth.Nodes[node] = fate
			all = append(all, situation{fmt.Sprintf("off, %s %q", node, fate), f})
		}
	}
	doubt, moving, busy := facts("", Whole, Saved), facts("", Whole, Saved), facts("node2", Whole, Saved)
	doubt.Truth.Doubt, moving.Truth.Moving, busy.Busy = "libvirt of node3 gives no answer", true, "process 4711 (tm-clvm clone)"
	return append(all, situation{"not certain", doubt}, situation{"moving", moving}, situation{"busy", busy})
}

func stuck(lcm opennebula.LCMState, f Facts) Stuck {
	return Stuck{Version: newest, VM: 42, State: opennebula.StateActive, LCM: lcm, Host: "node2", Previous: "node1", Facts: f}
}

func row(out *strings.Builder, s Stuck, where string) {
	d := Decide(s)
	fmt.Fprintf(out, "%s | %s | %s | %s | %s | %s\n", s.Version, s.Name(), where, d.Action, d.Why, d.Command)
}

// One state of each family in every situation, all other states where it matters most, and
// what older versions cannot do.
func TestDecisions(t *testing.T) {
	var out strings.Builder
	whole := map[opennebula.LCMState]bool{}
	for _, lcm := range []opennebula.LCMState{2, 32, 35, 1, 8, 4, 7, 12, 11, 23, 16, 69, 58, 17} {
		whole[lcm] = true
		for _, at := range situations() {
			row(&out, stuck(lcm, at.facts), at.name)
		}
	}
	for lcm := opennebula.LCMState(0); lcm <= 71; lcm++ {
		if !whole[lcm] {
			for _, at := range situations()[:4] {
				row(&out, stuck(lcm, at.facts), at.name)
			}
		}
	}
	for _, version := range []opennebula.Version{{}, {Major: 3, Minor: 8}, {Major: 4, Minor: 12}} {
		for _, at := range []situation{situations()[0], situations()[3]} {
			s := stuck(2, at.facts)
			s.Version = version
			row(&out, s, at.name)
		}
	}
	prolog := stuck(1, situations()[3].facts)
	prolog.Version = opennebula.Version{Major: 4, Minor: 12}
	row(&out, prolog, "off, all whole")
	for _, at := range []situation{situations()[0], situations()[3]} {
		for _, version := range []opennebula.Version{{Major: 3, Minor: 8}, {Major: 4, Minor: 12}} {
			failing := stuck(14, at.facts)
			failing.Version = version
			row(&out, failing, at.name)
		}
	}
	pending := stuck(0, situations()[3].facts)
	pending.State = opennebula.StateCloningFailure
	row(&out, pending, "off, all whole")
	if *update {
		require.NoError(t, os.WriteFile(decisions, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(decisions)
	require.NoError(t, err)
	assert.Equal(t, string(want), out.String(), "if this is what you want: go test ./recovery -run Decisions -update")
}

// Who has arrived is asked to migrate again only where the drivers could still find that.
func TestArrived(t *testing.T) {
	arrived := facts("node2", Whole, Absent)
	lost := facts("node2", Whole, Absent)
	lost.Truth.Nodes["node1"] = hook.Fenced
	old := stuck(4, arrived)
	old.Version = opennebula.Version{Major: 4, Minor: 12}
	assert.Equal(t, Retry, Decide(stuck(4, arrived)).Action)
	assert.Equal(t, Success, Decide(stuck(4, lost)).Action, "nobody is left to call PREMIGRATE for")
	assert.Equal(t, Success, Decide(old).Action, "there was no retry")
}

// What must hold for every row, whatever the table says.
func TestNoDecisionIsDangerous(t *testing.T) {
	starts := map[opennebula.LCMState]bool{2: true, 19: true, 20: true, 21: true, 22: true, 32: true, 35: true, 36: true, 37: true, 47: true, 48: true}
	removes := map[opennebula.LCMState]bool{10: true, 11: true, 30: true, 40: true, 41: true, 42: true, 12: true, 13: true, 15: true, 18: true, 23: true, 29: true}
	for lcm := opennebula.LCMState(0); lcm <= 71; lcm++ {
		for _, at := range situations() {
			s := stuck(lcm, at.facts)
			d := Decide(s)
			about := fmt.Sprintf("%s, %s: %s", s.Name(), at.name, d.Action)
			require.NotEmpty(t, d.Why, about)
			require.NotEmpty(t, d.Command, about)
			if removes[lcm] && at.facts.Truth.On != "" {
				assert.NotContains(t, d.Command, "--success", "a person's command that takes the disks of a running VM: %s", about)
			}
			if !d.Action.Acts() {
				continue
			}
			truth := at.facts.Truth
			assert.Empty(t, truth.Doubt+at.facts.Busy, about)
			assert.False(t, truth.Moving, about)
			assert.Contains(t, families, lcm, about)
			if truth.On == "" {
				hosts := []string{"node2"}
				if strings.Contains(s.Name(), "MIGRATE") {
					hosts = append(hosts, "node1")
				}
				for _, node := range hosts {
					assert.Contains(t, []hook.Fate{hook.Alive, hook.Fenced}, truth.Nodes[node], "without proof of fencing: %s", about)
				}
			}
			assert.False(t, s.Name() == "PROLOG" && d.Action == Success, "disks of other drivers are in no fact: %s", about)
			if starts[lcm] && d.Action == Retry {
				assert.Empty(t, truth.On, "a second copy: %s", about)
				assert.Equal(t, Whole, at.facts.Disks, about)
			}
			if removes[lcm] && d.Action != Failure {
				assert.Empty(t, truth.On, "the disks of a running VM: %s", about)
			}
			if d.Action == Success && truth.On == "" && !removes[lcm] {
				assert.NotContains(t, []Disks{Building, Half, Missing, ""}, at.facts.Disks, about)
			}
		}
	}
}
