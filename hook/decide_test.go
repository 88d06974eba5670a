package hook

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

var update = flag.Bool("update", false, "write the table of decisions")

const decisions = "testdata/decisions.golden"

// place is where the VM really is, and what became of the node that oned has it on.
type place struct {
	name  string
	truth Truth
}

func places() []place {
	on := func(node string, old Fate) Truth {
		nodes := map[string]Fate{"node2": Alive, "node1": old}
		if old == "" {
			delete(nodes, "node1")
		}
		return Truth{VM: 42, On: node, Nodes: nodes}
	}
	all := []place{{"nowhere", on("", Alive)}, {"same host", on("node1", Alive)}}
	for _, fate := range []Fate{Alive, Fenced, Lost, ""} {
		all = append(all, place{fmt.Sprintf("node2, node1 %s", orUnknown(fate)), on("node2", fate)})
	}
	return all
}

// states are all that oned can have a VM in.
func states() []Record {
	all := []Record{{}}
	for state := opennebula.StateInit; state <= opennebula.StateCloningFailure; state++ {
		if state != opennebula.StateActive {
			all = append(all, Record{Known: true, State: state, Host: "node1"})
		}
	}
	for lcm := opennebula.LCMState(0); lcm <= 71; lcm++ {
		all = append(all, Record{Known: true, State: opennebula.StateActive, LCM: lcm, Host: "node1"})
	}
	return all
}

func row(out *strings.Builder, s Situation, where string) {
	d := Decide(s)
	text := d.Why
	if d.Outcome == Act {
		text = d.Call.String() + " | " + text
	}
	fmt.Fprintf(out, "%s | %s | %s | %s | %s\n", s.Version, s.Record.text(), where, d.Outcome, text)
}

// Every state of oned × where the VM is × what became of the old node, and for each version
// the states that differ.
func TestDecisions(t *testing.T) {
	var out strings.Builder
	newest := opennebula.Version{Major: 7, Minor: 4}
	for _, record := range states() {
		for _, p := range places() {
			row(&out, Situation{Version: newest, Record: record, Truth: p.truth, Target: 1, LocalMigrate: true}, p.name)
		}
	}
	running := Record{Known: true, State: opennebula.StateActive, LCM: opennebula.LCMRunning, Host: "node1"}
	unknown, off := running, Record{Known: true, State: opennebula.StatePoweroff, Host: "node1"}
	unknown.LCM = opennebula.LCMUnknown
	for _, version := range []string{"3.8", "4.2", "4.6", "4.12", "4.14", "5.8"} {
		v, err := opennebula.ParseVersion(version)
		require.NoError(t, err)
		for _, record := range []Record{running, unknown, off} {
			for _, p := range places()[1:4] {
				row(&out, Situation{Version: v, Record: record, Truth: p.truth, Target: 1, LocalMigrate: true}, p.name)
			}
		}
	}
	moved := places()[2].truth
	for where, s := range map[string]Situation{
		"without a VERSION file": {Record: running, Truth: moved, Target: 1},
	} {
		row(&out, s, where)
	}
	out.WriteString("# 7.4.0 again:\n")
	row(&out, Situation{Version: newest, Record: running, Truth: places()[3].truth, Target: 1}, "node2, node1 fenced, no local migrate")
	row(&out, Situation{Version: newest, Record: running, Truth: moved, Target: opennebula.None}, "node2, which is no host")
	row(&out, Situation{Version: newest, Record: running, Truth: moved, Target: 1, Asked: maxAsked}, "node2, asked often")
	later := running
	later.Since = moved.Seen.Add(time.Second)
	row(&out, Situation{Version: newest, Record: later, Truth: moved, Target: 1}, "node2, seen before oned had it on node1")
	moved.Moving = true
	row(&out, Situation{Version: newest, Record: running, Truth: moved, Target: 1}, "moving")

	if *update {
		require.NoError(t, os.WriteFile(decisions, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(decisions)
	require.NoError(t, err)
	assert.Equal(t, string(want), out.String(), "if this is what you want: go test ./hook -run Decisions -update")
}

// Before 4.14 a migration away from a dead node fails at that one.
func TestOldOnesMigrateFromTheLivingAlone(t *testing.T) {
	for text, want := range map[string]map[opennebula.LCMState]Outcome{
		"3.8": {opennebula.LCMRunning: Person, opennebula.LCMUnknown: Person}, "4.8": {opennebula.LCMRunning: Person, opennebula.LCMUnknown: Person},
		"4.10": {opennebula.LCMRunning: Retry, opennebula.LCMUnknown: Act}, "4.12": {opennebula.LCMRunning: Retry, opennebula.LCMUnknown: Act},
		"4.14": {opennebula.LCMRunning: Act, opennebula.LCMUnknown: Act},
	} {
		version, err := opennebula.ParseVersion(text)
		require.NoError(t, err)
		for lcm, outcome := range want {
			s := Situation{Version: version, Record: Record{Known: true, State: opennebula.StateActive, LCM: lcm, Host: "node1"}, Truth: places()[3].truth, Target: 1, LocalMigrate: true}
			require.Equal(t, Fenced, s.Truth.Nodes["node1"])
			assert.Equal(t, outcome, Decide(s).Outcome, "%s, %s", text, lcm)
		}
	}
}

// What must hold for every row, whatever the table says.
func TestNoDecisionIsDangerous(t *testing.T) {
	for _, record := range states() {
		for _, p := range places() {
			s := Situation{Version: opennebula.Version{Major: 7, Minor: 4}, Record: record, Truth: p.truth, Target: 1, LocalMigrate: true}
			d := Decide(s)
			about := record.text() + ", " + p.name
			assert.NotEmpty(t, d.Why, about)
			if p.truth.On != "" && !strings.HasPrefix(record.LCM.String(), "BOOT") {
				assert.NotContains(t, d.Why, "--success", "a person's command that takes the disks of a running VM: %s", about)
			}
			if d.Outcome != Act {
				continue
			}
			assert.NotEmpty(t, p.truth.On, "nothing is started for a VM that runs nowhere: %s", about)
			old := p.truth.Nodes[record.Host]
			assert.True(t, old == Alive || old == Fenced, "without proof of what became of the old node: %s", about)
			if record.State == opennebula.StateActive {
				assert.Contains(t, []opennebula.LCMState{opennebula.LCMRunning, opennebula.LCMUnknown}, record.LCM, "oned is at work: %s", about)
			}
		}
	}
}
