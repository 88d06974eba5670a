package tarmode

import (
	"bytes"
	"fmt"

	"one-clvm/tarmode/archive"
)

// ErrUnsupported means that the stream is sound, but uses what cannot be read here. The
// error says how to make one that can.
var ErrUnsupported = archive.ErrUnsupported

// Compression of a stream, told by its first bytes.
type Compression int

// The compressions. None, Gzip and Zstd are read and written, Bzip2 is read, Xz is
// only known by name.
const (
	None Compression = iota
	Gzip
	Zstd
	Bzip2
	Xz
)

func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	case Bzip2:
		return "bzip2"
	case Xz:
		return "xz"
	}
	return fmt.Sprintf("compression(%d)", int(c))
}

// Sniff tells the compression by the first bytes of a stream (16 are plenty): gzip
// RFC 1952, zstd RFC 8878 (a frame, or one to be skipped), bzip2, xz. None for
// anything else.
func Sniff(head []byte) Compression {
	starts := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case starts("\x1f\x8b"):
		return Gzip
	case starts("\x28\xb5\x2f\xfd"), skippable(head):
		return Zstd
	case starts("BZh"):
		return Bzip2
	case starts("\xfd7zXZ\x00"):
		return Xz
	}
	return None
}

// skippable tells a zstd frame of user data: 0x184D2A50 to 0x184D2A5F, little-endian.
func skippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}
