package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
)

// Clock is time as an Executor sees it.
type Clock interface {
	Now() time.Time
	// Sleep returns early with an error when ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// RealClock is the node's.
type RealClock struct{}

// Now implements Clock.
func (RealClock) Now() time.Time { return time.Now() }

// Sleep implements Clock.
func (RealClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// A verb looks at what it waits for each interval. Where many verbs wait at once, each look takes
// longer, and they would keep the node from what they wait for: each rests several times as long
// as its look took.
const (
	interval    = time.Second
	longestRest = 20 * time.Second
	restsALook  = 4
)

// rest is the time until the next look.
func rest(took time.Duration) time.Duration { return min(max(interval, restsALook*took), longestRest) }

// Executor carries orders out.
type Executor struct {
	Stack   Stack
	Runner  run.Runner
	Clock   Clock
	Volumes func(ctx context.Context, mode lvm.Mode) error // of the order's service, on this node
	Store   func(ctx context.Context) error                // the service's definition; nil: it is there
	Discard func(ctx context.Context) error                // the order's File; nil: nobody has one
	Log     func(format string, args ...any)
	// Inspect sees what the order's running domain has; for the verbs that change it.
	Inspect func(ctx context.Context) (Hardware, error)
	// There asks another node's hypervisor for the order's domain; nil: nobody can.
	There func(ctx context.Context, node string) Domain
}

// Do sees the state, decides, and does it. A step that fails takes back what came before
// it, as far as the plan says how. Every step converges: after a crash anywhere the same
// order sees what is left, and decides again.
//
//	died after             left                                   the next verb
//	store                  a file in the VM's home                the same verb, DELETE
//	define                 a service that the cluster starts      deploy waits for it; cancel removes it
//	freeze                 a service that the cluster leaves      any verb thaws it; the freeze ends by itself
//	ask, destroy, save     a frozen service without a domain      the freeze ends: the cluster starts it; cancel, shutdown
//	disable                a service that the cluster stops       shutdown and cancel remove it
//	move                   a frozen service on the other node     migrate succeeds and thaws
//	discard                a VM that runs, without a checkpoint   restore, save
//	restore                a paused domain outside of the cluster restore hands it over, and has it go on
//	resume                 a VM that runs, and its checkpoint     restore removes that
//	activate               volumes active here                    the same verb, or DELETE
//	attach, detach, resize a domain that its definition lacks     the same verb; a new start has what the definition has
//	resize, store          a service that used less, or more      the same verb
//	eject                  an empty drive                         reconfigure; a new start has its medium
func (x *Executor) Do(ctx context.Context, o Order) error {
	_, err := x.Execute(ctx, o)
	return err
}

// Plan is what Do would do now. Nothing is changed.
func (x *Executor) Plan(ctx context.Context, o Order) (Plan, error) { return x.decide(ctx, &o) }

// decide also tells the order when it was given.
func (x *Executor) decide(ctx context.Context, o *Order) (Plan, error) {
	state, err := x.observe(ctx, *o)
	if err != nil {
		return Plan{}, err
	}
	o.Now = x.Clock.Now()
	return Decide(*o, state)
}

// Execute is Do that also tells the plan.
func (x *Executor) Execute(ctx context.Context, o Order) (Plan, error) {
	plan, err := x.decide(ctx, &o)
	if err != nil {
		return plan, err
	}
	if plan.Note != "" {
		x.Log("%s: %s", o.Service.Name, plan.Note)
	}
	return plan, x.carryOut(ctx, o, plan)
}

// observe asks the stack, and what the domain has where that matters. A program that hangs
// has no answer.
func (x *Executor) observe(ctx context.Context, o Order) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Service.Patience.Settle)
	defer cancel()
	state, err := x.Stack.Observe(ctx, o.Service)
	if err == nil && o.Verb == VerbMigrate && !state.Clustered && state.Domain == Absent && x.There != nil {
		state.There = x.There(ctx, o.To)
	}
	if err != nil || !o.Verb.ChangesHardware() || !state.Domain.Alive() {
		return state, err
	}
	if state.Hardware, err = x.Inspect(ctx); err != nil {
		return state, fmt.Errorf("%w on %s: %w", state.Manager.silence(), o.Node, err)
	}
	return state, nil
}

func (x *Executor) carryOut(ctx context.Context, o Order, plan Plan) error {
	var taken undo.Stack
	for _, step := range plan.Steps {
		err := x.step(ctx, o, step)
		if errors.Is(err, run.ErrStillRunning) { // taking back would come in its way
			return fmt.Errorf("%s: %w; run the verb again when it has ended", step, err)
		}
		if err != nil && len(step.Instead) > 0 {
			err = x.takeBack(ctx, o, step.Instead)
		}
		if err != nil {
			return taken.Unwind(context.WithoutCancel(ctx), fmt.Errorf("%s: %w", step, err))
		}
		failpoint.Hit("cluster." + string(step.Action))
		if step.Commit {
			taken.Disarm()
		}
		if len(step.Undo) > 0 {
			taken.Push("take back "+step.String(), func(ctx context.Context) error { return x.takeBack(ctx, o, step.Undo) })
		}
	}
	return nil
}

// takeBack carries out steps in place of one that failed, or to undo one. It stops at the
// first step that fails: a service that could not be stopped is not removed.
func (x *Executor) takeBack(ctx context.Context, o Order, steps []Step) error {
	for _, step := range steps {
		if err := x.step(ctx, o, step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

func (x *Executor) step(ctx context.Context, o Order, s Step) error {
	started := x.Clock.Now()
	err := x.act(ctx, o, s)
	if len(s.Late) > 0 && errors.Is(err, context.DeadlineExceeded) {
		x.Log("%s: %s: cut off after %s", o.Service.Name, s, x.Clock.Now().Sub(started))
		if late := x.takeBack(context.WithoutCancel(ctx), o, s.Late); late != nil {
			err = errors.Join(err, late)
		} else {
			err = nil
		}
	}
	if err != nil && s.Enough != "" {
		reached, lookErr := x.reached(ctx, o, s.Enough)
		if lookErr == nil && reached {
			x.Log("%s: %s was not needed any more", o.Service.Name, s)
			return nil
		}
	}
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	x.Log("%s: %s: %s in %s", o.Service.Name, s, outcome, x.Clock.Now().Sub(started))
	return err
}

func (x *Executor) act(ctx context.Context, o Order, s Step) error {
	switch s.Action {
	case Await:
		return x.await(ctx, o, s)
	case Store:
		if x.Store == nil {
			return nil
		}
		return x.Store(ctx)
	case Discard:
		if x.Discard == nil {
			return nil
		}
		return x.Discard(ctx)
	case Activate:
		return x.Volumes(ctx, lvm.Exclusive)
	case Release:
		return x.Volumes(ctx, lvm.Off)
	}
	if performer, ok := x.Stack.(Performer); ok {
		if done, err := performer.Perform(ctx, o, s); done || err != nil {
			return err
		}
	}
	commands, err := x.Stack.Commands(o, s)
	if err != nil {
		return err
	}
	limit := s.Limit
	if limit == 0 {
		limit = o.Service.Patience.Settle
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for i, c := range commands {
		if i > 0 {
			failpoint.Hit("cluster.between")
		}
		var stdin io.Reader
		if c.Stdin != "" {
			stdin = strings.NewReader(c.Stdin)
		}
		if _, err := x.Runner.Run(ctx, run.Cmd{Path: c.Program, Args: c.Args, Stdin: stdin, Writer: c.Whole}); err != nil {
			return c.explain(err)
		}
	}
	return nil
}

// explain takes the noise out of a failed command's words: a user reads them.
func (c Command) explain(err error) error {
	var failed *run.Error
	if c.Noise == nil || !errors.As(err, &failed) {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(failed.Stderr) {
		if !c.Noise.MatchString(line) {
			kept.WriteString(line)
		}
	}
	failed.Stderr = kept.String()
	return err
}

func (x *Executor) reached(ctx context.Context, o Order, goal Goal) (bool, error) {
	state, err := x.observe(ctx, o)
	if err != nil {
		return false, err
	}
	return Reached(goal, o.Node, o, state)
}

// await looks again and again. A look that fails is not the end: the cluster may be
// electing, or libvirt be starting.
func (x *Executor) await(ctx context.Context, o Order, s Step) error {
	deadline := x.Clock.Now().Add(s.Limit)
	for {
		looked := x.Clock.Now()
		state, lookErr := x.observe(ctx, o)
		var met bool
		if lookErr == nil {
			var err error
			if met, err = Reached(s.For, s.Node, o, state); met || err != nil {
				return err
			}
		}
		now := x.Clock.Now()
		if !now.Before(deadline) {
			return errors.Join(fmt.Errorf("%w: %s", ErrTimeout, standing(o, state)), lookErr)
		}
		if err := x.Clock.Sleep(ctx, min(rest(now.Sub(looked)), deadline.Sub(now))); err != nil {
			return err
		}
	}
}

// standing is what was seen last.
func standing(o Order, s State) string {
	c := s.Service
	text := "the hypervisor here says " + s.Domain.String()
	if o.Verb.ChangesHardware() {
		text += fmt.Sprintf(", and the guest has not let go of %s: run the verb again once it has", o.Device)
	}
	if !s.Clustered {
		return text
	}
	where := "nowhere"
	if len(c.Running) > 0 {
		where = "on " + strings.Join(c.Running, " and ")
	}
	text = fmt.Sprintf("the cluster has %s %s, ", o.Service.Name, where) + text
	if c.Pending != "" {
		text += ", it is " + c.Pending
	}
	if len(c.Failures) > 0 {
		text += "; " + reasons(c.Failures)
	}
	return text
}
