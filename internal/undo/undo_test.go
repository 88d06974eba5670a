package undo

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errCause = errors.New("archive is cut off")

// recorder makes steps that note their order.
type recorder struct{ done []string }

func (r *recorder) step(name string, err error) (string, func(context.Context) error) {
	return name, func(context.Context) error {
		r.done = append(r.done, name)
		return err
	}
}

func TestUnwindTakesTheLastStepBackFirst(t *testing.T) {
	var stack Stack
	var r recorder
	for _, name := range []string{"remove volume", "unmount", "remove link"} {
		stack.Push(r.step(name, nil))
	}
	err := stack.Unwind(t.Context(), errCause)
	assert.Equal(t, errCause, err, "the cause alone when the clean-up worked")
	assert.Equal(t, []string{"remove link", "unmount", "remove volume"}, r.done)
}

func TestUnwindGoesOnAndReportsEveryFailure(t *testing.T) {
	var stack Stack
	var r recorder
	errBusy, errGone := errors.New("busy"), errors.New("gone")
	stack.Push(r.step("remove volume lv-one-42-0", errGone))
	stack.Push(r.step("close stream", nil))
	stack.Push(r.step("unmount", errBusy))
	err := stack.Unwind(t.Context(), errCause)
	assert.Equal(t, []string{"unmount", "close stream", "remove volume lv-one-42-0"}, r.done)
	for _, wanted := range []error{errCause, errBusy, errGone} {
		require.ErrorIs(t, err, wanted)
	}
	assert.EqualError(t, err, "archive is cut off\ncould not unmount: busy\ncould not remove volume lv-one-42-0: gone")
}

func TestDisarmedStackTakesNothingBack(t *testing.T) {
	var stack Stack
	var r recorder
	stack.Push(r.step("remove volume", nil))
	stack.Disarm()
	require.NoError(t, stack.Unwind(t.Context(), nil))
	assert.Empty(t, r.done)
	stack.Push(r.step("later step", nil))
	require.ErrorIs(t, stack.Unwind(t.Context(), errCause), errCause)
	assert.Equal(t, []string{"later step"}, r.done, "a stack can be armed again")
}

func TestUnwindHappensOnce(t *testing.T) {
	var stack Stack
	var r recorder
	stack.Push(r.step("remove volume", nil))
	require.ErrorIs(t, stack.Unwind(t.Context(), errCause), errCause)
	require.ErrorIs(t, stack.Unwind(t.Context(), errCause), errCause)
	assert.Equal(t, []string{"remove volume"}, r.done)
}

func TestUnwindWithoutCauseStillReportsFailures(t *testing.T) {
	var stack Stack
	var r recorder
	stack.Push(r.step("unmount", errCause))
	require.ErrorIs(t, stack.Unwind(t.Context(), nil), errCause)
}

func TestStepsGetTheContextOfUnwind(t *testing.T) {
	type key struct{}
	var stack Stack
	var got any
	stack.Push("look", func(ctx context.Context) error {
		got = ctx.Value(key{})
		return nil
	})
	require.NoError(t, stack.Unwind(context.WithValue(t.Context(), key{}, "ours"), nil))
	assert.Equal(t, "ours", got)
}
