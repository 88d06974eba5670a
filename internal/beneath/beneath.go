// Package beneath works inside a directory that others may write to, without ever
// being led out of it: every name is looked up one component at a time from an open
// directory, and no symbolic link is followed.
//
// Two callers need that: unpacking an archive, whose members may be hostile, and the
// agent, which is root in the home directory of a VM that an unprivileged user owns.
// Everything here works on Linux 3.10 (openat2 came with 5.6).
package beneath

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnsafe means: a name would lead out of the directory. Test with errors.Is.
var ErrUnsafe = errors.New("name leads out of its directory")

// Limits of names, in bytes: PATH_MAX and NAME_MAX of Linux.
const (
	MaxName      = 4096
	MaxComponent = 255
)

// Check accepts a single component of a name: not empty, not "." or "..", without
// slash and NUL, at most MaxComponent bytes.
func Check(name string) error {
	switch {
	case name == "", name == ".", name == "..":
		return fmt.Errorf("name %q is not that of an entry: %w", name, ErrUnsafe)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("name %q has a slash or a NUL in it: %w", name, ErrUnsafe)
	case len(name) > MaxComponent:
		return fmt.Errorf("name %.40q… is longer than %d bytes: %w", name, MaxComponent, ErrUnsafe)
	}
	return nil
}

// Clean gives the canonical form of a relative name: components joined by single
// slashes, "." left out, "" for the directory itself. It refuses "..", absolute names,
// NUL and names that are too long; it never strips anything that has a meaning.
func Clean(name string) (string, error) {
	switch {
	case strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("name %.80q is absolute: %w", name, ErrUnsafe)
	case len(name) > MaxName:
		return "", fmt.Errorf("name %.40q… is longer than %d bytes: %w", name, MaxName, ErrUnsafe)
	}
	if canonical(name) {
		return name, nil
	}
	parts := strings.Split(name, "/")
	kept := parts[:0]
	for _, part := range parts {
		if part == "" || part == "." {
			continue
		}
		if err := Check(part); err != nil {
			return "", fmt.Errorf("in %.80q: %w", name, err)
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "/"), nil
}

// canonical says that Clean would return the name as it is; most names are, and this
// tells without allocating.
func canonical(name string) bool {
	for rest, more := name, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if Check(part) != nil {
			return false
		}
	}
	return true
}

// Dir is an open directory.
type Dir struct {
	file *os.File
}

// Open opens the directory that everything else stays beneath. Its own path is the
// caller's and is trusted: symbolic links in it are followed.
func Open(path string) (*Dir, error) {
	file, err := os.OpenFile(path, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{file: file}, nil
}

// OpenDir opens a directory below, walking the name component by component. A
// symbolic link or anything else that is not a directory on the way is refused.
func (d *Dir) OpenDir(rel string) (*Dir, error) {
	clean, err := Clean(rel)
	if err != nil {
		return nil, err
	}
	if clean == "" {
		return nil, fmt.Errorf("name %q is not that of an entry: %w", rel, ErrUnsafe)
	}
	parts := strings.Split(clean, "/")
	fd := d.Fd()
	for i, part := range parts {
		next, err := OpenDirAt(fd, part)
		if i > 0 {
			unix.Close(fd)
		}
		if err != nil {
			return nil, d.failed("open directory", strings.Join(parts[:i+1], "/"), err)
		}
		fd = next
	}
	return &Dir{file: os.NewFile(uintptr(fd), d.join(clean))}, nil
}

// OpenDirAt opens one directory of an open one, never through a symbolic link: that
// is ErrUnsafe. The descriptor can be read and changed, and is the caller's to close.
func OpenDirAt(parent int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(parent, name, flags, 0) })
	if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return fd, err
	}
	var st unix.Stat_t
	if unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return -1, fmt.Errorf("it is a symbolic link: %w", ErrUnsafe)
	}
	return -1, err
}

// SameMount says whether two open files are on the same mount. A subvolume of btrfs
// has a device number of its own and still belongs to the mount.
func SameMount(a, b int) (bool, error) {
	_, mountA, errA := unix.NameToHandleAt(a, "", unix.AT_EMPTY_PATH)
	_, mountB, errB := unix.NameToHandleAt(b, "", unix.AT_EMPTY_PATH)
	if errA == nil && errB == nil {
		return mountA == mountB, nil
	}
	// A file system without handles (overlayfs): the device number has to do.
	var stA, stB unix.Stat_t
	if err := errors.Join(unix.Fstat(a, &stA), unix.Fstat(b, &stB)); err != nil {
		return false, err
	}
	return stA.Dev == stB.Dev, nil
}

// Fd is the descriptor, valid until Close.
func (d *Dir) Fd() int { return int(d.file.Fd()) }

// Path is the name the directory was opened by, for messages only.
func (d *Dir) Path() string { return d.file.Name() }

// Close closes the directory.
func (d *Dir) Close() error { return d.file.Close() }

// Owner is the owner and the group of the directory.
func (d *Dir) Owner() (uid, gid int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.Fd(), &st); err != nil {
		return 0, 0, d.failed("stat", "", err)
	}
	return int(st.Uid), int(st.Gid), nil
}

func (d *Dir) join(name string) string {
	if name == "" {
		return d.Path()
	}
	return d.Path() + "/" + name
}

// failed names the step and the entry; os.PathError keeps errors.Is(err, fs.Err…).
func (d *Dir) failed(step, name string, err error) error {
	return &os.PathError{Op: step, Path: d.join(name), Err: err}
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
