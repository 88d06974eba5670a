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
	file, err := cluster.LockFile(ctx, filepath.Join(dir, lockPrefix+opennebula.ServiceName(vm)), clock, patience)
	if errors.Is(err, cluster.ErrLocked) {
		return nil, fmt.Errorf("%w after %s; run it again", ErrBusy, patience)
	}
	return file, err
}

// unlock leaves the time of the verb's end, for the survey; the lock ends in any case.
func unlock(lock *os.File, clock cluster.Clock) {
	now := unix.NsecToTimeval(clock.Now().UnixNano())
	_ = unix.Futimes(int(lock.Fd()), []unix.Timeval{now, now})
	_ = lock.Close()
}
