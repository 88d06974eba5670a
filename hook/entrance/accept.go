package entrance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"one-clvm/cxmrc"
	"one-clvm/hook/spool"
)

// AcceptLimit is how long an entrance waits for what it needs: its callers wait for it, or kill
// it. A disk that gives no answer at all is the exception, see inTime.
const AcceptLimit = 700 * time.Millisecond

// ErrNotAccepted says that the event is not in the spool, and is in the journal.
var ErrNotAccepted = errors.New("the event was not accepted")

// Accept puts what an entrance was called with into the spool, until ctx ends. What cannot
// be accepted goes into the journal; reconcile finds later what was lost by that. Where the spool
// is, is asked of an event that matters alone, and within the limit.
func Accept(ctx context.Context, kind Kind, c Called, where func() spool.Spool, journal Journal) error {
	about := fmt.Sprintf("%s %s", kind, Quote(strings.Join(c.Args, " ")))
	event, err := parseInTime(ctx, kind, c)
	if err == nil && event != nil {
		about = event.line()
		_, err = inTime(ctx, func() (any, error) { return nil, store(where(), *event) })
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
func parseInTime(ctx context.Context, kind Kind, c Called) (*Event, error) {
	if kind != Libvirt {
		ctx = context.WithoutCancel(ctx)
	}
	return inTime(ctx, func() (*Event, error) {
		event, matters, err := Parse(kind, c)
		if err != nil || !matters {
			return nil, err
		}
		return &event, nil
	})
}

// inTime does not wait longer for f than ctx. f goes on in a goroutine, which the end of the
// process ends, unless its thread waits for a disk in a way that cannot be interrupted: no process
// is gone before all its threads are, and the caller waits for a spool whose disk gives no answer
// at all. The line in the journal is written by then. An event that was given up on may still get
// into the spool, which does no harm.
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

// Process is what an entrance needs of the process that it is.
type Process struct {
	Stdin  io.Reader
	Stderr io.Writer
	Config string // hook.conf
}

// Take is a whole entrance: it waits for AcceptLimit at most. Nothing is said of
// failures to libvirt, which would kill the guest; the journal has them.
func Take(kind Kind, words []string, p Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), AcceptLimit)
	defer cancel()
	if len(words) > 0 && strings.HasPrefix(words[0], "/") {
		words = words[1:] // as an interpreter, the path of the script comes first
	}
	journal := System(p.Stderr)
	err := Accept(ctx, kind, Called{Args: words, Env: os.Getenv, Stdin: p.Stdin, Now: time.Now()}, func() spool.Spool { return spoolOf(p.Config, journal) }, journal)
	if kind == Libvirt {
		return nil
	}
	return err
}

// spoolOf: a configuration that cannot be read does not lose events.
func spoolOf(config string, journal Journal) spool.Spool {
	cfg, err := cxmrc.LoadHook(config)
	if err != nil {
		journal.Alarm("%v; the spool is where it is by default", err)
		cfg = cxmrc.Defaults(cxmrc.Hook)
	}
	return spool.Spool{Dir: cfg.String("SPOOL_DIR")}
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
