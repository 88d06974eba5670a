package archive

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxOctalID and maxOctalSize are what the fields of ustar can hold: numbers, then sizes
// and times.
const (
	maxOctalID   = 1<<21 - 1
	maxOctalSize = 1<<33 - 1
)

// The names of what is not a file: readers that know the formats do not show them.
const (
	extendedName = "././@PaxHeader"
	sparsePrefix = "GNUSparseFile.0/"
)

func (h *Header) sparse() bool { return h.Type == File && h.Sparse != nil }

// validate refuses what an archive cannot hold or a reader would take for something
// else.
func (h *Header) validate() error {
	switch {
	case h.Name == "" || strings.Contains(h.Name+h.Linkname, "\x00"):
		return errors.New("name is empty or has a NUL")
	case h.Type < File || h.Type > FIFO:
		return fmt.Errorf("unknown type %q", byte(h.Type))
	case h.Type == File && strings.HasSuffix(h.Name, "/"):
		return errors.New("name of a file ends in a slash")
	case (h.Type == Hard || h.Type == Symlink) && h.Linkname == "":
		return errors.New("link without a target")
	case h.UID < 0 || h.UID > maxID || h.GID < 0 || h.GID > maxID:
		return fmt.Errorf("owner %d:%d is out of range", h.UID, h.GID)
	case h.Major > maxOctalID || h.Minor > maxOctalID:
		return fmt.Errorf("device %d:%d is out of range", h.Major, h.Minor)
	case h.Size < 0 || h.Size > math.MaxInt64-blockSize:
		return fmt.Errorf("size %d is out of range", h.Size)
	case h.sparse():
		return h.validateSparse()
	}
	return nil
}

func (h *Header) validateSparse() error {
	if len(h.Sparse) >= maxExtents {
		return fmt.Errorf("sparse file of %d extents, the limit is %d", len(h.Sparse), maxExtents-1)
	}
	var end int64
	for i, e := range h.Sparse {
		if e.Offset < end || e.Length <= 0 || e.Offset > h.Size || e.Length > h.Size-e.Offset {
			return fmt.Errorf("sparse map: extent of %d bytes at %d, after %d, in a file of %d bytes", e.Length, e.Offset, end, h.Size)
		}
		if e.Length%blockSize != 0 && i < len(h.Sparse)-1 {
			return fmt.Errorf("sparse map: extent of %d bytes at %d, not a multiple of %d", e.Length, e.Offset, blockSize)
		}
		end = e.Offset + e.Length
	}
	return nil
}

// appendMap writes the map of a sparse file as version 1.0 has it: see Reader.readMap.
// A hole at the end is shown by an empty extent there.
func appendMap(dst []byte, h *Header) []byte {
	line := func(n int64) { dst = append(strconv.AppendInt(dst, n, 10), '\n') }
	count, end := len(h.Sparse), int64(0)
	if count > 0 {
		end = h.Sparse[count-1].Offset + h.Sparse[count-1].Length
	}
	closing := count == 0 || end < h.Size
	if closing {
		count++
	}
	line(int64(count))
	for _, e := range h.Sparse {
		line(e.Offset)
		line(e.Length)
	}
	if closing {
		line(h.Size)
		line(0)
	}
	return append(dst, zeroBlock[:padding(int64(len(dst)))]...)
}

// appendRecords collects what does not fit the block, in the order of the keys.
func (w *Writer) appendRecords(h *Header, stored int64) error {
	if h.sparse() {
		w.record("GNU.sparse.major", "1")
		w.record("GNU.sparse.minor", "0")
		w.record("GNU.sparse.name", h.Name)
		w.number("GNU.sparse.realsize", h.Size)
	}
	if err := w.appendXattrs(h); err != nil {
		return err
	}
	if h.GID > maxOctalID {
		w.number("gid", int64(h.GID))
	}
	_, _, fits := h.split()
	longLink := len(h.target()) > len(w.block.linkname())
	if !fits && !utf8.ValidString(h.Name) || longLink && !utf8.ValidString(h.Linkname) {
		w.record("hdrcharset", "BINARY")
	}
	if longLink {
		w.record("linkpath", h.Linkname)
	}
	if !plainTime(h.ModTime) {
		var digits [40]byte
		w.records = appendRecord(w.records, "mtime", appendTime(digits[:0], h.ModTime))
	}
	if !fits {
		w.record("path", h.pathname())
	}
	if stored > maxOctalSize {
		w.number("size", stored)
	}
	if h.UID > maxOctalID {
		w.number("uid", int64(h.UID))
	}
	return nil
}

func (w *Writer) record(key, value string) { w.records = appendRecord(w.records, key, value) }

func (w *Writer) number(key string, n int64) {
	var digits [20]byte
	w.records = appendRecord(w.records, key, strconv.AppendInt(digits[:0], n, 10))
}

// plainTime says whether the field of the block holds the time.
func plainTime(t time.Time) bool {
	return t.IsZero() || t.Nanosecond() == 0 && t.Unix() >= 0 && t.Unix() <= maxOctalSize
}

// appendXattrs writes the extended attributes by the keys GNU tar and bsdtar restore:
// labels and ACLs have their own.
func (w *Writer) appendXattrs(h *Header) error {
	if len(h.Xattrs) == 0 {
		return nil
	}
	if label, ok := h.Xattrs[selinux]; ok {
		w.record(keySELinux, strings.TrimRight(string(label), "\x00"))
	}
	if err := w.appendACL(keyACLAccess, h.Xattrs[aclAccess]); err != nil {
		return err
	}
	if err := w.appendACL(keyACLDefault, h.Xattrs[aclDefault]); err != nil {
		return err
	}
	w.names = w.names[:0]
	for name := range h.Xattrs {
		if name == "" || strings.Contains(name, "\x00") {
			return fmt.Errorf("extended attribute %q: bad name", name)
		}
		if name != selinux && name != aclAccess && name != aclDefault {
			w.names = append(w.names, name)
		}
	}
	slices.Sort(w.names)
	for _, name := range w.names {
		w.records = appendRecord(w.records, keyXattr+xattrEncoder.Replace(name), h.Xattrs[name])
	}
	return nil
}

func (w *Writer) appendACL(key string, value []byte) (err error) {
	if value == nil {
		return nil
	}
	if w.acl, err = appendACL(w.acl[:0], value); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	w.records = appendRecord(w.records, key, w.acl)
	return nil
}

// writeRecords writes an extended header: w.records behind a block of its own.
func (w *Writer) writeRecords(letter byte) error {
	if len(w.records) > maxRecords {
		return fmt.Errorf("extended header of %d bytes, the limit is %d", len(w.records), maxRecords)
	}
	b := &w.block
	*b = zeroBlock
	copy(b.name(), extendedName)
	putOctal(b.mode(), 0o644)
	putOctal(b.uid(), 0)
	putOctal(b.gid(), 0)
	putOctal(b.size(), int64(len(w.records)))
	putOctal(b.modTime(), 0)
	b[typeAt] = letter
	copy(b.magic(), magicUstar)
	b.seal()
	if err := w.put(b[:]); err != nil {
		return err
	}
	if err := w.put(w.records); err != nil {
		return err
	}
	return w.put(zeroBlock[:padding(int64(len(w.records)))])
}

// fill makes the member's own block. What does not fit is in the records.
func (w *Writer) fill(h *Header, stored int64) {
	b := &w.block
	*b = zeroBlock
	prefix, name, _ := h.split()
	copy(b.name(), name)
	copy(b.prefix(), prefix)
	copy(b.linkname(), h.target())
	putOctal(b.mode(), int64(h.Mode&0o7777))
	putOctal(b.uid(), orZero(int64(h.UID), maxOctalID))
	putOctal(b.gid(), orZero(int64(h.GID), maxOctalID))
	putOctal(b.size(), orZero(stored, maxOctalSize))
	putOctal(b.modTime(), orZero(h.ModTime.Unix(), maxOctalSize))
	b[typeAt] = byte(h.Type)
	copy(b.magic(), magicUstar)
	if h.Type == Char || h.Type == Block {
		putOctal(b.major(), int64(h.Major))
		putOctal(b.minor(), int64(h.Minor))
	}
	b.seal()
}

// orZero is 0 for a number that a field cannot hold.
func orZero(n, limit int64) int64 {
	if n < 0 || n > limit {
		return 0
	}
	return n
}

// pathname is the name as it is written: a directory's ends in a slash.
func (h *Header) pathname() string {
	if h.Type == Dir && !strings.HasSuffix(h.Name, "/") {
		return h.Name + "/"
	}
	return h.Name
}

// target is the link's, empty for other members.
func (h *Header) target() string {
	if h.Type == Hard || h.Type == Symlink {
		return h.Linkname
	}
	return ""
}

// split divides the name for the block: as it is, at a slash, or, when nothing fits,
// its beginning. The name of a sparse file is in a record; the block says what to do
// about the file if a reader does not know the format.
func (h *Header) split() (prefix, name string, fits bool) {
	name = h.pathname()
	if h.sparse() {
		return sparsePrefix[:len(sparsePrefix)-1], name[max(0, strings.LastIndexByte(name, '/')+1):], true
	}
	if len(name) <= 100 {
		return "", name, true
	}
	longest := min(len(name)-1, 156) // the prefix and its slash; not the slash at the end
	slash := strings.LastIndexByte(name[:longest], '/')
	if slash <= 0 || len(name)-slash-1 > 100 {
		return "", name[:100], false
	}
	return name[:slash], name[slash+1:], true
}
