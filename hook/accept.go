package hook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"one-clvm/hook/spool"
)

// AcceptLimit is how long an entrance may take: its callers wait for it, or kill it.
const AcceptLimit = 700 * time.Millisecond

// ErrNotAccepted says that the event is not in the spool, and is in the journal.
var ErrNotAccepted = errors.New("the event was not accepted")

// Accept puts what an entrance was called with into the spool, until ctx ends. What cannot
// be accepted goes into the journal; reconcile finds later what was lost by that.
func Accept(ctx context.Context, entrance Entrance, c Called, s spool.Spool, journal Journal) error {
	about := fmt.Sprintf("%s %s", entrance, quote(strings.Join(c.Args, " ")))
	event, err := parseInTime(ctx, entrance, c)
	if err == nil && event != nil {
		about = event.line()
		_, err = inTime(ctx, func() (any, error) { return nil, store(s, *event) })
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: %s: %w", ErrNotAccepted, about, err)
	journal.Alarm("%v; to be found by: one-migrate-hook reconcile", err)
	return err
}

// parseInTime: nil for an event that does not matter. Only libvirt gives a standard input,
// and may leave it open; the others are known by what they were called with, however slow
// the machine is.
func parseInTime(ctx context.Context, entrance Entrance, c Called) (*Event, error) {
	if entrance != Libvirt {
		ctx = context.WithoutCancel(ctx)
	}
	return inTime(ctx, func() (*Event, error) {
		event, matters, err := Parse(entrance, c)
		if err != nil || !matters {
			return nil, err
		}
		return &event, nil
	})
}

// inTime does not wait longer for f than ctx. f goes on in a goroutine, which the end of the
// process ends: a disk that hangs does not hold the caller up. An event that was given up on
// may still get into the spool, which does no harm.
func inTime[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if broken := recover(); broken != nil { // libvirt would kill a guest for it
				r.err = fmt.Errorf("%w: %v", ErrEvent, broken)
			}
			done <- r
		}()
		r.value, r.err = f()
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

func store(s spool.Spool, e Event) error {
	record, err := e.record()
	if err != nil {
		return err
	}
	return s.Append(record)
}

// line is the event for the journal: all that is known of it.
func (e Event) line() string {
	return fmt.Sprintf("%s: %s %s (from %q to %q)", e.Entrance, e.subject(), e.What, e.From, e.To)
}
