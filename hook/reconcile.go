package hook

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Finding is a VM whose record and truth were compared.
type Finding struct {
	VM      int     `json:"vm"`
	Host    string  `json:"host"` // that oned has it on
	State   string  `json:"state"`
	On      string  `json:"on"` // that it runs on
	Outcome Outcome `json:"outcome"`
	Why     string  `json:"why"`
}

// Disagrees says whether there is something to do, for a program or a person.
func (f Finding) Disagrees() bool { return f.Outcome != Nothing && f.Outcome != Done }

// Reconcile compares oned's record of every VM of the cluster with the truth, and brings it
// there in the way that a report does, unless dryRun.
func (r *Receiver) Reconcile(ctx context.Context, cluster Cluster, dryRun bool) ([]Finding, error) {
	truths, err := cluster.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("where the VMs are: %w", err)
	}
	slices.SortFunc(truths, func(a, b Truth) int { return a.VM - b.VM })
	var found []Finding
	for _, t := range truths {
		if err := ctx.Err(); err != nil {
			return found, err
		}
		s, err := r.situation(ctx, t)
		if err != nil {
			return found, err
		}
		found = append(found, finding(s))
		if dryRun || !found[len(found)-1].Disagrees() && !r.asked(t.VM) {
			continue
		}
		answer := r.Receive(ctx, t)
		found[len(found)-1].Outcome, found[len(found)-1].Why = answer.Outcome, answer.Text
	}
	return found, nil
}

// asked says whether oned was called for the VM, and nobody has seen yet that it helped.
func (r *Receiver) asked(vm int) bool {
	var before told
	return readJSON(r.toldFile(vm), &before) != nil || before.Asked > 0
}

func finding(s Situation) Finding {
	d := Decide(s)
	f := Finding{VM: s.Truth.VM, Host: s.Record.Host, State: s.Record.text(), On: s.Truth.On, Outcome: d.Outcome, Why: d.Why}
	if d.Outcome == Act {
		f.Why += ": " + d.Call.String()
	}
	return f
}

// text is the state as OpenNebula's own commands show it.
func (r Record) text() string {
	if !r.Known {
		return "not in OpenNebula"
	}
	return strings.TrimSuffix(r.State.String()+" "+r.LCM.String(), " LCM_INIT")
}
