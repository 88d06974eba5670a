package hook

import (
	"context"
	"errors"
	"fmt"
)

// pingLine asks a front-end for nothing but an answer.
const pingLine = "ping/1"

// pong is the answer to it: nothing was done.
var pong = Answer{Nothing, "reports are taken here"}

// Ping tries the way to each front-end, as a delivery goes it. The error names those that
// do not answer.
func Ping(ctx context.Context, way Transport, frontEnds []string) error {
	var errs []error
	for _, name := range frontEnds {
		answer, err := way.Send(ctx, name, pingLine)
		if err == nil && answer.Outcome != Nothing {
			err = fmt.Errorf("it answers %s; install the same release on both ends", answer)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
