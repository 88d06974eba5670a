package beneath

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
)

// Names are the names of a directory's entries.
func (d *Dir) Names() ([]string, error) {
	again, err := unix.Openat(d.Fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, d.failed("list", "", err)
	}
	list := os.NewFile(uintptr(again), d.Path())
	names, err := list.Readdirnames(-1)
	return names, errors.Join(err, list.Close())
}

// MoveTo moves an entry into another directory under the same name, in the place of a
// non-directory that has it there. Within a file system that is one step. Between two only
// a regular file with one name is moved: it is copied, flushed, named, and then removed
// here, so that a crash leaves one whole file or two.
func (d *Dir) MoveTo(ctx context.Context, to *Dir, name string) error {
	if err := Check(name); err != nil {
		return err
	}
	err := unix.Renameat(d.Fd(), name, to.Fd(), name)
	if errors.Is(err, unix.EXDEV) {
		return d.copyTo(ctx, to, name)
	}
	failpoint.Change("move", name)
	if err != nil {
		return d.failed("move to "+to.Path(), name, err)
	}
	return errors.Join(to.sync(name), d.sync(name))
}

func (d *Dir) copyTo(ctx context.Context, to *Dir, name string) error {
	fd, err := unix.Openat(d.Fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return d.failed("copy", name, err)
	}
	from := os.NewFile(uintptr(fd), d.join(name))
	defer from.Close() // only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return d.failed("copy", name, err)
	}
	// A second name could be that of a file elsewhere, which its owner keeps from others.
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		return d.failed("copy to another file system", name, fmt.Errorf("it is no regular file with one name: %w", ErrUnsafe))
	}
	f, commit, abort, err := to.CreateFile(name, st.Mode&0o777, int(st.Uid), int(st.Gid))
	if err != nil {
		return err
	}
	defer abort()
	if _, err := io.Copy(f, &reader{ctx, from}); err != nil {
		return d.failed("copy", name, err)
	}
	if err := commit(); err != nil {
		return err
	}
	return d.Remove(name)
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
