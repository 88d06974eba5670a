package tarmode

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// behindBytes is how much data may be on its way to the disk, or already there and
	// still in the page cache.
	behindBytes = 24 << 20
	// worthStarting is the least end of a file that is worth it, bytes.
	worthStarting = 64 << 10
)

// writeBehind has the kernel write what is unpacked while more is read, and takes what
// is on the disk out of the page cache: the disk works from the beginning, not only
// when all is flushed, the caches of the VMs on the node stay as they are, and the same
// memory, warm by then, is used again. It is safe for concurrent use.
type writeBehind struct {
	mu     sync.Mutex
	ranges []writtenRange // in the order in which they were started
	bytes  int64
}

// writtenRange is a part of a file that the kernel was asked to write. The last of a
// file has no length and closes it.
type writtenRange struct {
	fd             int
	offset, length int64
}

// start asks the kernel to write a part of an open file. With too much on its way it
// waits for the oldest, perhaps another file's, whose failure it returns.
func (b *writeBehind) start(fd int, offset, length int64) error {
	// Waiting for it is what tells whether it went well.
	_ = unix.SyncFileRange(fd, offset, length, unix.SYNC_FILE_RANGE_WRITE)
	return b.add(writtenRange{fd, offset, length})
}

// close closes a file once all of its parts are written.
func (b *writeBehind) close(fd int) error { return b.add(writtenRange{fd: fd}) }

func (b *writeBehind) add(r writtenRange) error {
	// Held while waiting: a file must not be closed while one of its parts is waited for.
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ranges = append(b.ranges, r)
	b.bytes += r.length
	for b.bytes > behindBytes {
		oldest := b.ranges[0]
		b.ranges = b.ranges[1:]
		b.bytes -= oldest.length
		if err := oldest.settle(); err != nil {
			return fmt.Errorf("write the members before it to the disk: %w", err)
		}
	}
	return nil
}

// settle waits until the range is on the disk and takes it out of the page cache.
func (r writtenRange) settle() error {
	if r.length == 0 {
		return unix.Close(r.fd)
	}
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := unix.SyncFileRange(r.fd, r.offset, r.length, wait); err != nil {
		return err
	}
	_ = unix.Fadvise(r.fd, r.offset, r.length, unix.FADV_DONTNEED) // only a hint
	return nil
}

// end closes the files that are still open. What is on its way goes on.
func (b *writeBehind) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, r := range b.ranges {
		if r.length == 0 {
			errs = append(errs, r.settle())
		}
	}
	b.ranges, b.bytes = nil, 0
	return errors.Join(errs...)
}
