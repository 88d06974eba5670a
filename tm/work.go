package tm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
)

// workDirectory is a directory for a verb's own files. It is locked as long as the verb
// lives: what a killed one has left is not, and goes with the next one's start.
type workDirectory struct{ *os.File }

const workPrefix = "one-clvm-context-"

// makeWorkDirectory makes one below parent ("" is that for temporary files).
func makeWorkDirectory(parent string) (*workDirectory, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	if err := sweepWorkDirectories(parent); err != nil {
		return nil, err
	}
	for {
		path, err := os.MkdirTemp(parent, workPrefix)
		if err != nil {
			return nil, err
		}
		failpoint.Change("mkdir", path)
		failpoint.Hit("context.made")
		w, err := lockWorkDirectory(path)
		if w != nil || err != nil {
			return w, err
		}
	}
}

// lockWorkDirectory returns nil if another verb has the directory, or has removed it.
func lockWorkDirectory(path string) (*workDirectory, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	locked, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if named, err := os.Lstat(path); err != nil || !os.SameFile(named, locked) {
		return nil, f.Close()
	}
	return &workDirectory{f}, nil
}

// remove removes the directory with all that is in it, and then lets go of it.
func (w *workDirectory) remove() error {
	failpoint.Change("remove", w.Name())
	err := os.RemoveAll(w.Name())
	failpoint.Hit("context.removed")
	return errors.Join(err, w.Close())
}

// sweepWorkDirectories removes those below parent that nobody uses any more. Everybody may
// make something of such a name there: what is no directory, or not ours, is left alone.
func sweepWorkDirectories(parent string) error {
	paths, err := filepath.Glob(filepath.Join(parent, workPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		w, err := lockWorkDirectory(path)
		if err != nil || w == nil {
			continue
		}
		if err := w.remove(); err != nil && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("leftover of an earlier verb: %w", err)
		}
	}
	return nil
}
