package tarmode

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"one-clvm/internal/beneath"
	"one-clvm/tarmode/archive"
)

// Bounds of a load.
const (
	loadEntries = 64
	loadHandles = 16
	loadFiles   = 16 // large or sparse ones, which stay open until they are written
	maxExtents  = 64 << 10
	wantedSoon  = 4 << 20 // bytes of a large file to be read before the writer asks
)

// entry is one member of an archive that is being written.
type entry struct {
	head  archive.Header
	name  string // of the entry in its directory
	inode inode
	dir   *handle // nil: nothing is left to be loaded

	sparse bool
	data   []byte  // of a small file
	file   *handle // a large file, to be read by the writer
}

// extents are the parts of the file that are stored.
func (e *entry) extents() []archive.Extent {
	if e.head.Sparse != nil {
		return e.head.Sparse
	}
	return []archive.Extent{{Length: e.head.Size}}
}

// small says that the data is read into the load.
func (e *entry) small() bool {
	return e.head.Type == archive.File && !e.sparse && e.head.Size <= bufferSize
}

// streamed says that the file stays open for the writer.
func (e *entry) streamed() bool { return e.head.Type == archive.File && !e.small() }

// load is a number of entries that one worker loads: neighbours in the archive.
type load struct {
	entries []entry
	handles []*handle
	size    int // of all data in it
	files   int
	err     error
	done    chan struct{} // closed when all is loaded, or err is set
}

func (l *load) takes(e *entry) bool {
	return len(l.entries) < loadEntries && len(l.handles) < loadHandles && l.files < loadFiles &&
		(!e.small() || l.size+int(e.head.Size) <= bufferSize)
}

func (l *load) add(e entry) {
	if e.dir != nil && (len(l.handles) == 0 || l.handles[len(l.handles)-1] != e.dir) {
		l.handles = append(l.handles, e.dir.hold())
	}
	if e.small() {
		l.size += int(e.head.Size)
	} else if e.streamed() {
		l.files++
	}
	l.entries = append(l.entries, e)
}

func (l *load) run(ctx context.Context) {
	defer close(l.done)
	buf := make([]byte, l.size)
	for i := range l.entries {
		e := &l.entries[i]
		if ctx.Err() != nil {
			l.err = context.Cause(ctx)
			return
		}
		if e.dir == nil {
			continue
		}
		var err error
		if buf, err = e.load(buf); err != nil {
			l.err = fmt.Errorf("%s: %w", e.head.Name, err)
			return
		}
	}
}

// close returns what the load holds.
func (l *load) close() {
	for i := range l.entries {
		if l.entries[i].file != nil {
			l.entries[i].file.release()
		}
	}
	for _, h := range l.handles {
		h.release()
	}
}

// load reads what the walk has not told; of the buffer it gives back what it leaves.
func (e *entry) load(buf []byte) ([]byte, error) {
	switch e.head.Type {
	case archive.File:
		return e.loadFile(buf)
	case archive.Symlink:
		target := make([]byte, beneath.MaxName)
		n, err := unix.Readlinkat(e.dir.fd, e.name, target)
		if err != nil {
			return buf, fmt.Errorf("readlink: %w", err)
		}
		e.head.Linkname = string(target[:n])
	}
	var err error
	e.head.Xattrs, err = linkXattrs(e.dir.fd, e.name)
	return buf, err
}

func (e *entry) loadFile(buf []byte) ([]byte, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(e.dir.fd, e.name, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // only a file's owner, and root, may read it unnoticed
		fd, err = unix.Openat(e.dir.fd, e.name, flags, 0)
	}
	if err != nil {
		return buf, fmt.Errorf("open: %w", err)
	}
	file := newHandle(fd)
	defer file.release()
	if err := e.examine(fd); err != nil {
		return buf, err
	}
	if e.streamed() {
		_ = unix.Fadvise(fd, 0, wantedSoon, unix.FADV_WILLNEED) // only a hint
		e.file = file.hold()
		return buf, nil
	}
	size := int(e.head.Size)
	e.data = buf[:size:size]
	return buf[size:], readFull(fd, e.data, 0)
}

// examine makes sure that this is the file the walk has seen and completes its header.
func (e *entry) examine(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if inodeOf(&st) != e.inode || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("replaced while it was read; save a disk that is not in use")
	}
	var err error
	if e.head.Xattrs, err = fileXattrs(fd); err != nil {
		return err
	}
	if e.sparse {
		e.head.Sparse, err = dataExtents(fd, e.head.Size)
	}
	return err
}

// dataExtents asks the file system where the data of a file is; nil: everywhere.
func dataExtents(fd int, size int64) ([]archive.Extent, error) {
	extents := []archive.Extent{}
	gap := int64(0)
	for end := int64(0); end < size; {
		start, err := unix.Seek(fd, end, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break // only a hole is left
		}
		if err == nil {
			end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
		}
		if err != nil {
			return nil, fmt.Errorf("look for holes: %w", err)
		}
		extents = append(extents, archive.Extent{Offset: start, Length: min(end, size) - start})
		for len(extents) > maxExtents {
			gap = max(2*gap, 4096)
			extents = mergeExtents(extents, gap)
		}
	}
	if len(extents) == 1 && extents[0].Length == size {
		return nil, nil
	}
	return extents, nil
}

// mergeExtents treats holes of up to gap bytes as data.
func mergeExtents(extents []archive.Extent, gap int64) []archive.Extent {
	merged := extents[:1]
	for _, e := range extents[1:] {
		last := &merged[len(merged)-1]
		if e.Offset-(last.Offset+last.Length) <= gap {
			last.Length = e.Offset + e.Length - last.Offset
		} else {
			merged = append(merged, e)
		}
	}
	return merged
}

// readExtents reads parts of a file, a buffer at a time.
func readExtents(fd int, extents []archive.Extent, buf []byte, use func([]byte) error) error {
	for _, e := range extents {
		for e.Length > 0 {
			piece := buf[:min(e.Length, int64(len(buf)))]
			if err := readFull(fd, piece, e.Offset); err != nil {
				return err
			}
			if err := use(piece); err != nil {
				return err
			}
			e.Offset += int64(len(piece))
			e.Length -= int64(len(piece))
		}
	}
	return nil
}

// readFull reads exactly so many bytes.
func readFull(fd int, p []byte, offset int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(fd, p, offset)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = fmt.Errorf("it got shorter while it was read; save a disk that is not in use: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return fmt.Errorf("read at %d: %w", offset, err)
		}
		p, offset = p[n:], offset+int64(n)
	}
	return nil
}
