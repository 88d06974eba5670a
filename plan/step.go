package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"one-clvm/agent"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/progress"
	"one-clvm/internal/undo"
)

// Step is one request to one node, or, without a host, something done here.
type Step struct {
	What     string // for the log and for --dry-run
	Host     string
	Request  agent.Request
	Transfer func(context.Context) (agent.Transfer, error) // nil: no payload
	Total    int64                                         // bytes of the payload, 0 unknown
	Here     func(context.Context) error                   // instead of a request
	Once     bool                                          // the payload cannot be had a second time
	InTurn   bool                                          // the caller has the turns of the request (TakeTurns)
	Undo     *Step                                         // if the step, which may have done a part, or a later one fails
	Then     func(agent.Result) error
	Mend     func(ctx context.Context, err error) error // what a failure means after all
	// Lenient: a failure is logged and the verb goes on.
	Lenient bool
	// Always: it is tried although a step before it failed; the verb fails all the same.
	Always bool
}

func (d *Driver) print(steps []Step) error {
	for i, s := range steps {
		host := s.Host
		if host == "" {
			host = "front-end"
		}
		if _, err := fmt.Fprintf(d.Stdout, "%d. %s: %s\n", i+1, host, s.What); err != nil {
			return err
		}
	}
	return nil
}

// carryOut runs the steps in order; a failure takes back what came before, and what the
// step that failed may have done, as far as the plan says how.
func (d *Driver) carryOut(ctx context.Context, steps []Step) error {
	var taken undo.Stack
	var failed error
	for _, s := range steps {
		if failed != nil && !s.Always {
			continue
		}
		if s.Undo != nil {
			back := *s.Undo
			taken.Push(back.What, func(ctx context.Context) error { return d.Step(ctx, back) })
		}
		err := d.Step(ctx, s)
		switch {
		case err != nil && s.Lenient:
			d.Report.Warn("%s failed, going on: %v", s.What, err)
		case err != nil:
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return taken.Unwind(context.WithoutCancel(ctx), failed)
	}
	return nil
}

// Step carries out one step; nothing takes it back.
func (d *Driver) Step(ctx context.Context, s Step) error {
	if s.Here != nil {
		return s.Here(ctx)
	}
	started := time.Now()
	meter := progress.Start(d.Stderr, s.What, s.Total, func(line string) { d.Report.Info("op %s: %s", s.Request.Operation, line) })
	res, err := d.ask(ctx, s, func(q agent.Request) (agent.Result, error) {
		var transfer agent.Transfer
		if s.Transfer != nil {
			var err error
			if transfer, err = s.Transfer(ctx); err != nil {
				return agent.Result{}, err
			}
		}
		if changes(q) {
			failpoint.Change("request", string(q.Op))
		}
		return d.Agents.Do(ctx, s.Host, q, metered(transfer, meter))
	})
	meter.Stop()
	failpoint.Hit("step.done")
	if err != nil && s.Mend != nil {
		return s.Mend(ctx, err)
	}
	if err != nil {
		return err
	}
	d.Report.Info("%s", d.summary(s, res, started))
	if s.Then != nil {
		return s.Then(res)
	}
	return nil
}

// changes says whether a request leaves something else than it found.
func changes(q agent.Request) bool {
	return q.Op != agent.OpVolumes && q.Op != agent.OpStatFile && q.Op != agent.OpDigest && (q.Op != agent.OpSave || q.Remove)
}

// metered counts what a transfer moves.
func metered(t agent.Transfer, m *progress.Meter) agent.Transfer {
	if send := t.Send; send != nil {
		t.Send = func(w io.Writer) error { return send(m.Writer(w)) }
	}
	if receive := t.Receive; receive != nil {
		t.Receive = func(start agent.Start) (io.Writer, error) {
			w, err := receive(start)
			return m.Writer(w), err
		}
	}
	return t
}

// summary is the one line that a finished step leaves in the log.
func (d *Driver) summary(s Step, res agent.Result, started time.Time) string {
	line := fmt.Sprintf("op %s: %s on %s: done in %s", s.Request.Operation, s.What, s.Host, time.Since(started).Round(time.Millisecond))
	if res.Content > 0 {
		line += fmt.Sprintf(", %s of content at %s/s", humanize.IBytes(uint64(res.Content)), humanize.IBytes(uint64(rate(res.Content, started))))
	}
	if res.Clean {
		line += ", no zeroing needed: free space is known to be zero"
	} else if res.Zeroing > 0 {
		how := "written"
		if res.Offloaded {
			how = "done by the device"
		}
		line += fmt.Sprintf(", zeroing %s in %s", how, res.Zeroing.Round(time.Millisecond))
	}
	if res.PeakRSS > 0 {
		line += ", peak memory there " + humanize.IBytes(uint64(res.PeakRSS))
	}
	return line
}

// rate is bytes per second for the log.
func rate(bytes int64, since time.Time) float64 {
	seconds := time.Since(since).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(bytes) / seconds
}
