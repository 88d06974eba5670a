package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/cluster"
	"one-clvm/opennebula"
)

// ErrBusy means: another verb on the same VM did not end in time.
var ErrBusy = errors.New("another verb on the VM is still running")

// lockPrefix is that of the files of locks.
const lockPrefix = "vmm-"

// lockService makes verbs on one VM on this node wait for each other. The lock ends with
// the descriptor, also when the process is killed.
func lockService(ctx context.Context, dir string, vm int, clock cluster.Clock, patience time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockPrefix+opennebula.ServiceName(vm)), os.O_RDWR|os.O_CREATE, 0o600)
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
			return nil, errors.Join(fmt.Errorf("%w after %s; run it again", ErrBusy, patience), file.Close())
		}
		if err := clock.Sleep(ctx, time.Second); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
}

// unlock leaves the time of the verb's end, for the survey; the lock ends in any case.
func unlock(lock *os.File, clock cluster.Clock) {
	now := unix.NsecToTimeval(clock.Now().UnixNano())
	_ = unix.Futimes(int(lock.Fd()), []unix.Timeval{now, now})
	_ = lock.Close()
}
