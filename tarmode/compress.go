package tarmode

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

const (
	// gzipBlock is what one goroutine compresses at a time; gzipWorkers bounds the
	// memory on machines with many processors (about 3 MiB each).
	gzipBlock   = 1 << 20
	gzipWorkers = 8
	// writeWindow bounds the memory of encoder and decoder.
	writeWindow = 8 << 20
	// defaultLevel is the fastest: the link is rarely slower.
	defaultLevel = 1
	// gzipEffort is added to gzip's levels: the encoder's first ones are weaker than
	// those of the program. Its level 4 still takes half of gzip -1's processor time.
	gzipEffort = 3
)

// NewCompressor compresses what is written to it. level 0 is the default, 1; gzip has
// up to 9, zstd up to 22. Close ends the stream and leaves w open.
func NewCompressor(w io.Writer, c Compression, level int) (io.WriteCloser, error) {
	if level == 0 {
		level = defaultLevel
	}
	switch c {
	case None:
		return passThrough{w}, nil
	case Gzip:
		return newGzipCompressor(w, level)
	case Zstd:
		return newZstdCompressor(w, level)
	}
	return nil, fmt.Errorf("%w: writing %v: use gzip or zstd", ErrUnsupported, c)
}

func newGzipCompressor(w io.Writer, level int) (io.WriteCloser, error) {
	if level < 1 || level > 9 {
		return nil, fmt.Errorf("gzip level %d: use 1 to 9", level)
	}
	z, err := pgzip.NewWriterLevel(w, min(level+gzipEffort, 9))
	if err != nil {
		return nil, err
	}
	if err := z.SetConcurrency(gzipBlock, min(runtime.GOMAXPROCS(0)+1, gzipWorkers)); err != nil {
		return nil, err
	}
	return z, nil
}

func newZstdCompressor(w io.Writer, level int) (io.WriteCloser, error) {
	if level < 1 || level > 22 {
		return nil, fmt.Errorf("zstd level %d: use 1 to 22", level)
	}
	return zstd.NewWriter(w,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderCRC(true),
		zstd.WithZeroFrames(true), // no content is a stream, too
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(writeWindow))
}

// passThrough is no compression.
type passThrough struct{ io.Writer }

// Close has nothing to end.
func (passThrough) Close() error { return nil }
