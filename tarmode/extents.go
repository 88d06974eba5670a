package tarmode

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// The stream of a disk's data without its holes is a sequence of records, each an
// offset (8 bytes), a length (4 bytes, both big-endian) and so much data. Offsets
// ascend, extents do not overlap. The end record has the disk's size as its offset and
// 0 as its length.
const (
	extentHead = 12
	// maxExtent is the largest length of one record.
	maxExtent = 1 << 20
	// zeroUnit is the granularity in which zeros are left out.
	zeroUnit = 64 << 10
)

// ExtentWriter writes the stream of a disk's data.
type ExtentWriter struct {
	w    io.Writer
	head [extentHead]byte
	end  int64 // of the last extent
	err  error
}

// NewExtentWriter writes to w, without buffering: records are best large.
func NewExtentWriter(w io.Writer) *ExtentWriter { return &ExtentWriter{w: w} }

// WriteExtent writes the disk's data at offset off. Extents ascend and do not overlap.
// After an error the stream is unusable.
func (e *ExtentWriter) WriteExtent(off int64, p []byte) error {
	if e.err == nil && (off < e.end || off > math.MaxInt64-int64(len(p))) {
		e.err = fmt.Errorf("extent of %d bytes at %d, after %d", len(p), off, e.end)
	}
	for len(p) > 0 && e.err == nil {
		part := p[:min(len(p), maxExtent)]
		e.record(off, part)
		off, p = off+int64(len(part)), p[len(part):]
		e.end = off
	}
	return e.err
}

func (e *ExtentWriter) record(off int64, p []byte) {
	binary.BigEndian.PutUint64(e.head[:], uint64(off))
	binary.BigEndian.PutUint32(e.head[8:], uint32(len(p)))
	if _, e.err = e.w.Write(e.head[:]); e.err == nil && len(p) > 0 {
		_, e.err = e.w.Write(p)
	}
}

// Close writes the end record: the disk has size bytes. It leaves the writer below open.
func (e *ExtentWriter) Close(size int64) error {
	if e.err == nil && size < e.end {
		e.err = fmt.Errorf("disk of %d bytes has data up to %d", size, e.end)
	}
	if e.err != nil {
		return e.err
	}
	e.record(size, nil)
	if e.err != nil {
		return e.err
	}
	e.err = errors.New("extent stream is closed")
	return nil
}

// ReceiveExtents writes the extents of a stream to dst, whose other bytes are left as
// they are: they have to be zero already. It reads no further than the end record.
// size is the disk's, written how much data came; progress, unless nil, is told the
// offset reached.
//
// ErrTooLarge: the disk has more than limit bytes. ErrTruncated, ErrCorrupt: the stream
// is cut short or breaks its own rules. What was written before an error stays.
func ReceiveExtents(ctx context.Context, r io.Reader, dst io.WriterAt, limit int64, progress func(int64)) (size, written int64, err error) {
	in := extentReader{r: r, limit: limit, buf: make([]byte, maxExtent)}
	for {
		if err := ctx.Err(); err != nil {
			return 0, written, err
		}
		off, data, err := in.next()
		if err != nil {
			return 0, written, err
		}
		report(progress, in.end)
		if len(data) == 0 {
			return off, written, nil
		}
		if _, err := dst.WriteAt(data, off); err != nil {
			return 0, written, err
		}
		written += int64(len(data))
	}
}

func report(progress func(int64), offset int64) {
	if progress != nil {
		progress(offset)
	}
}

// extentReader reads and checks records.
type extentReader struct {
	r     io.Reader
	limit int64
	end   int64
	head  [extentHead]byte
	buf   []byte
}

// next returns an extent, or no data and the disk's size.
func (e *extentReader) next() (off int64, data []byte, err error) {
	if err := e.fill(e.head[:]); err != nil {
		return 0, nil, err
	}
	start, length := binary.BigEndian.Uint64(e.head[:]), binary.BigEndian.Uint32(e.head[8:])
	if length > maxExtent || start > math.MaxInt64-maxExtent || int64(start) < e.end {
		return 0, nil, fmt.Errorf("%w: extent of %d bytes at %d, after %d", ErrCorrupt, length, start, e.end)
	}
	off = int64(start)
	if end := off + int64(length); end > e.limit {
		return 0, nil, fmt.Errorf("%w: data up to %d of %d bytes", ErrTooLarge, end, e.limit)
	}
	data = e.buf[:length]
	if err := e.fill(data); err != nil {
		return 0, nil, err
	}
	e.end = off + int64(length)
	return off, data, nil
}

func (e *extentReader) fill(p []byte) error {
	_, err := io.ReadFull(e.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: extents end behind offset %d, without an end record", ErrTruncated, e.end)
	}
	return err
}

// CopySparse writes a plain stream to dst without its zeros, in units of 64 KiB: dst has
// to be zero already. size is the stream's, written how much of it was not left out;
// progress, unless nil, is told the offset reached. ErrTooLarge: the stream has more than
// limit bytes. It waits for the read of r that is under way before it returns.
func CopySparse(ctx context.Context, r io.Reader, dst io.WriterAt, limit int64, progress func(int64)) (size, written int64, err error) {
	err = eachChunk(ctx, readChunks(r), func(off int64, p []byte) error {
		if int64(len(p)) > limit-off {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		size = off + int64(len(p))
		err := eachRun(p, func(at int, run []byte) error {
			written += int64(len(run))
			_, err := dst.WriteAt(run, off+int64(at))
			return err
		})
		report(progress, size)
		return err
	})
	return size, written, err
}

// Range is a part of a disk, in bytes.
type Range struct{ Off, Length int64 }

// CopyRanges writes ranges of src to the same places of dst, without their zeros, in units
// of 64 KiB: dst has to be zero already. written is how much was not left out; progress,
// unless nil, is told the offset reached. The ranges ascend.
func CopyRanges(ctx context.Context, src io.ReaderAt, ranges []Range, dst io.WriterAt, progress func(int64)) (written int64, err error) {
	next := func(buf []byte) (int64, int, error) {
		for len(ranges) > 0 && ranges[0].Length == 0 {
			ranges = ranges[1:]
		}
		if len(ranges) == 0 {
			return 0, 0, io.EOF
		}
		at := ranges[0].Off
		n, err := src.ReadAt(buf[:min(int64(len(buf)), ranges[0].Length)], at)
		if n > 0 && errors.Is(err, io.EOF) {
			err = nil
		} else if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it ends at %d", ErrTruncated, at)
		}
		ranges[0] = Range{at + int64(n), ranges[0].Length - int64(n)}
		return at, n, err
	}
	ranges = slices.Clone(ranges)
	err = eachChunk(ctx, next, func(off int64, p []byte) error {
		err := eachRun(p, func(at int, run []byte) error {
			written += int64(len(run))
			_, err := dst.WriteAt(run, off+int64(at))
			return err
		})
		report(progress, off+int64(len(p)))
		return err
	})
	return written, err
}

// SendStream writes a plain disk that comes as a stream as one of extents, without its
// zeros. size is the disk's, sent how much data was written; progress, unless nil, is told
// the offset reached. It waits for the read of r that is under way before it returns.
func SendStream(ctx context.Context, w io.Writer, r io.Reader, progress func(int64)) (size, sent int64, err error) {
	out := NewExtentWriter(w)
	err = eachChunk(ctx, readChunks(r), func(off int64, p []byte) error {
		size = off + int64(len(p))
		err := eachRun(p, func(at int, run []byte) error {
			sent += int64(len(run))
			return out.WriteExtent(off+int64(at), run)
		})
		report(progress, size)
		return err
	})
	if err != nil {
		return size, sent, err
	}
	return size, sent, out.Close(size)
}

// eachChunk hands the chunks of a source, read ahead, to fn until io.EOF.
func eachChunk(ctx context.Context, source chunkSource, fn func(off int64, p []byte) error) error {
	ahead := startPrefetch(source, 4, maxExtent)
	defer ahead.close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := ahead.next()
		if len(c.data) > 0 {
			if err := fn(c.offset, c.data); err != nil {
				return err
			}
		}
		if errors.Is(c.err, io.EOF) {
			return nil
		}
		if c.err != nil {
			return c.err
		}
	}
}

var zeros [zeroUnit]byte

// eachRun hands the parts of p that are not zero to fn, units next to each other as one.
func eachRun(p []byte, fn func(at int, run []byte) error) error {
	start := -1
	for at := 0; at < len(p); at += zeroUnit {
		unit := p[at:min(at+zeroUnit, len(p))]
		zero := bytes.Equal(unit, zeros[:len(unit)])
		if !zero && start < 0 {
			start = at
		}
		if zero && start >= 0 {
			if err := fn(start, p[start:at]); err != nil {
				return err
			}
			start = -1
		}
	}
	if start < 0 {
		return nil
	}
	return fn(start, p[start:])
}
