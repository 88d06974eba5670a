package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"time"
)

// sourceBuffer is how much is read from the source at once: headers are small.
const sourceBuffer = 64 << 10

// Reader reads an archive member by member.
type Reader struct {
	source *bufio.Reader
	block  block
	left   int64 // stored bytes of the member that Read has not given yet
	skip   int64 // bytes behind them up to the next header
	name   string
	global map[string]string
	// globalSize counts the bytes in global.
	globalSize int
	// defaults are the global records that can apply to every member.
	defaults extended
	records  []byte // reused
	err      error  // ends the reading
}

// NewReader reads an archive from r, which is not compressed. It reads ahead.
func NewReader(r io.Reader) *Reader {
	return &Reader{
		source: bufio.NewReaderSize(r, sourceBuffer),
		global: make(map[string]string),
	}
}

// Global is a copy of the records of the PAX global headers that Next has met so far.
func (r *Reader) Global() map[string]string { return maps.Clone(r.global) }

// Next skips what is left of a member and reads the header of the following one.
//
// io.EOF: the end mark was read. What stands behind it in the source is left to Finish.
// ErrTruncated: the source ended before. ErrCorrupt: a header is damaged. ErrUnsupported:
// see there. After an error the archive cannot be read on.
func (r *Reader) Next() (*Header, error) {
	if r.err != nil {
		return nil, r.err
	}
	h, err := r.next()
	if err != nil {
		r.left, r.skip, r.err = 0, 0, err
		return nil, err
	}
	return h, nil
}

// Finish reads on behind the end mark, to the end of the source, which must be padding.
// ErrCorrupt: there is something else, as where a disk, or two archives one after the
// other, were taken for an archive.
func (r *Reader) Finish() error {
	buf := make([]byte, sourceBuffer)
	for {
		n, err := r.source.Read(buf)
		if len(bytes.TrimLeft(buf[:n], "\x00")) > 0 {
			return fmt.Errorf("%w: data behind the end mark, %s", ErrCorrupt, r.place())
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return r.cut(err)
		}
	}
}

func (r *Reader) next() (*Header, error) {
	var before extended
	for {
		if err := r.nextBlock(); err != nil {
			return nil, err
		}
		if ours, err := r.describing(&before); err != nil {
			return nil, fmt.Errorf("%s: %w", r.place(), err)
		} else if ours {
			continue
		}
		r.name = r.block.fullName()
		h, err := r.member(&before)
		if err != nil {
			return nil, fmt.Errorf("member %.200q: %w", r.name, err)
		}
		r.name = h.Name
		return h, nil
	}
}

// describing reads a header that only tells about the ones that follow; false: it is
// a member's own.
func (r *Reader) describing(x *extended) (bool, error) {
	switch r.block[typeAt] {
	case 'x', 'X': // 'X' is what Solaris called it
		if x.given {
			return true, fmt.Errorf("%w: two extended headers for one member", ErrCorrupt)
		}
		x.given = true
		return true, r.readRecords(x.record)
	case 'g':
		return true, r.readRecords(r.globalRecord)
	case 'L':
		return true, r.readLongName(&x.name)
	case 'K':
		return true, r.readLongName(&x.linkname)
	}
	return false, nil
}

// nextBlock puts the next header into r.block, behind what is left of the member.
func (r *Reader) nextBlock() error {
	if err := r.discard(); err != nil {
		return err
	}
	if err := r.readBlock(); err != nil {
		return err
	}
	if r.block == zeroBlock {
		return io.EOF
	}
	if err := r.block.verify(); err != nil {
		return fmt.Errorf("%s: %w", r.place(), err)
	}
	return nil
}

func (r *Reader) discard() error {
	for r.left > 0 || r.skip > 0 {
		part := r.left
		if part == 0 {
			part = r.skip
		}
		n, err := r.source.Discard(int(min(part, 1<<30)))
		if err != nil {
			return r.cut(err)
		}
		if r.left > 0 {
			r.left -= int64(n)
		} else {
			r.skip -= int64(n)
		}
	}
	return nil
}

func (r *Reader) readBlock() error {
	if _, err := io.ReadFull(r.source, r.block[:]); err != nil {
		return r.cut(err)
	}
	return nil
}

// cut turns the end of the source into ErrTruncated.
func (r *Reader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s", ErrTruncated, r.place())
	}
	return fmt.Errorf("read archive: %w", err)
}

// place says where reading stands.
func (r *Reader) place() string {
	if r.name == "" {
		return "before the first member"
	}
	return fmt.Sprintf("in or behind member %.200q", r.name)
}

// padding is what fills n bytes up to whole blocks.
func padding(n int64) int64 { return -n & (blockSize - 1) }

// readContent reads the content of a header that describes a following one.
func (r *Reader) readContent() ([]byte, error) {
	size, err := parseBounded("size of extended header", r.block.size(), math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if size > maxRecords {
		return nil, fmt.Errorf("%w: extended header of %d bytes, more than %d", ErrCorrupt, size, maxRecords)
	}
	if int64(cap(r.records)) < size {
		r.records = make([]byte, size)
	}
	r.records = r.records[:size]
	if _, err := io.ReadFull(r.source, r.records); err != nil {
		return nil, r.cut(err)
	}
	r.skip = padding(size)
	return r.records, nil
}

func (r *Reader) readRecords(fn func(key string, value []byte) error) error {
	content, err := r.readContent()
	if err != nil {
		return err
	}
	return eachRecord(content, fn)
}

func (r *Reader) readLongName(field **string) error {
	content, err := r.readContent()
	if err != nil {
		return err
	}
	return setText(field, text(content))
}

// globalRecord keeps a record of a global header, all of them within maxRecords.
func (r *Reader) globalRecord(key string, value []byte) error {
	if old, known := r.global[key]; known {
		r.globalSize -= len(key) + len(old)
	}
	r.global[key] = string(value)
	r.globalSize += len(key) + len(value)
	if r.globalSize > maxRecords {
		return fmt.Errorf("%w: global headers of more than %d bytes", ErrCorrupt, maxRecords)
	}
	switch key {
	case "uid", "gid", "mtime":
		return r.defaults.record(key, value)
	}
	return nil
}

// member makes the header of the member whose block was read and sets up its content.
func (r *Reader) member(x *extended) (*Header, error) {
	letter := r.block[typeAt]
	h := &Header{Name: r.block.fullName(), Linkname: string(text(r.block.linkname()))}
	if x.name != nil {
		h.Name = *x.name
	}
	if x.linkname != nil {
		h.Linkname = *x.linkname
	}
	if err := h.setType(letter); err != nil {
		return nil, err
	}
	if err := r.numbers(h, x); err != nil {
		return nil, err
	}
	if err := h.setXattrs(x); err != nil {
		return nil, err
	}
	if err := r.content(h, x, letter); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Header) setXattrs(x *extended) (err error) {
	if err := x.resolveACLs(); err != nil {
		return err
	}
	h.Xattrs = x.xattrs
	if value, ok := h.Xattrs[aclAccess]; ok && h.Type != Symlink {
		h.Mode, err = aclMode(h.Mode, value)
	}
	return err
}

// setType decides what a type letter stands for.
func (h *Header) setType(letter byte) error {
	switch letter {
	case 0, '0', '7', 'S': // '7' asks for contiguous space, nobody gives it
		h.Type = File
		if strings.HasSuffix(h.Name, "/") { // before ustar, directories had no letter
			h.Type = Dir
		}
	case 'D': // a directory of an incremental archive, a list of names as its content
		h.Type = Dir
	case '1', '2', '3', '4', '5', '6':
		h.Type = Type(letter)
	case 'V':
		return fmt.Errorf("%w: a volume label: pack without --label", ErrUnsupported)
	case 'M':
		return fmt.Errorf("%w: a part of a multi-volume archive: join the volumes", ErrUnsupported)
	default:
		return fmt.Errorf("%w: unknown type %q", ErrCorrupt, letter)
	}
	if h.Type != Hard && h.Type != Symlink {
		h.Linkname = ""
	}
	return nil
}

// numbers fills in the numeric fields: the member's records come before the global
// ones, and both before the block.
func (r *Reader) numbers(h *Header, x *extended) error {
	mode, err := parseBounded("mode", r.block.mode(), math.MaxUint32)
	if err != nil {
		return err
	}
	h.Mode = uint32(mode) & 0o7777
	uid, err := pick("user id", r.block.uid(), maxID, x.uid, r.defaults.uid)
	if err != nil {
		return err
	}
	gid, err := pick("group id", r.block.gid(), maxID, x.gid, r.defaults.gid)
	if err != nil {
		return err
	}
	h.UID, h.GID = int(uid), int(gid)
	if h.ModTime, err = r.modTime(x); err != nil {
		return err
	}
	if h.Type == Char || h.Type == Block {
		return r.device(h, x)
	}
	return nil
}

func (r *Reader) device(h *Header, x *extended) error {
	major, err := pick("major number", r.block.major(), math.MaxUint32, x.major)
	if err != nil {
		return err
	}
	minor, err := pick("minor number", r.block.minor(), math.MaxUint32, x.minor)
	if err != nil {
		return err
	}
	h.Major, h.Minor = uint32(major), uint32(minor)
	return nil
}

// pick takes the first number that was given, or the field.
func pick(what string, field []byte, limit int64, given ...*int64) (int64, error) {
	for _, n := range given {
		if n != nil {
			return *n, nil
		}
	}
	return parseBounded(what, field, limit)
}

func (r *Reader) modTime(x *extended) (time.Time, error) {
	if x.modTime != nil {
		return *x.modTime, nil
	}
	if r.defaults.modTime != nil {
		return *r.defaults.modTime, nil
	}
	seconds, err := parseNumber(r.block.modTime())
	if err != nil {
		return time.Time{}, fmt.Errorf("modification time: %w", err)
	}
	return time.Unix(seconds, 0), nil
}

// content works out how many bytes follow and which of them Read gives.
func (r *Reader) content(h *Header, x *extended, letter byte) error {
	stored, err := pick("size", r.block.size(), math.MaxInt64-blockSize, x.size)
	if err != nil {
		return err
	}
	if stored > math.MaxInt64-blockSize {
		return fmt.Errorf("%w: size %d is out of range", ErrCorrupt, stored)
	}
	if letter >= '1' && letter <= '6' { // the size of a link or a device is a remark
		return nil
	}
	r.left, r.skip = stored, padding(stored)
	if h.Type != File {
		r.left, r.skip = 0, stored+padding(stored)
		return nil
	}
	h.Size = stored
	if letter == 'S' {
		return r.oldSparse(h)
	}
	return r.sparse(h, &x.sparse)
}

func (r *Reader) oldSparse(h *Header) error {
	extents, size, err := r.readOldMap()
	if err != nil {
		return err
	}
	return r.setSparse(h, extents, size)
}

// sparse applies the GNU.sparse.* records, if there are any.
func (r *Reader) sparse(h *Header, s *sparseRecords) error {
	if err := s.checkVersion(); err != nil {
		return err
	}
	extents := s.extents
	switch {
	case s.mapBeforeData():
		var err error
		if extents, err = r.readMap(); err != nil {
			return err
		}
	case !s.listed && s.size == nil:
		return nil
	}
	if s.size == nil {
		return fmt.Errorf("%w: sparse file without its size", ErrCorrupt)
	}
	if s.name != nil {
		h.Name = *s.name
	}
	return r.setSparse(h, extents, *s.size)
}

func (r *Reader) setSparse(h *Header, extents []Extent, size int64) (err error) {
	h.Size = size
	h.Sparse, err = validateExtents(extents, size, r.left)
	return err
}

// Read gives the stored bytes of the member that Next returned; of a sparse file the
// data of its extents, one after the other. io.EOF at its end; ErrTruncated if the
// source ends before.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.source.Read(p)
	r.left -= int64(n)
	if err == nil || n > 0 {
		return n, nil
	}
	r.left, r.skip, r.err = 0, 0, r.cut(err)
	return 0, r.err
}
