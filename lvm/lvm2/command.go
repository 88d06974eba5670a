package lvm2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

const (
	maxChildren  = 10 // LVM programs of this process at a time
	maxTries     = 5  // of a transient failure
	longestPause = 2 * time.Second
	firstPause   = 250 * time.Millisecond // doubled with each try, plus as much jitter
)

var children = semaphore.NewWeighted(maxChildren)

// writers makes this process never run two changes of a group at once. Other processes
// and nodes are kept out by LVM's own locks.
var writers = groupLocks{locks: map[string]*semaphore.Weighted{}}

// groupLocks is one lock for each volume group; a lock that can be waited for with a
// context is a semaphore of weight one.
type groupLocks struct {
	mutex sync.Mutex
	locks map[string]*semaphore.Weighted
}

func (l *groupLocks) of(group string) *semaphore.Weighted {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.locks[group] == nil {
		l.locks[group] = semaphore.NewWeighted(1)
	}
	return l.locks[group]
}

// exclusively runs fn while no other change of the group runs.
func (g *Group) exclusively(ctx context.Context, fn func() error) error {
	writer := writers.of(g.name)
	if err := writer.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("waiting for another change of the group: %w", err)
	}
	defer writer.Release(1)
	return fn()
}

// write runs a command that changes metadata and is therefore never killed.
func (g *Group) write(ctx context.Context, program string, args ...string) error {
	_, err := g.lvm(ctx, run.Cmd{Path: program, Args: args, Writer: true})
	failpoint.Hit("lvm.written")
	if errors.Is(err, run.ErrStillRunning) {
		return fmt.Errorf("%w: %w; look at the volume again when the command has ended", lvm.ErrUnknownOutcome, err)
	}
	return err
}

// retry runs a command, up to maxTries times while the failure is a transient one. The
// last error is kept, with the number of tries.
func (g *Group) retry(ctx context.Context, c run.Cmd) (run.Result, error) {
	pause := firstPause
	for try := 1; ; try++ {
		result, err := g.once(ctx, c)
		if err == nil || !transient(err) && !oneAtATime(c, err) {
			return result, err
		}
		if try == triesOf(c) {
			return result, fmt.Errorf("%w (tried %d times)", err, try)
		}
		if stop := g.sleep(ctx, pause+rand.N(pause)); stop != nil {
			return result, fmt.Errorf("%w (tried %d times, then: %w)", err, try, stop)
		}
		pause = min(2*pause, longestPause)
	}
}

// triesOf a command: those of lvmlockctl keep each other out, but only for a moment.
func triesOf(c run.Cmd) int {
	if c.Path == lockctl {
		return 3 * maxTries
	}
	return maxTries
}

func (g *Group) once(ctx context.Context, c run.Cmd) (run.Result, error) {
	if err := children.Acquire(ctx, 1); err != nil {
		return run.Result{Status: -1}, fmt.Errorf("%s: waiting for other LVM commands: %w", c.Path, err)
	}
	defer children.Release(1)
	return g.attend(ctx, c)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
