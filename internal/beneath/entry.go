package beneath

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
)

// Readlink reads where a symbolic link of the directory points to.
func (d *Dir) Readlink(name string) (string, error) {
	if err := Check(name); err != nil {
		return "", err
	}
	buf := make([]byte, MaxName)
	n, err := unix.Readlinkat(d.Fd(), name, buf)
	if err != nil {
		return "", d.failed("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// ReplaceSymlink puts a symbolic link of the given owner in the place of whatever
// non-directory has the name, in one step: a reader sees the old or the new one.
func (d *Dir) ReplaceSymlink(name, target string, uid, gid int) error {
	if err := Check(name); err != nil {
		return err
	}
	temp := temporary(name)
	if err := d.discard(temp); err != nil {
		return err
	}
	failpoint.Change("symlink", name)
	if err := unix.Symlinkat(target, d.Fd(), temp); err != nil {
		return d.failed("symlink", name, err)
	}
	err := d.chownSymlink(temp, uid, gid)
	failpoint.Hit("home.symlinked")
	if err == nil {
		failpoint.Change("rename", name)
		err = unix.Renameat(d.Fd(), temp, d.Fd(), name)
	}
	if err != nil {
		return errors.Join(d.failed("replace symlink", name, err), d.discard(temp))
	}
	failpoint.Hit("home.linked")
	return d.sync(name)
}

// chownSymlink changes the owner only of what is surely a symbolic link: the owner of
// the directory could have put a hard link to something else in its place.
func (d *Dir) chownSymlink(name string, uid, gid int) error {
	fd, err := unix.Openat(d.Fd(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return fmt.Errorf("%s was replaced by another file meanwhile: %w", name, ErrUnsafe)
	}
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}

// CreateFile starts a new file of the given owner and mode (permission bits) under a
// temporary name. commit flushes it and gives it its name, replacing a non-directory
// there in one step; abort throws it away. One of the two is to be called; abort
// after commit does nothing, so it can be deferred.
func (d *Dir) CreateFile(name string, mode uint32, uid, gid int) (f *os.File, commit func() error, abort func(), err error) {
	if err := Check(name); err != nil {
		return nil, nil, nil, err
	}
	temp := temporary(name)
	if err := d.discard(temp); err != nil {
		return nil, nil, nil, err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	failpoint.Change("create", name)
	fd, err := unix.Openat(d.Fd(), temp, flags, 0o600)
	if err != nil {
		return nil, nil, nil, d.failed("create", name, err)
	}
	f = os.NewFile(uintptr(fd), d.join(name))
	err = unix.Fchown(fd, uid, gid)
	if err == nil {
		err = unix.Fchmod(fd, mode)
	}
	if err != nil {
		f.Close()
		return nil, nil, nil, errors.Join(d.failed("create", name, err), d.discard(temp))
	}
	failpoint.Hit("file.created")
	finished := false
	abort = func() {
		if !finished {
			finished = true
			f.Close()
			_ = d.discard(temp) // the next file of that name sees to it
		}
	}
	commit = func() error {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		failpoint.Change("rename", name)
		if err := unix.Renameat(d.Fd(), temp, d.Fd(), name); err != nil {
			return d.failed("rename into place", name, err)
		}
		finished = true
		failpoint.Hit("file.named")
		return d.sync(name)
	}
	return f, commit, abort, nil
}

// Mkdir makes a directory of the given owner and mode. One that exists already is
// fine and stays as it is; anything else of that name is an error.
func (d *Dir) Mkdir(name string, mode uint32, uid, gid int) error {
	if err := Check(name); err != nil {
		return err
	}
	made := unix.Mkdirat(d.Fd(), name, madeMode)
	if made != nil && made != unix.EEXIST {
		return d.failed("mkdir", name, made)
	}
	if made == nil {
		failpoint.Change("mkdir", name)
		failpoint.Hit("directory.made")
	}
	fd, err := OpenDirAt(d.Fd(), name)
	if err != nil {
		return d.failed("mkdir", name, err)
	}
	dir := &Dir{file: os.NewFile(uintptr(fd), d.join(name))}
	defer dir.Close() // only looked at
	if ours, err := dir.unfinished(); err != nil || !ours {
		return err
	}
	failpoint.Change("own", name)
	if err := errors.Join(unix.Fchown(fd, uid, gid), unix.Fchmod(fd, mode)); err != nil {
		return d.failed("mkdir", name, err)
	}
	failpoint.Hit("directory.owned")
	return d.sync(name)
}

// madeMode is the mode of a directory that Mkdir has made and not given to its owner yet.
const madeMode = 0o700

// unfinished says whether a directory is as Mkdir makes it at first: this process did, or
// one that was killed then.
func (d *Dir) unfinished() (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.Fd(), &st); err != nil {
		return false, d.failed("look at", "", err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o7777 != madeMode {
		return false, nil
	}
	names, err := d.Names()
	return len(names) == 0, err
}

// Remove removes an entry: a non-directory or an empty directory.
func (d *Dir) Remove(name string) error {
	if err := Check(name); err != nil {
		return err
	}
	if err := RemoveAt(d.Fd(), name); err != nil {
		return d.failed("remove", name, err)
	}
	failpoint.Change("remove", name)
	failpoint.Hit("home.removed")
	return nil
}

// RemoveAt removes a non-directory or an empty directory of an open directory.
func RemoveAt(parent int, name string) error {
	err := unix.Unlinkat(parent, name, 0)
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	if rmdir := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); rmdir != unix.ENOTDIR {
		return rmdir
	}
	return err // not a directory: why it could not be unlinked is the answer
}

// RemoveAll removes an entry with everything below it. What a symbolic link points to
// stays, and so does what is mounted below: the kernel refuses to remove a mount point
// (EBUSY) before it looks whether it is empty. No entry of that name is fine.
func (d *Dir) RemoveAll(name string) error {
	if err := Check(name); err != nil {
		return err
	}
	if err := d.removeTree(name); err != nil {
		return fmt.Errorf("remove %s: %w", d.join(name), err)
	}
	return nil
}

func (d *Dir) removeTree(name string) error {
	err := d.Remove(name)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return err
	}
	if err := d.empty(name); err != nil {
		return err
	}
	return d.Remove(name)
}

// empty removes everything in a directory, whose names are read once: whoever adds
// new ones meanwhile makes the removal fail and does not keep it busy.
func (d *Dir) empty(name string) error {
	sub, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := sub.file.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, entry := range names {
		if err := sub.removeTree(entry); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) discard(temp string) error {
	err := unix.Unlinkat(d.Fd(), temp, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	return d.failed("remove", temp, err)
}

// sync makes a new name in the directory last.
func (d *Dir) sync(name string) error {
	if err := d.file.Sync(); err != nil {
		return d.failed("flush the directory of", name, err)
	}
	return nil
}

// temporary is the name under which an entry is made before it gets its own: always the
// same, so that what a crash leaves is gone with the next attempt. Whoever writes to a
// VM's home has its lock.
func temporary(name string) string {
	sum := sha256.Sum256([]byte(name))
	return ".one-clvm-" + hex.EncodeToString(sum[:8])
}
