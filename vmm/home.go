package vmm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"one-clvm/internal/beneath"
)

const maxDefinition = 4 << 20 // bytes

// home is a VM's directory. oneadmin may write there, root works there: no link is
// followed, neither on the way nor in it.
type home struct{ dir *beneath.Dir }

// openHome opens a home that validateHome has let pass: the base is trusted, the two
// directories below it are not.
func openHome(dir string) (*home, error) {
	base, err := beneath.Open(path.Dir(path.Dir(dir)))
	if err != nil {
		return nil, fmt.Errorf("home %s: is the system datastore mounted on this node? %w", dir, err)
	}
	defer base.Close() // only lookups went through it
	d, err := base.OpenDir(path.Join(path.Base(path.Dir(dir)), path.Base(dir)))
	if err != nil {
		return nil, fmt.Errorf("home %s: %w", dir, err)
	}
	return &home{d}, nil
}

func (h *home) close() { _ = h.dir.Close() } // only lookups went through it

// entries are the names in the home; true for regular files.
func (h *home) entries() (map[string]bool, error) {
	names, err := h.dir.Names()
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	out := map[string]bool{}
	for _, name := range names {
		var stat unix.Stat_t
		err := unix.Fstatat(h.dir.Fd(), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("home: %s: %w", name, err)
		}
		out[name] = stat.Mode&unix.S_IFMT == unix.S_IFREG
	}
	return out, nil
}

// read reads a regular file.
func (h *home) read(name string) (string, error) {
	fd, err := unix.Openat(h.dir.Fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("home: %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close() // only read
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("home: %s: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxDefinition {
		return "", fmt.Errorf("home: %s is not a file of at most %d MiB", name, maxDefinition>>20)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxDefinition))
	if err != nil {
		return "", fmt.Errorf("home: %s: %w", name, err)
	}
	return string(text), nil
}

// write makes a file, whole or not at all. A cluster may read it at any time.
func (h *home) write(name, text string) error {
	file, commit, abort, err := h.dir.CreateFile(name, 0o600, 0, 0)
	if err != nil {
		return fmt.Errorf("home: %s: %w", name, err)
	}
	if _, err := io.Copy(file, strings.NewReader(text)); err != nil {
		abort()
		return fmt.Errorf("home: %s: %w", name, err)
	}
	return commit()
}

// remove removes a file; one that is not there is fine.
func (h *home) remove(name string) error {
	if err := h.dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home: %s: %w", name, err)
	}
	return nil
}

// sync makes what was removed last stay away, whatever becomes of the node.
func (h *home) sync() error {
	if err := unix.Fsync(h.dir.Fd()); err != nil {
		return fmt.Errorf("home: flush: %w", err)
	}
	return nil
}
