package hook

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ways answers for front-ends by their names.
type ways map[string]Answer

func (w ways) Send(ctx context.Context, frontEnd, line string) (Answer, error) {
	answer, reached := w[frontEnd]
	if !reached {
		return Answer{}, errors.New("connection refused")
	}
	if answer == (Answer{}) {
		return Serve(ctx, line, nil, func() (*Receiver, error) { return nil, errors.New("no report was to be made") }), nil
	}
	return answer, nil
}

func TestPing(t *testing.T) {
	all := ways{"first": {}, "two": {}, "old": {Refused, "not a report"}}
	require.NoError(t, Ping(t.Context(), all, []string{"first", "two"}))
	err := Ping(t.Context(), all, []string{"first", "gone", "old"})
	require.ErrorContains(t, err, "gone: connection refused")
	require.ErrorContains(t, err, "old: it answers refused not a report")
	assert.NotContains(t, err.Error(), "first:")
}
