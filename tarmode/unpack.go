package tarmode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"one-clvm/internal/beneath"
	"one-clvm/tarmode/archive"
)

// UnpackOptions bounds what an archive may do. The zero value bounds nothing.
type UnpackOptions struct {
	// MaxSize is the size of the target volume in bytes: a member larger than that,
	// or more data than that altogether, is ErrTooLarge. 0: not checked.
	MaxSize int64
	// MaxMembers is the largest number of members. 0: not checked.
	MaxMembers int64
	// Workers is how many goroutines create files. 0: two for each processor, at most 8.
	Workers int
	// Progress is called now and then, by one goroutine at a time, with the bytes of
	// data and the members read so far.
	Progress func(bytes, members int64)
}

// UnpackStats is what an archive held.
type UnpackStats struct {
	Members int64
	Bytes   int64             // data as it stands in the archive, holes not counted
	Global  map[string]string // the archive's global records
}

// Unpack creates the members of the uncompressed tar r below root: the directory of a
// file system that was made for it and that nobody else reaches. Everything a tar can
// hold is kept; what the file system cannot keep is an error. A later member replaces
// an earlier one of the same name, directories merge, missing ones are root's, 0755.
//
// Nothing outside root is read or changed, whatever the archive says: a name that is
// absolute or has "..", and one that leads through a symbolic link, is ErrUnsafe. No
// existing file is ever opened for writing. Memory does not grow with the archive. r is
// read to its end: data behind the archive's is ErrCorrupt.
//
// When ctx ends, Unpack returns its cause; a Read of r that blocks is for the caller to
// end. After an error the content of root is undefined. Nothing is flushed to disk.
func Unpack(ctx context.Context, root *os.File, r io.Reader, opt UnpackOptions) (UnpackStats, error) {
	u, err := newUnpacker(ctx, root, r, opt)
	if err != nil {
		return UnpackStats{}, fmt.Errorf("unpack into %s: %w", root.Name(), err)
	}
	defer u.tree.close()
	err = u.run()
	u.stats.Global = u.in.Global()
	if err != nil {
		return u.stats, fmt.Errorf("unpack into %s: %w", root.Name(), u.explain(err))
	}
	return u.stats, nil
}

// unpacker reads members in the caller's goroutine. Directories and hard links are
// made right there; other members are collected in batches that the workers create.
type unpacker struct {
	opt    UnpackOptions
	in     *archive.Reader
	stats  UnpackStats
	tree   *tree
	flight *flight
	batch  *batch // being filled; nil: none
	behind writeBehind
	free   chan []byte // buffers, whose number bounds the memory
	jobs   chan *batch

	ctx  context.Context
	fail context.CancelCauseFunc
}

func newUnpacker(ctx context.Context, root *os.File, r io.Reader, opt UnpackOptions) (*unpacker, error) {
	if opt.Workers <= 0 {
		opt.Workers = min(2*runtime.GOMAXPROCS(0), 8)
	}
	fd, err := unix.FcntlInt(root.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	u := &unpacker{opt: opt, in: archive.NewReader(r), flight: newFlight()}
	u.tree = newTree(newHandle(fd), u.settle)
	buffers := 2*opt.Workers + 2
	u.free, u.jobs = make(chan []byte, buffers), make(chan *batch, buffers)
	for range buffers {
		u.free <- make([]byte, bufferSize)
	}
	u.ctx, u.fail = context.WithCancelCause(ctx)
	return u, nil
}

// run ends when every goroutine has ended, with the first failure of any of them.
func (u *unpacker) run() error {
	defer u.fail(nil)
	var workers sync.WaitGroup
	for range u.opt.Workers {
		workers.Add(1)
		go func() {
			defer workers.Done()
			u.work()
		}()
	}
	if err := u.read(); err != nil {
		u.fail(err)
	}
	close(u.jobs)
	workers.Wait()
	if u.batch != nil {
		u.finish(u.batch)
	}
	if err := u.behind.end(); err != nil {
		u.fail(fmt.Errorf("close: %w", err))
	}
	if err := context.Cause(u.ctx); err != nil {
		return err
	}
	u.report()
	return u.tree.finish()
}

func (u *unpacker) read() error {
	for u.ctx.Err() == nil {
		head, err := u.in.Next()
		if errors.Is(err, io.EOF) {
			return u.end()
		}
		if err != nil {
			return fmt.Errorf("after %d members: %w", u.stats.Members, err)
		}
		if err := u.member(head); err != nil {
			return memberError(head, err)
		}
	}
	return context.Cause(u.ctx)
}

// end holds what follows the last member to be nothing, before anybody relies on it.
func (u *unpacker) end() error {
	if err := u.submit(); err != nil {
		return err
	}
	return u.in.Finish()
}

func (u *unpacker) member(head *archive.Header) error {
	path, err := beneath.Clean(head.Name)
	if err != nil {
		return err
	}
	if err := u.admit(head); err != nil {
		return err
	}
	switch head.Type {
	case archive.Dir:
		return u.directory(path, head)
	case archive.Hard:
		return u.link(path, head)
	case archive.File, archive.Symlink, archive.Char, archive.Block, archive.FIFO:
		return u.other(path, head)
	}
	return fmt.Errorf("kind %q is none that a file system has: %w", head.Type, ErrCorrupt)
}

// admit counts a member and holds it against the bounds.
func (u *unpacker) admit(head *archive.Header) error {
	u.stats.Members++
	u.stats.Bytes += head.Stored()
	switch limit := u.opt.MaxSize; {
	case u.opt.MaxMembers > 0 && u.stats.Members > u.opt.MaxMembers:
		return fmt.Errorf("it is one more than the %d that are allowed: %w", u.opt.MaxMembers, ErrTooLarge)
	case head.Size < 0, outsideUint32(head.UID), outsideUint32(head.GID):
		return fmt.Errorf("size %d, owner %d or group %d is out of range: %w", head.Size, head.UID, head.GID, ErrCorrupt)
	case limit > 0 && head.Type == archive.File && head.Size > limit:
		return fmt.Errorf("its size of %d bytes is more than the volume's %d: %w", head.Size, limit, ErrTooLarge)
	case limit > 0 && u.stats.Bytes > limit:
		return fmt.Errorf("with it the data is %d bytes, more than the volume's %d: %w", u.stats.Bytes, limit, ErrTooLarge)
	}
	return nil
}

// outsideUint32 also refuses the highest value, which tells chown to change nothing.
func outsideUint32(id int) bool { return id < 0 || int64(id) >= math.MaxUint32 }

// directory makes a directory; its metadata comes last, when nothing changes it any more.
func (u *unpacker) directory(path string, head *archive.Header) error {
	if path != "" {
		if err := u.tree.mkdir(path); err != nil {
			return err
		}
	}
	return u.record(path, head)
}

// record keeps a directory's metadata for later. When there is too much of it, all that
// is on its way is waited for and the metadata is set: directories that are entered
// again afterwards are recorded as they then are.
func (u *unpacker) record(path string, head *archive.Header) error {
	if u.tree.record(path, head) < maxDeferred {
		return nil
	}
	if err := u.submit(); err != nil {
		return err
	}
	u.flight.waitAll()
	return u.tree.flush()
}

// link makes a hard link. It never goes through a symbolic link, but can be one to it.
func (u *unpacker) link(path string, head *archive.Header) error {
	target, err := beneath.Clean(head.Linkname)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	if path == "" || target == "" {
		return fmt.Errorf("hard link to %q: the root is a directory: %w", head.Linkname, ErrUnsafe)
	}
	u.settle(target)
	fromDir, fromName := splitPath(target)
	from, err := u.tree.find(fromDir, false)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", head.Linkname, err)
	}
	defer from.hold().release()
	var st unix.Stat_t
	if err := unix.Fstatat(from.fd, fromName, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("hard link to %q: %w", head.Linkname, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("hard link to %q: %w", head.Linkname, unix.EISDIR)
	}
	if target == path {
		return nil
	}
	toDir, toName := splitPath(path)
	to, err := u.tree.claim(path, toDir)
	if err != nil {
		return err
	}
	return replacing(to.fd, toName, "hard link", func() error {
		return unix.Linkat(from.fd, fromName, to.fd, toName, 0)
	})
}

// settle waits until a name is not being created any more.
func (u *unpacker) settle(path string) {
	if !u.flight.has(path) {
		return
	}
	if u.submit() == nil { // otherwise the reader stops at its next step
		u.flight.wait(path)
	}
}

func (u *unpacker) report() {
	if u.opt.Progress != nil {
		u.opt.Progress(u.stats.Bytes, u.stats.Members)
	}
}

// explain says what a full file system lacks: room, or inodes for so many files.
func (u *unpacker) explain(err error) error {
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	what := "no space left"
	var fs unix.Statfs_t
	if unix.Fstatfs(u.tree.root.fd, &fs) == nil && fs.Files > 0 && fs.Ffree == 0 {
		what = "out of inodes"
	}
	return fmt.Errorf("%s after %d members with %d bytes; give the disk a larger size: %w: %w",
		what, u.stats.Members, u.stats.Bytes, ErrTooLarge, err)
}

// memberError names the member, and has ErrUnsafe for names that are led astray.
func memberError(head *archive.Header, err error) error {
	if errors.Is(err, beneath.ErrUnsafe) && !errors.Is(err, ErrUnsafe) {
		return fmt.Errorf("member %q: %w: %w", head.Name, ErrUnsafe, err)
	}
	return fmt.Errorf("member %q: %w", head.Name, err)
}
