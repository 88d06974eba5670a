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

// weary is a cluster whose every look takes its time, and its own clock.
type weary struct {
	slow
	look  time.Duration
	now   time.Time
	looks []time.Duration // when each began
}

func (w *weary) Observe(context.Context, Service) (State, error) {
	w.looks = append(w.looks, w.now.Sub(time.Time{}))
	w.now = w.now.Add(w.look)
	return State{Clustered: true}, nil
}

func (w *weary) Now() time.Time { return w.now }

func (w *weary) Sleep(_ context.Context, d time.Duration) error {
	w.now = w.now.Add(d)
	return nil
}

// A verb looks each second. Where that takes a node long it looks less often, but at the end of
// its patience in any case.
func TestAVerbThatWaitsLeavesTheNodeItsTime(t *testing.T) {
	seconds := func(n ...float64) (all []time.Duration) {
		for _, s := range n {
			all = append(all, time.Duration(s*float64(time.Second)))
		}
		return all
	}
	for took, want := range map[time.Duration][]time.Duration{
		0:                      seconds(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
		250 * time.Millisecond: seconds(0, 1.25, 2.5, 3.75, 5, 6.25, 7.5, 8.75, 10, 11.25, 12),
		500 * time.Millisecond: seconds(0, 2.5, 5, 7.5, 10, 12),
		4 * time.Second:        seconds(0, 12),
	} {
		w := &weary{look: took}
		x := &Executor{Stack: w, Runner: w, Clock: w, Log: func(string, ...any) {}}
		err := x.await(t.Context(), Order{}, await(Running, "node1", 12*time.Second))
		require.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, want, w.looks, took)
	}
}
