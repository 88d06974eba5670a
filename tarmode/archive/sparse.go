package archive

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

// maxExtents bounds the map of a sparse file: 16 MiB of memory.
const maxExtents = 1 << 20

// sparseRecords are the GNU.sparse.* records of a member (GNU tar manual, "Storing
// Sparse Files"). Three versions: 0.0 repeats offset and numbytes, 0.1 has all numbers
// in map, 1.0 has them in front of the data.
type sparseRecords struct {
	major, minor *int64
	name         *string
	size         *int64 // GNU.sparse.size of 0.x, GNU.sparse.realsize of 1.0
	extents      []Extent
	offset       *int64 // of version 0.0, waiting for its numbytes
	listed       bool   // extents were given by records
}

func (s *sparseRecords) record(key string, value []byte) error {
	switch key {
	case "GNU.sparse.major":
		return setNumber(&s.major, value, math.MaxInt64)
	case "GNU.sparse.minor":
		return setNumber(&s.minor, value, math.MaxInt64)
	case "GNU.sparse.name":
		return setText(&s.name, value)
	case "GNU.sparse.size", "GNU.sparse.realsize":
		return setNumber(&s.size, value, math.MaxInt64)
	case "GNU.sparse.offset":
		return setNumber(&s.offset, value, math.MaxInt64)
	case "GNU.sparse.numbytes":
		return s.numBytes(value)
	case "GNU.sparse.map":
		return s.parseMap(value)
	}
	return nil // numblocks: the map tells it
}

func (s *sparseRecords) numBytes(value []byte) error {
	length, err := parseDecimal(value)
	if err != nil {
		return err
	}
	if s.offset == nil {
		return fmt.Errorf("%w: no offset before it", ErrCorrupt)
	}
	s.extents = append(s.extents, Extent{*s.offset, length})
	s.offset, s.listed = nil, true
	return nil
}

func (s *sparseRecords) parseMap(value []byte) error {
	s.extents, s.listed = s.extents[:0], true
	for len(value) > 0 {
		var pair [2]int64
		for i := range pair {
			number, rest, _ := bytes.Cut(value, []byte{','})
			n, err := parseDecimal(number)
			if err != nil {
				return err
			}
			pair[i], value = n, rest
		}
		s.extents = append(s.extents, Extent{pair[0], pair[1]})
	}
	return nil
}

// mapBeforeData says that the map is version 1.0's.
func (s *sparseRecords) mapBeforeData() bool { return s.major != nil && *s.major == 1 }

// checkVersion refuses a map that this package does not know.
func (s *sparseRecords) checkVersion() error {
	major, minor := value(s.major), value(s.minor)
	if major > 1 || major == 1 && minor != 0 || major == 0 && minor > 1 {
		return fmt.Errorf("%w: sparse file in format %d.%d: pack with --sparse-version=1.0", ErrUnsupported, major, minor)
	}
	return nil
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// validateExtents checks a map against the file's size and the stored bytes, and drops
// the empty extents that mark a hole at the end of a file.
func validateExtents(extents []Extent, size, stored int64) ([]Extent, error) {
	var end, sum int64
	kept := extents[:0]
	for _, e := range extents {
		if e.Offset < end || e.Length < 0 || e.Offset > size || e.Length > size-e.Offset {
			return nil, fmt.Errorf("%w: sparse map: extent of %d bytes at %d, after %d, in a file of %d bytes",
				ErrCorrupt, e.Length, e.Offset, end, size)
		}
		end = e.Offset + e.Length
		sum += e.Length
		if e.Length > 0 {
			kept = append(kept, e)
		}
	}
	if sum != stored {
		return nil, fmt.Errorf("%w: sparse map tells of %d bytes, %d are stored", ErrCorrupt, sum, stored)
	}
	if kept == nil {
		kept = []Extent{}
	}
	return kept, nil
}

// readMap reads the map of version 1.0 from the front of the member's stored bytes:
// the number of extents, then offset and length of each, a decimal a line, filled up
// to whole blocks.
func (r *Reader) readMap() ([]Extent, error) {
	lines := mapLines{r: r}
	count, err := lines.number()
	if err != nil {
		return nil, err
	}
	if count > maxExtents {
		return nil, fmt.Errorf("%w: sparse map of %d extents, more than %d", ErrCorrupt, count, maxExtents)
	}
	var extents []Extent // grows with what is really there, not with what is promised
	for range count {
		offset, err := lines.number()
		if err != nil {
			return nil, err
		}
		length, err := lines.number()
		if err != nil {
			return nil, err
		}
		extents = append(extents, Extent{offset, length})
	}
	return extents, nil
}

// mapLines reads the numbers of a map block by block.
type mapLines struct {
	r    *Reader
	rest []byte
	line [20]byte
}

func (m *mapLines) number() (int64, error) {
	line := m.line[:0]
	for {
		c, err := m.next()
		if err != nil {
			return 0, err
		}
		if c == '\n' {
			n, err := parseDecimal(line)
			if err != nil {
				return 0, fmt.Errorf("sparse map: %w", err)
			}
			return n, nil
		}
		if len(line) == cap(line) {
			return 0, fmt.Errorf("%w: sparse map: number %q… is too long", ErrCorrupt, line)
		}
		line = append(line, c)
	}
}

func (m *mapLines) next() (byte, error) {
	if len(m.rest) == 0 {
		if m.r.left < blockSize {
			return 0, fmt.Errorf("%w: sparse map is longer than the member", ErrCorrupt)
		}
		if _, err := io.ReadFull(m.r, m.r.block[:]); err != nil {
			return 0, err
		}
		m.rest = m.r.block[:]
	}
	c := m.rest[0]
	m.rest = m.rest[1:]
	return c, nil
}

// Where the map of GNU tar's old sparse format stands: four extents in the header, and
// 21 in each block that may follow (GNU tar, src/tar.h, struct oldgnu_header).
const (
	oldMapAt       = 386
	oldMapExtents  = 4
	oldExtendedAt  = 482
	oldRealSizeAt  = 483
	moreExtents    = 21
	moreExtendedAt = 504
	oldExtentSize  = 24
)

// readOldMap reads the map of an 'S' member: from its header, which is in r.block, and
// from the blocks behind it. It returns the file's size, too.
func (r *Reader) readOldMap() (extents []Extent, size int64, err error) {
	if r.block.dialect() != gnu {
		return nil, 0, fmt.Errorf("%w: sparse file of star: pack with GNU tar", ErrUnsupported)
	}
	size, err = parseBounded("size of sparse file", r.block[oldRealSizeAt:oldRealSizeAt+12], math.MaxInt64)
	if err != nil {
		return nil, 0, err
	}
	extents, err = appendOldMap(nil, r.block[oldMapAt:][:oldMapExtents*oldExtentSize])
	more := r.block[oldExtendedAt] != 0
	for err == nil && more && len(extents) <= maxExtents {
		if err = r.readBlock(); err != nil {
			return nil, 0, err
		}
		extents, err = appendOldMap(extents, r.block[:moreExtents*oldExtentSize])
		more = r.block[moreExtendedAt] != 0
	}
	if len(extents) > maxExtents {
		err = fmt.Errorf("%w: sparse map of more than %d extents", ErrCorrupt, maxExtents)
	}
	return extents, size, err
}

// appendOldMap reads extents up to the first unused one.
func appendOldMap(extents []Extent, fields []byte) ([]Extent, error) {
	for ; len(fields) > 0 && fields[0] != 0; fields = fields[oldExtentSize:] {
		offset, err := parseBounded("sparse offset", fields[:12], math.MaxInt64)
		if err != nil {
			return nil, err
		}
		length, err := parseBounded("sparse length", fields[12:24], math.MaxInt64)
		if err != nil {
			return nil, err
		}
		extents = append(extents, Extent{offset, length})
	}
	return extents, nil
}
