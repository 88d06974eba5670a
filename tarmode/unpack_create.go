package tarmode

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"one-clvm/internal/beneath"
	"one-clvm/tarmode/archive"
)

// startEvery is how much of a large file is written before the kernel is asked to start
// with it, bytes.
const startEvery = 1 << 20

// create makes a file, a symbolic link, a device node or a FIFO.
func (u *unpacker) create(m *member) error {
	switch m.head.Type {
	case archive.File:
		return u.createFile(m)
	case archive.Symlink:
		return createSymlink(m)
	}
	return createNode(m)
}

func (u *unpacker) createFile(m *member) error {
	fd := -1
	err := replacing(m.dir.fd, m.name, "create", func() (err error) {
		const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, err = unix.Openat(m.dir.fd, m.name, flags, m.head.Mode&0o777)
		return err
	})
	if err != nil {
		return err
	}
	behind, err := u.fill(fd, m)
	if err == nil {
		err = setMetadata(fd, m.head)
	}
	if err == nil {
		err = setTime(m.dir.fd, m.name, m.head)
	}
	shut := unix.Close
	if behind {
		shut = u.behind.close
	}
	closed := shut(fd)
	if err == nil && closed != nil {
		err = fmt.Errorf("close: %w", closed)
	}
	return err
}

// fill writes the data of a file; holes stay holes. behind tells that some of it is on
// its way to the disk.
func (u *unpacker) fill(fd int, m *member) (behind bool, err error) {
	w := extentWriter{fd: fd, extents: m.head.Sparse, behind: &u.behind}
	if m.head.Sparse == nil {
		w.extents = []archive.Extent{{Length: m.head.Size}}
	} else if err := unix.Ftruncate(fd, m.head.Size); err != nil {
		return false, fmt.Errorf("set size to %d: %w", m.head.Size, err)
	}
	if m.more == nil {
		err = w.write(m.data)
		return w.started, err
	}
	for piece := range m.more {
		err = w.write(piece)
		u.free <- piece
		if err != nil {
			break
		}
	}
	return w.started, err
}

// extentWriter puts bytes that follow each other in the archive where they belong.
type extentWriter struct {
	fd      int
	behind  *writeBehind
	started bool             // some of it is behind's
	extents []archive.Extent // what is left to be written
	pending int64            // bytes since writing was last started
}

func (w *extentWriter) write(p []byte) error {
	for len(p) > 0 {
		if len(w.extents) == 0 {
			return fmt.Errorf("more data than its extents: %w", ErrCorrupt)
		}
		e := &w.extents[0]
		n, err := unix.Pwrite(w.fd, p[:min(int64(len(p)), e.Length)], e.Offset)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %d bytes at %d: %w", len(p), e.Offset, err)
		}
		p = p[n:]
		if err := w.advance(int64(n)); err != nil {
			return err
		}
	}
	return nil
}

// advance goes on behind the n bytes of the first extent that were written.
func (w *extentWriter) advance(n int64) (err error) {
	e := &w.extents[0]
	e.Offset, e.Length = e.Offset+n, e.Length-n
	w.pending += n
	if w.pending >= startEvery || e.Length == 0 && w.pending >= worthStarting {
		err = w.behind.start(w.fd, e.Offset-w.pending, w.pending)
		w.started, w.pending = true, 0
	}
	if e.Length == 0 {
		w.extents, w.pending = w.extents[1:], 0
	}
	return err
}

func createSymlink(m *member) error {
	err := replacing(m.dir.fd, m.name, "symlink", func() error {
		return unix.Symlinkat(m.head.Linkname, m.dir.fd, m.name)
	})
	if err != nil {
		return err
	}
	return setLinkMetadata(m)
}

func createNode(m *member) error {
	kind := map[archive.Type]uint32{
		archive.Char: unix.S_IFCHR, archive.Block: unix.S_IFBLK, archive.FIFO: unix.S_IFIFO,
	}[m.head.Type]
	device := 0
	if m.head.Type != archive.FIFO {
		device = int(unix.Mkdev(m.head.Major, m.head.Minor))
	}
	err := replacing(m.dir.fd, m.name, "make node", func() error {
		return unix.Mknodat(m.dir.fd, m.name, kind|m.head.Mode&0o777, device)
	})
	if err != nil {
		return err
	}
	return setLinkMetadata(m)
}

// replacing repeats a call that needs a name to be free, when it is not, after removing
// what has it: a non-directory or an empty directory.
func replacing(dir int, name, step string, call func() error) error {
	err := call()
	if errors.Is(err, unix.EEXIST) {
		if err := beneath.RemoveAt(dir, name); err != nil {
			return fmt.Errorf("replace an earlier member: %w", err)
		}
		err = call()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

// setMetadata sets everything but the time of a file or directory that this program has
// made. The order is the kernel's: a change of the owner takes setuid, setgid and
// capabilities away. What is right already costs nothing.
func setMetadata(fd int, head *archive.Header) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	chown := int(st.Uid) != head.UID || int(st.Gid) != head.GID
	if chown {
		if err := unix.Fchown(fd, head.UID, head.GID); err != nil {
			return fmt.Errorf("change owner to %d:%d: %w", head.UID, head.GID, err)
		}
	}
	for key, value := range head.Xattrs {
		if err := unix.Fsetxattr(fd, key, value, 0); err != nil {
			return xattrError(key, err)
		}
	}
	if mode := head.Mode & 0o7777; chown || len(head.Xattrs) > 0 || st.Mode&0o7777 != mode {
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("change mode to %04o: %w", mode, err)
		}
	}
	return nil
}

// setLinkMetadata does the same, and the time, for what cannot be opened.
func setLinkMetadata(m *member) error {
	head, dir := m.head, m.dir.fd
	if err := unix.Fchownat(dir, m.name, head.UID, head.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("change owner to %d:%d: %w", head.UID, head.GID, err)
	}
	for key, value := range head.Xattrs {
		if err := unix.Lsetxattr(linkPath(dir, m.name), key, value, 0); err != nil {
			return xattrError(key, err)
		}
	}
	if mode := head.Mode & 0o7777; head.Type != archive.Symlink {
		if err := unix.Fchmodat(dir, m.name, mode, 0); err != nil {
			return fmt.Errorf("change mode to %04o: %w", mode, err)
		}
	}
	return setTime(dir, m.name, head)
}

func setTime(dir int, name string, head *archive.Header) error {
	modified, err := unix.TimeToTimespec(head.ModTime)
	if err == nil {
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, modified}
		err = unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("set time to %s: %w", head.ModTime, err)
	}
	return nil
}

func xattrError(key string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("set xattr %s: the volume's file system cannot keep it: %w", key, err)
	}
	return fmt.Errorf("set xattr %s: %w", key, err)
}
