// Package tarmode turns images into streams and back: a tar of a file system
// (TGZ, TZST), a compressed disk (GZIP, ZSTD) or a raw one of which only the
// extents with data travel (RAW).
//
// It knows nothing of volumes, nodes or OpenNebula: readers and writers in, readers
// and writers out, with bounded memory whatever the image's size.
package tarmode

import (
	"errors"
	"fmt"
	"strings"

	"one-clvm/tarmode/archive"
)

// Sentinels for what can be wrong with an image. Test with errors.Is.
var (
	// ErrFormat: the stream is not what the image's record says it is.
	ErrFormat = errors.New("not the expected format")
	// ErrTruncated: the stream ends before its end mark.
	ErrTruncated = archive.ErrTruncated
	// ErrCorrupt: a checksum or the structure of the stream is wrong.
	ErrCorrupt = archive.ErrCorrupt
	// ErrUnsafe: a member tries to leave the directory that is unpacked into.
	ErrUnsafe = errors.New("archive has an unsafe member")
	// ErrTooLarge: the content needs more than the target may hold.
	ErrTooLarge = errors.New("content is larger than the volume")
)

// Mode is what an image is, as its record says: the MODE of the original cxm drivers
// (RAW, GZIP, TGZ) and their zstd counterparts.
type Mode string

// The modes.
const (
	RAW  Mode = "RAW"  // a disk, byte by byte
	GZIP Mode = "GZIP" // a disk, compressed with gzip
	ZSTD Mode = "ZSTD" // a disk, compressed with zstd
	TGZ  Mode = "TGZ"  // a tar of a file system, compressed with gzip
	TZST Mode = "TZST" // a tar of a file system, compressed with zstd
)

// Modes are all modes, in the order of the documentation.
var Modes = []Mode{RAW, GZIP, TGZ, ZSTD, TZST}

// ParseMode reads a mode in either case; the error lists the valid ones.
func ParseMode(s string) (Mode, error) {
	for _, m := range Modes {
		if strings.EqualFold(s, string(m)) {
			return m, nil
		}
	}
	return "", fmt.Errorf("mode %q: not one of RAW, GZIP, TGZ, ZSTD, TZST", s)
}

// Tar says whether the image is a tar of a file system.
func (m Mode) Tar() bool { return m == TGZ || m == TZST }

// Compression is the one that this mode is written with. Reading goes by the magic.
func (m Mode) Compression() Compression {
	switch m {
	case GZIP, TGZ:
		return Gzip
	case ZSTD, TZST:
		return Zstd
	}
	return None
}
