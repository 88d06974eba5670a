package tarmode

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/beneath"
	"one-clvm/tarmode/archive"
)

const (
	maxOpen     = 64      // directories kept open
	maxDeferred = 4 << 20 // bytes of metadata of directories kept for later
	defaultACL  = "system.posix_acl_default"
)

// tree is the directories below the root: some of them open, some with metadata still
// to be set. Only the reader uses it.
type tree struct {
	root   *handle
	settle func(path string) // waits until a path is not being created

	open  map[string]*openDir
	clock int64

	deferred map[string]*archive.Header
	size     int  // of deferred, in bytes
	flushed  bool // some directories have their metadata already
	flushing bool
}

type openDir struct {
	*handle
	used int64 // by the tree's clock
}

func newTree(root *handle, settle func(string)) *tree {
	return &tree{
		root: root, settle: settle,
		open: map[string]*openDir{}, deferred: map[string]*archive.Header{},
	}
}

func (t *tree) close() {
	t.closeAll()
	t.root.release()
}

func (t *tree) closeAll() {
	for path := range t.open {
		t.drop(path)
	}
}

// drop closes a directory as far as the tree is concerned.
func (t *tree) drop(path string) {
	if dir, ok := t.open[path]; ok {
		dir.release()
		delete(t.open, path)
	}
}

// claim gives the directory of a member that is about to get its name, free of what is
// known about an earlier member of that name.
func (t *tree) claim(path, dirPath string) (*handle, error) {
	t.settle(path)
	t.drop(path)
	t.forget(path)
	return t.find(dirPath, true)
}

// find opens a directory by its clean path, from the nearest one that is open, never
// through a symbolic link. The handle is good until the next call; hold it for longer.
func (t *tree) find(path string, create bool) (*handle, error) {
	if path == "" {
		return t.root, nil
	}
	if dir, ok := t.open[path]; ok {
		t.clock++
		dir.used = t.clock
		return dir.handle, nil
	}
	dirPath, name := splitPath(path)
	dir, err := t.find(dirPath, create)
	if err != nil {
		return nil, err
	}
	t.settle(path)
	fd, err := beneath.OpenDirAt(dir.fd, name)
	if errors.Is(err, unix.ENOENT) && create {
		fd, err = makeParent(dir.fd, name)
	}
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", path, err)
	}
	if t.flushed && !t.flushing {
		if err := t.thaw(path, fd); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("directory %q: %w", path, err)
		}
	}
	return t.keep(path, fd), nil
}

// keep adds an open directory, in the place of the one that was not used for longest.
func (t *tree) keep(path string, fd int) *handle {
	if len(t.open) >= maxOpen {
		t.drop(t.stalest())
	}
	t.clock++
	h := newHandle(fd)
	t.open[path] = &openDir{h, t.clock}
	return h
}

func (t *tree) stalest() (path string) {
	oldest := t.clock + 1
	for candidate, dir := range t.open {
		if dir.used < oldest {
			path, oldest = candidate, dir.used
		}
	}
	return path
}

// makeParent makes a directory that the archive has no member for.
func makeParent(dir int, name string) (int, error) {
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return -1, err
	}
	fd, err := beneath.OpenDirAt(dir, name)
	if err != nil {
		return -1, err
	}
	if err := unix.Fchmod(fd, 0o755); err != nil { // whatever the umask is
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// mkdir makes a directory, or finds it there. Anything else in its place is replaced.
func (t *tree) mkdir(path string) error {
	dirPath, name := splitPath(path)
	dir, err := t.find(dirPath, true)
	if err != nil {
		return err
	}
	t.settle(path)
	err = unix.Mkdirat(dir.fd, name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if unix.Fstatat(dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
		err = replacing(dir.fd, name, "mkdir", func() error { return unix.Mkdirat(dir.fd, name, 0o700) })
	}
	if err != nil {
		return fmt.Errorf("mkdir: %w", err)
	}
	return nil
}

// record keeps the metadata of a directory and tells how many bytes are kept now.
// Of several members for one directory the last one counts; xattrs add up.
func (t *tree) record(path string, head *archive.Header) int {
	if earlier := t.deferred[path]; earlier != nil && earlier != head {
		for key, value := range earlier.Xattrs {
			addXattr(head, key, value)
		}
	}
	t.forget(path)
	t.deferred[path] = head
	t.size += len(path) + footprint(head)
	return t.size
}

func (t *tree) forget(path string) {
	if head, ok := t.deferred[path]; ok {
		t.size -= len(path) + footprint(head)
		delete(t.deferred, path)
	}
}

// addXattr gives the directory an attribute that it does not have yet.
func addXattr(head *archive.Header, key string, value []byte) {
	if _, ok := head.Xattrs[key]; ok {
		return
	}
	if head.Xattrs == nil {
		head.Xattrs = map[string][]byte{}
	}
	head.Xattrs[key] = value
}

// finish sets all metadata that is left.
func (t *tree) finish() error {
	if err := t.flush(); err != nil {
		return err
	}
	head := t.deferred[""]
	if head == nil {
		return nil
	}
	if err := t.apply("", head); err != nil {
		return memberError(head, err)
	}
	return nil
}

// flush sets all metadata but the root's, children before their parents. Nothing may
// be on its way.
func (t *tree) flush() error {
	t.flushing = true
	defer func() { t.flushing = false }()
	paths := make([]string, 0, len(t.deferred))
	for path := range t.deferred {
		if path != "" {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	for _, path := range paths {
		if err := t.apply(path, t.deferred[path]); err != nil {
			return memberError(t.deferred[path], err)
		}
		t.forget(path)
	}
	t.closeAll() // so that find sees them again
	t.flushed = true
	return nil
}

func (t *tree) apply(path string, head *archive.Header) error {
	dir, err := t.find(path, false)
	if err != nil {
		return err
	}
	if err := setMetadata(dir.fd, head); err != nil {
		return err
	}
	return setTime(dir.fd, ".", head)
}

// thaw records a directory whose metadata is set already, before it changes again. Its
// default ACL is put off too: new files would inherit from it.
func (t *tree) thaw(path string, fd int) error {
	acl, err := takeDefaultACL(fd)
	if err != nil {
		return err
	}
	head, ok := t.deferred[path]
	if !ok {
		if head, err = current(path, fd); err != nil {
			return err
		}
	}
	t.forget(path) // its size may change
	if acl != nil {
		addXattr(head, defaultACL, acl)
	}
	t.record(path, head)
	return nil
}

// takeDefaultACL removes the default ACL of a directory; nil: it had none.
func takeDefaultACL(fd int) ([]byte, error) {
	size, err := unix.Fgetxattr(fd, defaultACL, nil)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get xattr %s: %w", defaultACL, err)
	}
	acl := make([]byte, size)
	if _, err := unix.Fgetxattr(fd, defaultACL, acl); err != nil {
		return nil, fmt.Errorf("get xattr %s: %w", defaultACL, err)
	}
	if err := unix.Fremovexattr(fd, defaultACL); err != nil {
		return nil, fmt.Errorf("remove xattr %s: %w", defaultACL, err)
	}
	return acl, nil
}

// current is the metadata that a directory has.
func current(path string, fd int) (*archive.Header, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	return &archive.Header{
		Name: path, Type: archive.Dir, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()),
	}, nil
}
