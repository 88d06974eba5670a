package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestJudge(t *testing.T) {
	nodes := []Node{{Name: "node1", Online: true}, {Name: "node2", Online: true}}
	failure := []Failure{{Node: "node1", Operation: "start", Reason: "no memory"}}
	for name, c := range map[string]struct {
		condition Condition
		domain    Domain
		change    func(*State)
		want      Report
		here      bool
	}{
		"runs":                     {Condition{Defined: true, Running: []string{"node1"}}, Active, nil, ReportRunning, true},
		"shuts down":               {Condition{Defined: true, Running: []string{"node1"}}, Dying, nil, ReportRunning, true},
		"paused":                   {Condition{Defined: true, Running: []string{"node1"}}, Paused, nil, ReportSuspended, true},
		"asleep":                   {Condition{Defined: true, Running: []string{"node1"}}, Asleep, nil, ReportSuspended, true},
		"crashed":                  {Condition{Defined: true, Running: []string{"node1"}}, Crashed, nil, ReportFailed, true},
		"runs, no service":         {Condition{}, Active, nil, ReportRunning, true},
		"runs here, unmanaged":     {Condition{Defined: true, Frozen: true, Running: []string{"node1"}}, Active, nil, ReportRunning, true},
		"runs here, blocked":       {Condition{Defined: true, Blocked: true, Running: []string{"node1"}}, Active, nil, ReportRunning, true},
		"no service":               {Condition{}, Absent, nil, ReportOff, false},
		"disabled":                 {Condition{Defined: true, Stopped: true}, Absent, nil, ReportOff, false},
		"on another node":          {Condition{Defined: true, Running: []string{"node2"}}, Absent, nil, ReportUnknown, false},
		"not missed yet":           {Condition{Defined: true, Running: []string{"node1"}}, Absent, nil, ReportUnknown, true},
		"starting":                 {Condition{Defined: true, Pending: "starting", Running: []string{"node1"}}, Absent, nil, ReportUnknown, true},
		"stopping":                 {Condition{Defined: true, Pending: "stopping", Running: []string{"node1"}}, Absent, nil, ReportUnknown, true},
		"migrating":                {Condition{Defined: true, Pending: "migrating", Running: []string{"node1", "node2"}}, Absent, nil, ReportUnknown, true},
		"recovering":               {Condition{Defined: true, Pending: "recovering"}, Absent, nil, ReportUnknown, false},
		"recovering, not said yet": {Condition{Defined: true}, Absent, nil, ReportUnknown, false},
		"unmanaged, saved":         {Condition{Defined: true, Frozen: true, Running: []string{"node1"}}, Absent, nil, ReportUnknown, true},
		"blocked":                  {Condition{Defined: true, Blocked: true, Failed: true, Running: []string{"node1"}, Failures: failure}, Absent, nil, ReportFailed, true},
		"blocked elsewhere":        {Condition{Defined: true, Blocked: true, Running: []string{"node2"}}, Absent, nil, ReportFailed, false},
		"failed":                   {Condition{Defined: true, Failed: true, Failures: failure}, Absent, nil, ReportFailed, true},
		"failed to start":          {Condition{Defined: true, Failures: failure}, Absent, nil, ReportFailed, true},
		"removed, being stopped":   {Condition{Running: []string{"node1"}}, Absent, nil, ReportUnknown, true},
		"its node is being fenced": {Condition{Defined: true, Running: []string{"node2"}}, Absent, func(s *State) { s.Nodes[1].Unclean = true }, ReportUnknown, false},
		"no quorum":                {Condition{Defined: true, Stopped: true}, Absent, func(s *State) { s.Quorate = false }, ReportUnknown, false},
		"maintenance":              {Condition{Defined: true, Failed: true}, Absent, func(s *State) { s.Maintenance = true }, ReportUnknown, false},
		"alone, off":               {Condition{}, Absent, func(s *State) { s.Clustered = false }, ReportOff, false},
		"alone, runs":              {Condition{}, Active, func(s *State) { s.Clustered = false }, ReportRunning, true},
	} {
		s := State{Clustered: true, Self: "node1", Quorate: true, Fencing: true, Nodes: append([]Node{}, nodes...), Service: c.condition, Domain: c.domain}
		if c.change != nil {
			c.change(&s)
		}
		report, here := Judge(s)
		assert.Equal(t, c.want, report, name)
		assert.Equal(t, c.here, here, name)
	}
}
