package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// slow is a hypervisor whose save does not end in time.
type slow struct{ commands []run.Cmd }

func (*slow) Name() string { return "slow" }

func (*slow) Observe(context.Context, Service) (State, error) { return State{Domain: Active}, nil }

func (*slow) Commands(_ Order, s Step) ([]Command, error) {
	return []Command{{Program: "xl", Args: []string{string(s.Action)}, Whole: true}}, nil
}

func (s *slow) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	s.commands = append(s.commands, c)
	return run.Result{Status: -1}, run.ErrStillRunning
}

// What must not be cut off is left to end by itself, and nothing is taken back beside it.
func TestNothingIsTakenBackBesideWhatStillRuns(t *testing.T) {
	s := &slow{}
	x := &Executor{Stack: s, Runner: s, Clock: RealClock{}, Log: func(string, ...any) {}}
	o := Order{Verb: VerbSave, File: "/checkpoint", Service: Service{Name: "one-42", Patience: Patience{Migrate: time.Minute, Settle: time.Minute}}}
	err := x.Do(t.Context(), o)
	require.ErrorIs(t, err, run.ErrStillRunning)
	require.Len(t, s.commands, 1)
	assert.True(t, s.commands[0].Writer)
}

// hung is a cluster manager that answers nobody.
type hung struct{ slow }

func (*hung) Observe(ctx context.Context, _ Service) (State, error) {
	if _, limited := ctx.Deadline(); !limited {
		return State{}, errors.New("this look would last for ever")
	}
	<-ctx.Done()
	return State{}, ErrDown
}

// A look at what hangs ends: else the verb would keep its lock, and all others on the VM away.
func TestLooksHaveADeadline(t *testing.T) {
	x := &Executor{Stack: &hung{}, Clock: RealClock{}, Log: func(string, ...any) {}}
	o := Order{Verb: VerbStart, Service: Service{Name: "one-42", Patience: Patience{Settle: time.Millisecond}}}
	require.ErrorIs(t, x.Do(t.Context(), o), ErrDown)
	require.ErrorIs(t, x.await(t.Context(), o, await(Running, "node1", time.Millisecond)), ErrTimeout)
}
