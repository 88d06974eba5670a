package labtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// nodesPerCPU is how many emulated nodes run at once on each processor, in all test programs
// together. A node keeps one processor busy while it works, and waits most of its time.
const nodesPerCPU = 3

// takeRoom waits until so many nodes more may run on this machine, and gives the room back when
// the test's clean-up comes to it, or its process dies. A test that has room never asks for
// more: two of them would wait for each other.
func takeRoom(t *testing.T, nodes int) {
	t.Helper()
	places := max(nodesPerCPU*runtime.NumCPU(), nodes)
	directory := filepath.Join(os.TempDir(), fmt.Sprintf("one-clvm-lab-nodes-%d", os.Getuid()))
	require.NoError(t, os.MkdirAll(directory, 0o700))
	place := func(i int) string { return filepath.Join(directory, fmt.Sprint(i)) }

	// In turn: else one that wants two places could wait for ever for those that want one.
	first := await(t, place(0))
	defer func() { require.NoError(t, first.Close()) }()
	for range nodes {
		var all []string
		for i := range places {
			all = append(all, place(i+1))
		}
		file := await(t, all...)
		t.Cleanup(func() { require.NoError(t, file.Close()) })
	}
}

// await waits for a lock on one of the files. Closing the file gives it back.
func await(t *testing.T, paths ...string) *os.File {
	t.Helper()
	for {
		for _, path := range paths {
			file, err := tryLock(path)
			require.NoError(t, err)
			if file != nil {
				return file
			}
		}
		select {
		case <-t.Context().Done():
			require.NoError(t, context.Cause(t.Context()))
		case <-time.After(100 * time.Millisecond): // there is no event for one of several locks
		}
	}
}

// tryLock locks a file, if nobody else has.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, file.Close()
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
}
