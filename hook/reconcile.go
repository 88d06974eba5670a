package hook

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"one-clvm/internal/failpoint"
	"one-clvm/opennebula"
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

// Reconciled is what a reconciliation has left, for status.
type Reconciled struct {
	At            time.Time `json:"at"`
	VMs           int       `json:"vms"`
	Disagreements []Finding `json:"disagreements"`
	// Silent is who could not be asked, and why, a line each: their VMs were not compared.
	Silent []string `json:"silent,omitempty"`
}

func reconciledFile(stateDir string) string { return filepath.Join(stateDir, "reconciled.json") }

// ReadReconciled reads what the last reconciliation has left; nothing where there was none.
func ReadReconciled(stateDir string) (Reconciled, error) {
	var last Reconciled
	return last, readJSON(reconciledFile(stateDir), &last)
}

// Remember keeps findings for status, and the error of who could not be asked. A crash (failpoint
// reconcile.told) leaves the older ones.
func (r *Receiver) Remember(found []Finding, silent error) error {
	last := Reconciled{At: r.Now(), VMs: len(found), Disagreements: Disagreements(found)}
	if silent != nil {
		for line := range strings.Lines(silent.Error()) {
			last.Silent = append(last.Silent, opennebula.Sanitize(strings.TrimSpace(line)))
		}
	}
	failpoint.Hit("reconcile.told")
	return writeJSON(reconciledFile(r.StateDir), last)
}

// Disagreements are the findings that are not right yet.
func Disagreements(found []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return !f.Disagrees() })
}

// Reconcile compares oned's record of every VM with the truth, and brings it there in the
// way that a report does, unless dryRun. A VM that oned does not tell of is left to the next
// time, and in the error; without any answer of oned the findings are of some VMs.
func (r *Receiver) Reconcile(ctx context.Context, truths []Truth, dryRun bool) ([]Finding, error) {
	truths = slices.SortedFunc(slices.Values(truths), func(a, b Truth) int { return a.VM - b.VM })
	var found []Finding
	var failed []error
	for _, t := range truths {
		if err := ctx.Err(); err != nil {
			return found, errors.Join(append(failed, err)...)
		}
		s, err := r.situation(ctx, t)
		if errors.Is(err, opennebula.ErrUnreachable) {
			return found, errors.Join(append(failed, err)...)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("VM %d: %w", t.VM, err))
			found = append(found, Finding{VM: t.VM, On: t.On, Outcome: Retry, Why: err.Error()})
			continue
		}
		f := finding(s)
		if !dryRun && t.Doubt == "" && (f.Disagrees() || r.asked(t.VM)) {
			answer := r.receive(ctx, t, false)
			f.Outcome, f.Why = answer.Outcome, answer.Text
		}
		found = append(found, f)
	}
	return found, errors.Join(failed...)
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
