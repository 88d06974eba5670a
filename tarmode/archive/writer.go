package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// recordSize is what an archive's length is a multiple of: tar's "blocking factor 20".
const recordSize = 20 * blockSize

// Writer writes an archive: a plain ustar header where a member fits into one, a PAX
// header before it otherwise. The same members give the same bytes.
//
// After an error the archive is unusable; every later call returns the error again.
type Writer struct {
	out     *bufio.Writer
	written int64
	left    int64 // announced bytes of the member that have not been written yet
	pad     int64 // zeros behind them
	block   block
	records []byte   // reused: of the extended header
	acl     []byte   // reused: one ACL's text
	extents []byte   // reused: the map of a sparse member
	names   []string // reused: of extended attributes
	err     error
}

// NewWriter writes an archive to w. It buffers; Close flushes and leaves w open.
func NewWriter(w io.Writer) *Writer {
	return &Writer{out: bufio.NewWriterSize(w, sourceBuffer)}
}

// WriteGlobal writes a PAX global header, for all members that follow. A key has no
// '=' and no NUL. Write it before the first member.
func (w *Writer) WriteGlobal(records map[string]string) error {
	return w.keep(func() error {
		if err := w.finish(); err != nil {
			return err
		}
		w.records = w.records[:0]
		for _, key := range slices.Sorted(maps.Keys(records)) {
			if key == "" || strings.ContainsAny(key, "=\x00") {
				return fmt.Errorf("global record %q: bad key", key)
			}
			w.records = appendRecord(w.records, key, records[key])
		}
		return w.writeRecords('g')
	})
}

// WriteHeader starts a member; Write gives its h.Stored() bytes. Of a sparse member
// those are its extents, one after the other; the length of each but the last must be
// a multiple of 512 bytes (as file systems have it), because GNU tar reads them so.
func (w *Writer) WriteHeader(h *Header) error {
	return w.keep(func() error {
		if err := w.finish(); err != nil {
			return err
		}
		if err := w.header(h); err != nil {
			return fmt.Errorf("member %.200q: %w", h.Name, err)
		}
		return nil
	})
}

// Write gives content to the member. More than its header announced is ErrWriterUse.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > w.left {
		w.err = fmt.Errorf("%w: %d bytes for a member that has %d left", ErrWriterUse, len(p), w.left)
		return 0, w.err
	}
	err := w.put(p)
	w.left -= int64(len(p))
	if err != nil {
		w.err = err
		return 0, err
	}
	return len(p), nil
}

// Close writes the end mark and flushes. A second Close does nothing.
func (w *Writer) Close() error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	err := w.keep(w.end)
	if err == nil {
		w.err = errClosed
	}
	return err
}

var errClosed = fmt.Errorf("%w: it is closed", ErrWriterUse)

func (w *Writer) end() error {
	if err := w.finish(); err != nil {
		return err
	}
	for ends := w.written + 2*blockSize; w.written < ends || w.written%recordSize != 0; {
		if err := w.put(zeroBlock[:]); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// keep runs a step and keeps its error.
func (w *Writer) keep(step func() error) error {
	if w.err == nil {
		w.err = step()
	}
	return w.err
}

func (w *Writer) put(p []byte) error {
	n, err := w.out.Write(p)
	w.written += int64(n)
	return err
}

// finish fills the member up to whole blocks.
func (w *Writer) finish() error {
	if w.left > 0 {
		return fmt.Errorf("%w: %d bytes of the member before are missing", ErrWriterUse, w.left)
	}
	pad := w.pad
	w.pad = 0
	return w.put(zeroBlock[:pad])
}

func (w *Writer) header(h *Header) error {
	if err := h.validate(); err != nil {
		return err
	}
	w.records, w.extents = w.records[:0], w.extents[:0]
	if h.sparse() {
		w.extents = appendMap(w.extents, h)
	}
	stored := h.Stored() + int64(len(w.extents))
	if err := w.appendRecords(h, stored); err != nil {
		return err
	}
	if len(w.records) > 0 {
		if err := w.writeRecords('x'); err != nil {
			return err
		}
	}
	w.fill(h, stored)
	if err := w.put(w.block[:]); err != nil {
		return err
	}
	if err := w.put(w.extents); err != nil {
		return err
	}
	w.left, w.pad = h.Stored(), padding(stored)
	return nil
}
