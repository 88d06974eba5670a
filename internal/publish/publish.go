// Package publish makes files that appear whole or not at all.
package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
)

// File is a file without a name (O_TMPFILE): if this process dies, the file
// goes with it. Where the file system has none (NFS), it has a temporary name next
// to its final one.
type File struct {
	*os.File
	path string
	temp string // its name, if it has one yet

	once sync.Once
	end  error
}

// Create makes a file that will be called path.
func Create(path string) (*File, error) {
	dir, temp := filepath.Dir(path), filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".saving")
	err := os.Remove(temp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("leftover of an earlier save: %w", err)
	}
	if err == nil {
		failpoint.Change("remove", temp)
		failpoint.Hit("image.cleared")
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o660)
	if err == nil {
		return &File{File: os.NewFile(uintptr(fd), path), path: path}, nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("image file in %s: %w", dir, err)
	}
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return nil, fmt.Errorf("image file: %w", err)
	}
	return &File{File: f, path: path, temp: temp}, nil
}

// Flush makes the content durable.
func (u *File) Flush() error {
	if err := u.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", u.path, err)
	}
	return nil
}

// Publish gives the file its name, in place of whatever has it, and makes that durable.
func (u *File) Publish() error {
	u.once.Do(func() { u.end = u.rename() })
	return u.end
}

func (u *File) rename() error {
	if u.temp == "" {
		temp := filepath.Join(filepath.Dir(u.path), "."+filepath.Base(u.path)+".saving")
		failpoint.Change("link", temp)
		if err := linkFD(u.File, temp); err != nil {
			return fmt.Errorf("name %s: %w", temp, err)
		}
		u.temp = temp
		failpoint.Hit("image.named")
	}
	failpoint.Change("rename", u.path)
	if err := os.Rename(u.temp, u.path); err != nil {
		return errors.Join(err, os.Remove(u.temp))
	}
	failpoint.Hit("image.renamed")
	return errors.Join(syncDir(filepath.Dir(u.path)), u.Close())
}

func linkFD(f *os.File, to string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Discard drops a file that was not published.
func (u *File) Discard() error {
	u.once.Do(func() {
		u.end = fs.ErrClosed
		err := u.Close()
		if u.temp != "" {
			err = errors.Join(err, os.Remove(u.temp))
		}
		if err != nil {
			u.end = err
		}
	})
	return u.end
}
