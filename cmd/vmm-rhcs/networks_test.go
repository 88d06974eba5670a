package main

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// starter notes what it is to start.
type starter struct {
	argv []string
	err  error
}

func (s *starter) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if _, limited := ctx.Deadline(); !limited || !c.Writer { // which would be waited for as long as it has standard output
		return run.Result{}, errors.New("libvirt would wait for ever")
	}
	s.argv = append([]string{c.Path}, c.Args...)
	return run.Result{}, s.err
}

func TestProcessThatTheHookLeavesBehind(t *testing.T) {
	for systemd, want := range map[bool][]string{
		true:  {"systemd-run", "--quiet", "--", installed, "networks", "post", "one-42"},
		false: {"setsid", "--fork", installed, "networks", "post", "one-42"},
	} {
		s := &starter{}
		require.NoError(t, later(s, systemd)(t.Context(), "post", "one-42"))
		assert.Equal(t, want, s.argv)
		s.err = errors.New("no bus")
		require.ErrorContains(t, later(s, systemd)(t.Context(), "post", "one-42"), "no bus")
	}
}
