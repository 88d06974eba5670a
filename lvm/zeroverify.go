package lvm

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AllSamples makes VerifyZero read every byte.
const AllSamples = -1

const (
	defaultSamples = 64
	sampleSize     = 4096 // the largest logical block in use
	sampleMark     = 0xA5
)

// VerifyZero reads blocks of 4 KiB from the medium, not from the page cache: the
// first and the last of the range and samples more, spread evenly and placed at
// random; with AllSamples every one. ErrNotZero names the first byte that is not zero.
func VerifyZero(f *os.File, off, length int64, samples int) error {
	if err := checkRange(f, off, length); err != nil {
		return fmt.Errorf("verify %d bytes of %s at %d: %w", length, f.Name(), off, err)
	}
	if samples == AllSamples {
		return checkSamples(f, wholeRange(off, length))
	}
	return checkSamples(f, pickSamples(off, length, samples))
}

// span is a part of a device.
type span struct{ off, length int64 }

func (s span) end() int64 { return s.off + s.length }

// pickSamples chooses blocks of the range in ascending order: the first, the last, and
// one in each of count equal parts. Blocks are aligned on the device and cut to the range.
func pickSamples(off, length int64, count int) []span {
	if length == 0 {
		return nil
	}
	offsets := []int64{off, off + length - 1}
	if part := length / int64(max(count, 1)); part > 0 {
		for i := range int64(count) {
			offsets = append(offsets, off+i*part+rand.Int64N(part))
		}
	}
	for i := range offsets {
		offsets[i] -= offsets[i] % sampleSize
	}
	slices.Sort(offsets)
	var spans []span
	for _, at := range slices.Compact(offsets) {
		spans = append(spans, cut(span{at, sampleSize}, off, length))
	}
	return spans
}

// wholeRange is the range in spans that are good to read one by one.
func wholeRange(off, length int64) []span {
	var spans []span
	for at := off - off%writeChunk; at < off+length; at += writeChunk {
		spans = append(spans, cut(span{at, writeChunk}, off, length))
	}
	return spans
}

func cut(s span, off, length int64) span {
	start := max(s.off, off)
	return span{start, min(s.end(), off+length) - start}
}

// markSamples makes sure that zeros read back later are news: a device that says yes
// and does nothing is caught whatever the range held before.
func markSamples(f *os.File, samples []span) error {
	mark := alignedBuffer(sampleSize)
	for i := range mark {
		mark[i] = sampleMark
	}
	for _, s := range samples {
		if _, err := f.WriteAt(mark[:s.length], s.off); err != nil {
			return err
		}
	}
	return unix.Fdatasync(int(f.Fd()))
}

// checkSamples reads the spans from the medium. ErrNotZero.
func checkSamples(f *os.File, samples []span) error {
	in, err := reopenDirect(f, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	buf := alignedBuffer(writeChunk + sampleSize)
	for _, s := range samples {
		if err := checkSpan(in, s, buf); err != nil {
			return fmt.Errorf("verify %s: %w", f.Name(), err)
		}
	}
	return nil
}

// checkSpan reads the whole blocks around s, as direct I/O wants it, and looks at s.
func checkSpan(in *os.File, s span, buf []byte) error {
	start := s.off - s.off%sampleSize
	window := buf[:(s.end()-start+sampleSize-1)/sampleSize*sampleSize]
	n, err := in.ReadAt(window, start)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if start+int64(n) < s.end() {
		return fmt.Errorf("%w: read %d bytes at %d", io.ErrUnexpectedEOF, n, start)
	}
	for i, b := range window[s.off-start : s.end()-start] {
		if b != 0 {
			return fmt.Errorf("%w: byte %d is %#x", ErrNotZero, s.off+int64(i), b)
		}
	}
	return nil
}

// reopenDirect opens the same file past the page cache. Regular files go through it:
// there the page cache is what everybody sees, and ranges need no alignment.
func reopenDirect(f *os.File, flags int) (*os.File, error) {
	if isBlockDevice(f) {
		flags |= unix.O_DIRECT
	}
	out, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s again: %w", f.Name(), err)
	}
	return out, nil
}

// alignedBuffer begins at a multiple of 4096 in memory, as direct I/O wants it.
func alignedBuffer(size int) []byte {
	buf := make([]byte, size+sampleSize)
	shift := -int(uintptr(unsafe.Pointer(&buf[0]))) & (sampleSize - 1)
	return buf[shift : shift+size]
}
