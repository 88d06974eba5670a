package filevg

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the group's flock: unix.LOCK_EX for a change, unix.LOCK_SH for a report.
// Waiting for it ends with ctx. The lock is gone with the process, however it ends.
func (g *Group) lock(ctx context.Context, how int) (unlock func(), err error) {
	for {
		f, err := os.Open(g.path(lockFile))
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, f, how); err != nil {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if current(f) {
			return func() { _ = f.Close() }, nil // closing is unlocking
		}
		_ = f.Close()
	}
}

// flock waits for the lock on f and closes f when it does not get it. The waiting
// itself cannot be interrupted: when ctx ends first, a goroutine waits on and then
// gives the lock back.
func flock(ctx context.Context, f *os.File, how int) error {
	got := make(chan error, 1)
	go func() { got <- retryInterrupted(func() error { return unix.Flock(int(f.Fd()), how) }) }()
	select {
	case err := <-got:
		if err != nil {
			_ = f.Close()
		}
		return err
	case <-ctx.Done():
		go func() {
			_ = errors.Join(<-got, f.Close()) // nobody is left to tell
		}()
		return ctx.Err()
	}
}

// current says whether f still is the group's lock file: Destroy may have removed it
// while somebody waited for the lock.
func current(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(f.Name())
	return err == nil && os.SameFile(mine, there)
}

func retryInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
