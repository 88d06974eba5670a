// Package undo is a stack of steps to take back: each one is pushed right after the
// step it undoes, and the whole stack is disarmed once, at the end.
package undo

import (
	"context"
	"errors"
	"fmt"
)

// Stack of undo steps. The zero value is ready.
type Stack struct{ steps []step }

type step struct {
	name string
	fn   func(context.Context) error
}

// Push adds a step; name says what it takes back ("remove volume lv-one-42-0").
func (s *Stack) Push(name string, fn func(context.Context) error) {
	s.steps = append(s.steps, step{name, fn})
}

// Disarm forgets all steps: the operation succeeded.
func (s *Stack) Disarm() { s.steps = nil }

// Unwind takes all steps back, the last first, and joins what failed on the way to
// cause: a clean-up that fails is reported next to the first error. ctx should not be
// the cancelled one of the operation (context.WithoutCancel). A disarmed stack
// returns cause as it is.
func (s *Stack) Unwind(ctx context.Context, cause error) error {
	for i := len(s.steps) - 1; i >= 0; i-- {
		if err := s.steps[i].fn(ctx); err != nil {
			cause = errors.Join(cause, fmt.Errorf("could not %s: %w", s.steps[i].name, err))
		}
	}
	s.steps = nil
	return cause
}
