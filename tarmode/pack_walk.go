package tarmode

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/beneath"
	"one-clvm/tarmode/archive"
)

// walker names the entries of a tree in the order of the archive and tells their kind.
type walker struct {
	ctx     context.Context
	skip    func(path string) bool
	root    *handle
	load    *load // being filled; nil: none
	inOrder chan<- *load
	toLoad  chan<- *load
	links   map[inode]*linked
	sockets int64
}

// inode is the identity of a file.
type inode struct{ device, number uint64 }

// linked is a file with several names, from its first until its last one is seen.
type linked struct {
	name string // the first, as in the archive
	left uint64
}

// run walks the whole tree and takes over the root's handle.
func (w *walker) run(root *handle) error {
	defer root.release()
	defer w.discard()
	w.root = root
	if err := w.openedDirectory(root, ""); err != nil {
		return err
	}
	return w.submit()
}

// openedDirectory writes down a directory and all that is below it.
func (w *walker) openedDirectory(dir *handle, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir.fd, &st); err != nil {
		return fmt.Errorf("./%s: stat: %w", path, err)
	}
	e := entry{head: header(path, archive.Dir, &st)}
	var err error
	if e.head.Xattrs, err = fileXattrs(dir.fd); err != nil {
		return fmt.Errorf("./%s: %w", path, err)
	}
	if err := w.add(e); err != nil {
		return err
	}
	if dir != w.root {
		if same, err := beneath.SameMount(w.root.fd, dir.fd); err != nil || !same {
			return err // a mount point is kept as an empty directory
		}
	}
	names, err := readNames(dir.fd)
	if err != nil {
		return fmt.Errorf("./%s: read directory: %w", path, err)
	}
	for _, name := range names {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if err := w.entry(dir, path, name); err != nil {
			return err
		}
	}
	return nil
}

// readNames reads all names of a directory, sorted.
func readNames(dir int) ([]string, error) {
	fd, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (w *walker) entry(dir *handle, dirPath, name string) error {
	path := name
	if dirPath != "" {
		path = dirPath + "/" + name
	}
	if w.skip != nil && w.skip(path) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("./%s: stat: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		w.sockets++
		return nil
	case unix.S_IFDIR:
		return w.directory(dir, path, name)
	}
	kind, ok := kinds[st.Mode&unix.S_IFMT]
	if !ok {
		return fmt.Errorf("./%s: unknown kind %#o", path, st.Mode&unix.S_IFMT)
	}
	e := entry{name: name, inode: inodeOf(&st), head: header(path, kind, &st)}
	if first := w.firstName(&st, e.head.Name); first != "" {
		e.head.Type, e.head.Linkname, e.head.Size = archive.Hard, first, 0
		return w.add(e)
	}
	e.dir = dir
	e.sparse = st.Blocks*512 < st.Size
	return w.add(e)
}

var kinds = map[uint32]archive.Type{
	unix.S_IFREG: archive.File, unix.S_IFLNK: archive.Symlink, unix.S_IFIFO: archive.FIFO,
	unix.S_IFCHR: archive.Char, unix.S_IFBLK: archive.Block,
}

func (w *walker) directory(dir *handle, path, name string) error {
	fd, err := beneath.OpenDirAt(dir.fd, name)
	if err != nil {
		return fmt.Errorf("./%s: open: %w", path, err)
	}
	sub := newHandle(fd)
	defer sub.release()
	if dir == w.root && name == "lost+found" {
		if made, err := madeByMkfs(fd); err != nil || made {
			return err
		}
	}
	return w.openedDirectory(sub, path)
}

// madeByMkfs says whether a lost+found is that of an ext file system with nothing in it.
func madeByMkfs(fd int) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return false, fmt.Errorf("lost+found: statfs: %w", err)
	}
	if fs.Type != unix.EXT4_SUPER_MAGIC {
		return false, nil
	}
	names, err := readNames(fd)
	if err != nil {
		return false, fmt.Errorf("lost+found: read directory: %w", err)
	}
	_, err = unix.Seek(fd, 0, unix.SEEK_SET)
	return len(names) == 0, err
}

// firstName tells the name by which the archive has a file already; "": it has not.
func (w *walker) firstName(st *unix.Stat_t, name string) string {
	if st.Nlink < 2 {
		return ""
	}
	id := inodeOf(st)
	known := w.links[id]
	if known == nil {
		w.links[id] = &linked{name: name, left: uint64(st.Nlink) - 1} //nolint:unconvert // 32 bits wide on arm64
		return ""
	}
	if known.left--; known.left == 0 {
		delete(w.links, id)
	}
	return known.name
}

func inodeOf(st *unix.Stat_t) inode { return inode{st.Dev, st.Ino} }

// header has all that stat tells.
func header(path string, kind archive.Type, st *unix.Stat_t) archive.Header {
	h := archive.Header{
		Name: "./" + path, Type: kind, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()),
	}
	switch kind {
	case archive.File:
		h.Size = st.Size
	case archive.Dir:
		if path != "" {
			h.Name += "/"
		}
	case archive.Char, archive.Block:
		h.Major, h.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return h
}

// add puts an entry into the load; one that is full is handed on first.
func (w *walker) add(e entry) error {
	if w.load != nil && !w.load.takes(&e) {
		if err := w.submit(); err != nil {
			return err
		}
	}
	if w.load == nil {
		w.load = &load{done: make(chan struct{})}
	}
	w.load.add(e)
	return nil
}

func (w *walker) submit() error {
	l := w.load
	if l == nil {
		return nil
	}
	select {
	case w.inOrder <- l: // from here on the writer waits for it
		w.load = nil
		w.toLoad <- l
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// discard closes a load that nobody else has got.
func (w *walker) discard() {
	if w.load != nil {
		w.load.close()
	}
}
