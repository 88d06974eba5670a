package datastore

import (
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"

	"one-clvm/tarmode"
)

// formatSize is the size of the content that a compressed file itself tells. ok is false
// where it does not, or only by more than so many reads: then the content has to be counted.
func formatSize(file io.ReaderAt, size int64, kind tarmode.Compression, reads int) (content int64, ok bool) {
	switch {
	case size <= 0:
		return 0, false
	case kind == tarmode.Zstd:
		return zstdSize(file, size, reads)
	case kind == tarmode.Xz:
		return xzSize(file, size)
	}
	return 0, false
}

// zstdSize adds up what the headers of the frames say (RFC 8878, 3.1.1). The frames are
// walked by the lengths of their blocks; their content is not read.
func zstdSize(file io.ReaderAt, size int64, reads int) (content int64, ok bool) {
	at := int64(0)
	for ; reads > 0; reads-- {
		if at == size {
			return content, true
		}
		head := make([]byte, zstd.HeaderMaxSize)
		n, _ := file.ReadAt(head, at) // a short one may be all there is
		var h zstd.Header
		if h.Decode(head[:n]) != nil {
			return 0, false
		}
		if h.Skippable {
			at += int64(h.HeaderSize) + int64(h.SkippableSize)
			continue
		}
		if !h.HasFCS || h.FrameContentSize > 1<<62 {
			return 0, false
		}
		content += int64(h.FrameContentSize)
		end, walked, ok := endOfFrame(file, at+int64(h.HeaderSize), reads)
		if !ok || content < 0 {
			return 0, false
		}
		reads -= walked
		if at = end; h.HasCheckSum {
			at += 4
		}
	}
	return 0, false
}

// endOfFrame walks over the blocks: three bytes each of last, type and size.
func endOfFrame(file io.ReaderAt, at int64, most int) (end int64, walked int, ok bool) {
	var head [4]byte
	for walked < most {
		if _, err := file.ReadAt(head[:3], at); err != nil {
			return 0, walked, false
		}
		block := binary.LittleEndian.Uint32(head[:])
		walked++
		at += 3
		if kind := block >> 1 & 3; kind == 1 { // one byte, repeated
			at++
		} else {
			at += int64(block >> 3)
		}
		if block&1 == 1 {
			return at, walked, true
		}
	}
	return 0, walked, false
}

// maxPadding is how many steps of it between streams are walked over: a hole in a file of a
// user's would keep this busy for hours.
const maxPadding = 1 << 14

// xzSize adds up the indexes at the ends of the streams (the .xz file format, 1.2.1).
func xzSize(file io.ReaderAt, size int64) (content int64, ok bool) {
	const footer, header = 12, 12
	padding := 0
	for end := size; end > 0; {
		var tail [footer]byte
		if _, err := file.ReadAt(tail[:], end-footer); end < footer+header || err != nil {
			return 0, false
		}
		if binary.LittleEndian.Uint32(tail[8:]) == 0 { // padding, in steps of four bytes
			if padding++; padding > maxPadding {
				return 0, false
			}
			end -= 4
			continue
		}
		if string(tail[10:]) != "YZ" {
			return 0, false
		}
		length := (int64(binary.LittleEndian.Uint32(tail[4:])) + 1) * 4
		if length > 64<<20 || length > end-footer-header {
			return 0, false
		}
		index := make([]byte, length)
		if _, err := file.ReadAt(index, end-footer-length); err != nil {
			return 0, false
		}
		packed, plain, ok := readIndex(index)
		start := end - footer - length - packed - header
		if !ok || start < 0 || content+plain < 0 {
			return 0, false
		}
		content += plain
		end = start
	}
	return content, true
}

// readIndex adds up an index: a zero, the number of records, of each record the size of its
// block without padding, and that of its content.
func readIndex(index []byte) (packed, plain int64, ok bool) {
	if len(index) < 1 || index[0] != 0 {
		return 0, 0, false
	}
	rest := index[1:]
	next := func() uint64 {
		n, length := binary.Uvarint(rest)
		if length <= 0 || n > 1<<62 {
			ok = false
			return 0
		}
		rest = rest[length:]
		return n
	}
	ok = true
	for records := next(); ok && records > 0; records-- {
		packed += int64(next()+3) &^ 3
		plain += int64(next())
		if packed < 0 || plain < 0 {
			return 0, 0, false
		}
	}
	return packed, plain, ok
}
