package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked means: another verb had a lock for longer than was to be waited.
var ErrLocked = errors.New("locked by another verb")

// LockFile makes verbs wait for each other: on this node, or on all nodes where path is on a
// file system that they share. The lock ends with the descriptor, also when the process is
// killed. A symbolic link is refused.
func LockFile(ctx context.Context, path string, clock Clock, patience time.Duration) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	deadline := clock.Now().Add(patience)
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock: %w", err), file.Close())
		}
		if !clock.Now().Before(deadline) {
			return nil, errors.Join(fmt.Errorf("%s: %w for %s", path, ErrLocked, patience), file.Close())
		}
		if err := clock.Sleep(ctx, interval); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
}
