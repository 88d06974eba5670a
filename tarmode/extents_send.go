package tarmode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// SendExtents writes the first size bytes of src as a stream of extents, without zeros
// (in units of 64 KiB). The holes of a sparse file are not even read; a block device is
// read whole. sent is how much data was written, progress, unless nil, is told the offset
// reached. ErrTruncated: src has fewer than size bytes. The file's own offset changes.
func SendExtents(ctx context.Context, w io.Writer, src *os.File, size int64, progress func(int64)) (sent int64, err error) {
	source, err := newDiskSource(src, size)
	if err != nil {
		return 0, err
	}
	out := NewExtentWriter(w)
	err = eachChunk(ctx, source.next, func(off int64, p []byte) error {
		err := eachRun(p, func(at int, run []byte) error {
			sent += int64(len(run))
			return out.WriteExtent(off+int64(at), run)
		})
		report(progress, off+int64(len(p)))
		return err
	})
	if err != nil {
		return sent, fmt.Errorf("send %s: %w", src.Name(), err)
	}
	report(progress, size)
	return sent, out.Close(size)
}

// diskSource reads a disk in chunks that lie on multiples of maxExtent, so that zeros
// are looked for at the same places whatever the holes are.
type diskSource struct {
	file  *os.File
	size  int64
	at    int64
	data  int64 // end of the range of data that at is in
	holes bool  // the file system tells them
}

func newDiskSource(file *os.File, size int64) (*diskSource, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	regular := info.Mode().IsRegular()
	if size < 0 || regular && info.Size() < size {
		return nil, fmt.Errorf("%w: %s has %d bytes, not %d", ErrTruncated, file.Name(), info.Size(), size)
	}
	return &diskSource{file: file, size: size, holes: regular}, nil
}

// next is a chunkSource.
func (d *diskSource) next(buf []byte) (offset int64, n int, err error) {
	if err := d.findData(); err != nil {
		return d.at, 0, err
	}
	offset = d.at
	boundary := (offset/maxExtent + 1) * maxExtent
	want := min(int64(len(buf)), boundary-offset, d.data-offset)
	n, err = d.file.ReadAt(buf[:want], offset)
	d.at += int64(n)
	if errors.Is(err, io.EOF) && int64(n) < want {
		err = fmt.Errorf("%w: it ends at %d of %d bytes", ErrTruncated, d.at, d.size)
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	return offset, n, err
}

// findData moves on to the next range of data. io.EOF: there is none.
func (d *diskSource) findData() error {
	if d.at >= d.size {
		return io.EOF
	}
	if d.at < d.data {
		return nil
	}
	if !d.holes {
		d.data = d.size
		return nil
	}
	fd := int(d.file.Fd())
	start, err := unix.Seek(fd, d.at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end
		return io.EOF
	case errors.Is(err, unix.EINVAL): // the file system does not tell
		d.holes = false
		return d.findData()
	case err != nil:
		return os.NewSyscallError("lseek SEEK_DATA", err)
	case start >= d.size:
		return io.EOF
	}
	end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
	if err != nil {
		return os.NewSyscallError("lseek SEEK_HOLE", err)
	}
	d.at, d.data = start, min(end, d.size)
	return nil
}
