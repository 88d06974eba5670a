// Package archive reads and writes tar archives of whole file systems: PAX, GNU and
// ustar, with extended attributes, POSIX ACLs, SELinux labels and sparse files.
//
// The standard library's archive/tar cannot write sparse files and hides their map
// when reading; this package shows a member as it is stored, data extents only.
// Formats: POSIX.1-2017 pax; GNU tar 1.34 manual "Basic Tar Format" and "Sparse
// Formats"; star's SCHILY and libarchive's LIBARCHIVE keys.
package archive

import (
	"errors"
	"time"
)

// Sentinels for what can be wrong with an archive, or with its use. Test with errors.Is.
var (
	// ErrTruncated: the archive ends before its end mark (two blocks of zeros; one is enough).
	ErrTruncated = errors.New("archive is cut short")
	// ErrCorrupt: a header checksum, a number or a record does not hold.
	ErrCorrupt = errors.New("archive is damaged")
	// ErrUnsupported: the archive is sound, but uses what cannot be unpacked here. The
	// error says how to make one that can.
	ErrUnsupported = errors.New("archive uses an unsupported feature")
	// ErrWriterUse: the members' contents do not fit the headers that announced them.
	ErrWriterUse = errors.New("wrong use of the archive writer")
)

// Type is the kind of a member, in tar's own letters.
type Type byte

// The kinds.
const (
	File    Type = '0'
	Hard    Type = '1' // hard link to Linkname, a member before it
	Symlink Type = '2'
	Char    Type = '3'
	Block   Type = '4'
	Dir     Type = '5'
	FIFO    Type = '6'
)

// Extent is a range of bytes of a file that holds data.
type Extent struct{ Offset, Length int64 }

// Header is one member.
type Header struct {
	Name     string // as it stands in the archive: relative, absolute, whatever; no NUL
	Linkname string // of Hard and Symlink
	Type     Type
	Mode     uint32 // permission bits with setuid, setgid and sticky (07777)
	UID, GID int
	Size     int64 // of the file, holes included
	ModTime  time.Time
	Major    uint32 // of Char and Block
	Minor    uint32
	// Xattrs by the kernel's names: security.capability, system.posix_acl_access (in
	// the kernel's binary form), security.selinux, user.….
	Xattrs map[string][]byte
	// Sparse lists the data of a file with holes, ascending, not overlapping, within
	// Size. nil: the file has no holes. Empty, not nil: it is one hole.
	Sparse []Extent
}

// Stored is the number of bytes of the member that stand in the archive.
func (h *Header) Stored() int64 {
	if h.Type != File {
		return 0
	}
	if h.Sparse == nil {
		return h.Size
	}
	var n int64
	for _, e := range h.Sparse {
		n += e.Length
	}
	return n
}
