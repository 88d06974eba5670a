package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"one-clvm/agent"
	"one-clvm/plan"
)

// ErrGone means: what was found is not there any more, and nothing was done.
var ErrGone = errors.New("it is as it should be by now")

// Repair carries out what a finding's fixes say, after looking again: between looking and
// repairing others may have been at it, and an earlier repair may have healed this, too.
// A crash between two fixes leaves what the next audit finds. ErrGone.
func (a *Auditor) Repair(ctx context.Context, t Target, found Finding) error {
	s, err := a.Collect(ctx, t)
	if err != nil {
		return fmt.Errorf("look again: %w", err)
	}
	now := s.Findings()
	i := slices.IndexFunc(now, func(f Finding) bool { return f.Kind == found.Kind && f.Object == found.Object })
	if i < 0 {
		return ErrGone
	}
	if len(now[i].Fixes) == 0 {
		return fmt.Errorf("it has changed meanwhile: %s; %s", now[i].Why, now[i].Repair)
	}
	for _, fix := range now[i].Fixes {
		if err := a.fix(ctx, fix); err != nil {
			return fmt.Errorf("%s: %w", fix.What, err)
		}
	}
	return nil
}

func (a *Auditor) fix(ctx context.Context, f Fix) error {
	q := f.Request
	q.Operation, q.Patience, q.Wipe = plan.NewOperation(), a.Config.Int("LOCK_TIMEOUT"), agent.Wipe(a.Config.String("WIPE"))
	_, err := a.Ask(ctx, f.Host, q)
	return err
}
