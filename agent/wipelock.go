package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The wipes of a node lock bytes of one file, none of which exists: the first ones are the
// places of WIPE_JOBS, one far behind stands for each volume and one for each group. The
// locks belong to the open file (fcntl(2), F_OFD_SETLK) and end with the process.
const wipeLockFile = "wipe"

// wipeLock is one locked byte.
type wipeLock struct{ f *os.File }

func (l *wipeLock) unlock() error { return l.f.Close() }

// lockByte is the byte of a volume, or, without a name, of a group. Two that share one
// wait for each other, no more.
func lockByte(group, name string) int64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s/%s", group, name) // never fails
	return 1<<32 + int64(h.Sum64()>>16)
}

// openWipeLocks opens the file; the lock that it will hold is released by closing it.
func (c *session) openWipeLocks() (*os.File, error) {
	if err := os.MkdirAll(c.Config.LockDir, 0o700); err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(c.Config.LockDir, wipeLockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of wipes: %w", err)
	}
	return f, nil
}

func oneByte(at int64) unix.Flock_t {
	return unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: at, Len: 1}
}

// tryWipeLock takes the first of the bytes that is free; nil when none is.
func (c *session) tryWipeLock(places ...int64) (*wipeLock, error) {
	f, err := c.openWipeLocks()
	if err != nil {
		return nil, err
	}
	for _, at := range places {
		want := oneByte(at)
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &want)
		if err == nil {
			return &wipeLock{f}, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return nil, errors.Join(fmt.Errorf("lock of wipes: %w", err), f.Close())
		}
	}
	return nil, f.Close()
}

// wipeLockPoll is how often a lock that is taken is asked for again: waiting in the
// kernel could not be cancelled.
const wipeLockPoll = 50 * time.Millisecond

func (c *session) awaitWipeLock(ctx context.Context, what string, places ...int64) (*wipeLock, error) {
	for waited := false; ; waited = true {
		lock, err := c.tryWipeLock(places...)
		if lock != nil || err != nil {
			return lock, err
		}
		if !waited {
			c.log("info", "waiting for %s", what)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-time.After(wipeLockPoll):
		}
	}
}

// awaitWipeSlot bounds the wipes of this node.
func (c *session) awaitWipeSlot(ctx context.Context) (*wipeLock, error) {
	var places []int64
	for i := range max(c.Config.WipeJobs, 1) {
		places = append(places, int64(i))
	}
	return c.awaitWipeLock(ctx, "other wipes on this node to end (WIPE_JOBS)", places...)
}

// isBeingWiped says whether a process of this node is at work on the volume, or, without
// a name, on the group's free space.
func (c *session) isBeingWiped(group, name string) (bool, error) {
	f, err := c.openWipeLocks()
	if err != nil {
		return false, err
	}
	ask := oneByte(lockByte(group, name))
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &ask)
	return ask.Type != unix.F_UNLCK, joinClose(err, f)
}
