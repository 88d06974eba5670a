package tarmode

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// sourceBuffer is how much of the compressed stream is asked for at once.
	sourceBuffer = 256 << 10
	// aheadBuffers of aheadSize bytes are decompressed before they are asked for.
	aheadBuffers = 8
	aheadSize    = 256 << 10
	// maxWindow bounds the memory of the zstd decoder, which keeps about twice as much.
	// `zstd -19` needs 8 MiB, `zstd --ultra -22` or --long more than is allowed here.
	maxWindow = 32 << 20
)

// NewDecompressor reads the plain stream out of a compressed one. Decompression runs in
// a goroutine of its own, ahead of the reader. Frames or members one after the other
// are one stream; gzip may be followed by zeros, as on a tape or a volume.
//
// Errors of Read: ErrTruncated, ErrCorrupt (also for a wrong checksum, or garbage behind
// the end), ErrUnsupported, or r's own. Close waits for the read of r that is under
// way: whoever gives up on a source that blocks closes the source first.
func NewDecompressor(r io.Reader, c Compression) (io.ReadCloser, error) {
	source := &watched{r: r}
	switch c {
	case None:
		return io.NopCloser(r), nil
	case Gzip:
		return newDecompressor(newGzipReader(source), source, c, nil), nil
	case Bzip2:
		return newDecompressor(bzip2.NewReader(bufio.NewReaderSize(source, sourceBuffer)), source, c, nil), nil
	case Zstd:
		return newZstdDecompressor(bufio.NewReaderSize(source, sourceBuffer), source)
	case Xz:
		return nil, fmt.Errorf("%w: xz is not supported yet: recompress with zstd or gzip", ErrUnsupported)
	}
	return nil, fmt.Errorf("%w: %v", ErrUnsupported, c)
}

func newZstdDecompressor(r io.Reader, source *watched) (io.ReadCloser, error) {
	decoder, err := zstd.NewReader(r,
		zstd.WithDecoderConcurrency(2),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(1<<63)) // of the content: a disk may be larger than the 64 GiB by default
	if err != nil {
		return nil, err
	}
	return newDecompressor(decoder, source, Zstd, decoder.Close), nil
}

// watched remembers how the compressed stream ended, to tell the source's errors from
// those of the format.
type watched struct {
	r    io.Reader
	read int64
	err  error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.read += int64(n)
	if err != nil {
		w.err = err
	}
	return n, err
}

// decompressor is a decoder that is read ahead, with the errors of this package.
type decompressor struct {
	readAhead
	source  *watched
	name    Compression
	release func() // of the decoder, or nil
	closed  bool
}

func newDecompressor(decoder io.Reader, source *watched, name Compression, release func()) *decompressor {
	d := &decompressor{source: source, name: name, release: release}
	chunks := readChunks(decoder)
	d.ahead = startPrefetch(func(buf []byte) (int64, int, error) {
		offset, n, err := chunks(buf)
		return offset, n, d.explain(err)
	}, aheadBuffers, aheadSize)
	return d
}

func (d *decompressor) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case d.source.err != nil && !errors.Is(d.source.err, io.EOF) && !errors.Is(d.source.err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read %v stream: %w", d.name, d.source.err)
	case errors.Is(err, io.EOF) && d.source.read > 0:
		return io.EOF
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %v stream ends after %d bytes", ErrTruncated, d.name, d.source.read)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: zstd window of more than %d MiB: recompress with zstd -19 or less, without --long",
			ErrUnsupported, maxWindow>>20)
	}
	return fmt.Errorf("%w: %v stream: %w", ErrCorrupt, d.name, err)
}

// Close ends the decompression. It does not read the rest and does not close the source.
func (d *decompressor) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	d.ahead.close()
	if d.release != nil {
		d.release()
	}
	d.rest = chunk{err: errClosed}
	return nil
}

var errClosed = errors.New("read from a closed decompressor")
