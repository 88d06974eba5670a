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

// awaitHolder waits until the process that holds the lock ends. A pidfd is taken
// before the holder is asked for again, so that a recycled pid is never signalled.
func awaitHolder(ctx context.Context, f *os.File, pid int, deadline time.Time, interrupt bool) error {
	if pid <= 0 {
		return nil // gone between the two questions
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	if again, err := holderOf(f); err != nil || again != pid {
		return err
	}
	if interrupt {
		if err := unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ask process %d to stop: %w", pid, err)
		}
	}
	return awaitRelease(ctx, f, pidfd, pid, deadline)
}

// awaitRelease waits until the process has ended or lets go of the lock: it may still have
// volumes to wipe. It polls the pidfd, which becomes readable at the end, in slices, so
// that a cancelled ctx is noticed, too.
func awaitRelease(ctx context.Context, f *os.File, pidfd, pid int, deadline time.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("%w: process %d on this node", ErrBusy, pid)
		}
		slice := min(left, 50*time.Millisecond)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(slice.Milliseconds())+1)
		if n == 1 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if holder, err := holderOf(f); err != nil || holder != pid {
			return err
		}
	}
}
