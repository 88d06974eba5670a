package testbed

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockDirectory marks a directory as in use. The lock lives as long as outside or its
// janitor: one that can be had belongs to a machine whose janitor was killed, too.
func lockDirectory(directory string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(directory, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", directory, err), lock.Close())
	}
	return lock, nil
}

// sweep removes what machines left whose janitor was killed as well.
func sweep(parent string) {
	stale, _ := filepath.Glob(filepath.Join(parent, directoryPrefix+"*")) // the pattern is good
	for _, directory := range stale {
		lock, err := lockDirectory(directory)
		if err != nil {
			continue // in use
		}
		if err := cleanUp(directory); err != nil {
			fmt.Fprintln(os.Stderr, "testbed: left over from an earlier run:", err)
		}
		_ = lock.Close() // the file is gone
	}
}

// startJanitor starts the process that cleans up. The function that it returns starts
// the cleaning and waits for its end; so does the death of this process, without the
// waiting.
func startJanitor(directory string, lock *os.File) (done func() error, err error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	// A session of its own: a terminal's Ctrl-C is not for the janitor.
	process, err := startSelf("janitor", directory, []*os.File{reader, os.Stderr, os.Stderr, lock}, &syscall.SysProcAttr{Setsid: true})
	if err != nil {
		return nil, err
	}
	return func() error {
		if err := errors.Join(reader.Close(), writer.Close()); err != nil {
			return fmt.Errorf("pipe: %w", err)
		}
		state, err := process.Wait()
		if err == nil && !state.Success() {
			err = errors.New("could not clean up completely")
		}
		return err
	}, nil
}

func janitor(directory string) int {
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the last writer is gone, one way or the other
	if err := cleanUp(directory); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		return 1
	}
	return 0
}

// cleanUp detaches all loop devices over files below the directory, then removes it. The
// namespaces are ending while it runs: what is still mounted there is tried again.
func cleanUp(directory string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		left, err := detachLoops(directory)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d loop devices over files in %s are still in use", left, directory)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := os.RemoveAll(directory); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

type inode struct{ device, number uint64 }

// detachLoops asks the kernel to detach, and counts, the loop devices over files below
// the directory. Files are compared by inode: a path means something else in another
// mount namespace. Only for a removed file it must do.
func detachLoops(directory string) (int, error) {
	files := map[inode]bool{}
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == nil {
			files[inode{st.Dev, st.Ino}] = true
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("look for files: %w", err)
	}
	devices, _ := filepath.Glob("/dev/loop[0-9]*") // the pattern is good
	left := 0
	for _, path := range devices {
		ours, err := detachLoop(path, filepath.Base(directory), files)
		if err != nil {
			return 0, err
		}
		if ours {
			left++
		}
	}
	return left, nil
}

// detachLoop detaches the device if one of the files is behind it, or was below a
// directory of that name. A device in use goes when its last user goes.
func detachLoop(path, name string, files map[inode]bool) (ours bool, err error) {
	device, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return false, nil // a node without a device behind it
	}
	defer device.Close() // nothing was written
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if err != nil {
		return false, nil // ENXIO: nothing is attached
	}
	backing, _ := os.ReadFile("/sys/block/" + filepath.Base(path) + "/loop/backing_file") // gone if just detached
	if !files[inode{info.Device, info.Inode}] && !strings.Contains(string(backing), "/"+name+"/") {
		return false, nil
	}
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return true, fmt.Errorf("detach %s: %w", path, err)
	}
	return true, nil
}
