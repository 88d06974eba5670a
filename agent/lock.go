package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy means: another verb holds the VM's lock and did not end in time.
var ErrBusy = errors.New("another operation on this VM is still running")

// vmLock excludes verbs on one VM's volumes from each other on this node. It is a
// POSIX record lock, because the kernel tells who holds one: oned may start DELETE
// while a CLONE that it gave up on still runs, and DELETE must be able to end it.
type vmLock struct{ f *os.File }

// lockVM takes the lock. While another agent has it: with interrupt, that agent is
// asked to stop (SIGTERM: it rolls back); in either case its end is awaited. ErrBusy
// after timeout.
func lockVM(ctx context.Context, dir, home string, timeout time.Duration, interrupt bool) (*vmLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	name := filepath.Join(dir, lockName(home))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", home, err)
	}
	deadline := time.Now().Add(timeout)
	for {
		holder, err := tryLock(f)
		if err == nil && holder == 0 {
			return &vmLock{f}, nil
		}
		if err == nil {
			err = awaitHolder(ctx, f, holder, deadline, interrupt)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock of %s: %w", home, err), f.Close())
		}
	}
}

// lockName is the file name for a home: ids alone are not unique where a node serves two
// front-ends.
func lockName(home string) string {
	return strings.ReplaceAll(strings.TrimPrefix(path.Clean(home), "/"), "/", "+")
}

func (l *vmLock) unlock() error { return l.f.Close() }

func wholeFile(kind int16) unix.Flock_t { return unix.Flock_t{Type: kind, Whence: unix.SEEK_SET} }

// lockTick is how often a lock's holder is looked at: no record lock says when it is free
// without a thread that waits for ever.
const lockTick = 20 * time.Millisecond

// tryLock returns the holder's pid, 0 when the lock is ours now.
func tryLock(f *os.File) (holder int, err error) {
	want := wholeFile(unix.F_WRLCK)
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &want)
	if err == nil {
		return 0, nil
	}
	if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
		return 0, err
	}
	return holderOf(f)
}

// holderOf asks the kernel who holds the lock; -1 when nobody does any more.
func holderOf(f *os.File) (int, error) {
	ask := wholeFile(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &ask); err != nil {
		return 0, err
	}
	if ask.Type == unix.F_UNLCK {
		return -1, nil
	}
	return int(ask.Pid), nil
}

// awaitHolder waits until the process that holds the lock ends or lets go of it: it may still
// have volumes to wipe.
func awaitHolder(ctx context.Context, f *os.File, pid int, deadline time.Time, interrupt bool) error {
	if pid <= 0 {
		return nil // gone between the two questions
	}
	if interrupt {
		if err := stopHolder(f, pid); err != nil {
			return fmt.Errorf("ask process %d to stop: %w", pid, err)
		}
	}
	tick := time.NewTicker(lockTick)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if holder, err := holderOf(f); err != nil || holder != pid {
			return err
		}
	}
	return fmt.Errorf("%w: process %d on this node", ErrBusy, pid)
}

// stopHolder sends SIGTERM. A pidfd is taken before the holder is asked for again, so that
// a recycled pid is never signalled. Linux before 5.3 has none: there the pid must have been
// recycled since that question, and pids are given out in turn.
func stopHolder(f *os.File, pid int) error {
	signal := func() error { return unix.Kill(pid, unix.SIGTERM) }
	pidfd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		defer unix.Close(pidfd)
		signal = func() error { return unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0) }
	case errors.Is(err, unix.ESRCH):
		return nil
	case !errors.Is(err, unix.ENOSYS):
		return err
	}
	if again, err := holderOf(f); err != nil || again != pid {
		return err
	}
	if err := signal(); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}
