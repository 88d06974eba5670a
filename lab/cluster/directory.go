package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const directoryPrefix = "one-clvm-lab-"

// newDirectory makes the directory of a lab, after removing those of labs that ended
// without doing so themselves. The lock belongs to this process and ends with it.
func newDirectory() (string, *os.File, error) {
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp" // not /tmp, which may be in memory
	}
	stale, _ := filepath.Glob(filepath.Join(parent, directoryPrefix+"*")) // the pattern is good
	for _, directory := range stale {
		if lock, err := lockDirectory(directory); err == nil {
			err = errors.Join(os.RemoveAll(directory), lock.Close())
			if err != nil {
				return "", nil, fmt.Errorf("left over from an earlier lab: %w", err)
			}
		}
	}
	directory, err := os.MkdirTemp(parent, directoryPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := lockDirectory(directory)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(directory))
	}
	return directory, lock, nil
}

func lockDirectory(directory string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(directory, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", directory, err), lock.Close())
	}
	return lock, nil
}
