// Package inflate decodes DEFLATE streams (RFC 1951) in bounded memory, about twice as
// fast as decoders which take their input byte by byte: it is what deploying an image
// waits for.
//
// The decoder holds its input in a buffer of its own, out of which the layer above
// (gzip, RFC 1952) reads what surrounds the stream: see Reader.ReadByte.
package inflate

import (
	"errors"
	"fmt"
	"io"
)

const (
	// window is how far back a match may reach.
	window = 32 << 10
	// inputSize and outputSize are the buffers of a Reader. The output holds the window
	// in front of what was not read yet.
	inputSize  = 128 << 10
	outputSize = window + 128<<10
	// outputSlack is left free behind the output: for the three literals, the match of
	// 258 bytes and the words copied beyond its end of one round of the fast loop.
	outputSlack = 320
	// maxEmptyReads of a source in a row are taken for a source that is stuck.
	maxEmptyReads = 100
)

// ErrCorrupt is found in every error about a stream that is not DEFLATE. A stream that
// ends too early is io.ErrUnexpectedEOF.
var ErrCorrupt = errors.New("corrupt deflate data")

func corrupt(what string) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, what)
}

// state is what the next bits of the stream are.
type state int

const (
	atHeader state = iota // of a block
	inStored
	inCodes
	atEnd // of the stream
)

// Reader decodes one DEFLATE stream after the other out of a source. It takes about
// 310 KiB of memory, whatever the stream.
type Reader struct {
	source    io.Reader
	sourceErr error
	position  int // of the next byte in input
	filled    int // of input

	bits  uint64 // taken from input and not used yet, the next one lowest
	nbits uint   // how many; less than 8 outside of the decoding of a symbol

	state  state
	last   bool // the block is the last one
	stored int  // bytes left of a stored block
	err    error

	written int // bytes in output, the window included
	read    int // of these, how many were given to the caller

	fixed     bool // the tables are those of blocks with fixed codes
	lengths   [maxLiterals + maxDistances]uint8
	literals  [literalTable]uint32
	distances [distanceTable]uint32
	input     [inputSize]byte
	output    [outputSize]byte
}

// NewReader reads the stream at the beginning of source. Source is read in large
// pieces: use ReadByte for what is behind the stream.
func NewReader(source io.Reader) *Reader {
	return &Reader{source: source}
}

// Next begins another stream at the next byte of the same source. It is for the end of
// a stream, where Read returned io.EOF: what was not read before is lost.
func (r *Reader) Next() {
	r.bits, r.nbits = 0, 0
	r.state, r.last, r.stored, r.err = atHeader, false, 0, nil
	r.written, r.read = 0, 0
}

// ReadByte takes the next byte of the source, as it is: in front of the first Read, or
// behind a stream that was read up to io.EOF. Its errors are those of the source.
func (r *Reader) ReadByte() (byte, error) {
	if r.position == r.filled {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	c := r.input[r.position]
	r.position++
	return c, nil
}

// Buffered is how many bytes were read from the source and not used.
func (r *Reader) Buffered() int {
	return r.filled - r.position
}

// Read decodes. Errors: io.EOF at the end of the stream, io.ErrUnexpectedEOF,
// ErrCorrupt, or the source's own. What was decoded in front of an error is returned
// before it.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.read == r.written {
		if r.err != nil {
			return 0, r.err
		}
		r.slide()
		r.err = r.decode()
	}
	n := copy(p, r.output[r.read:r.written])
	r.read += n
	return n, nil
}

// slide makes room in a full output, whose window is kept.
func (r *Reader) slide() {
	if r.written < outputSize-outputSlack {
		return
	}
	copy(r.output[:window], r.output[r.written-window:r.written])
	r.written, r.read = window, window
}

// decode goes on until the output is full.
func (r *Reader) decode() error {
	for r.written < outputSize-outputSlack {
		var err error
		switch r.state {
		case atHeader:
			err = r.header()
		case inStored:
			err = r.copyStored()
		case inCodes:
			err = r.codes()
		case atEnd:
			return io.EOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill reads more input, once all of it was used.
func (r *Reader) fill() error {
	r.position, r.filled = 0, 0
	for range maxEmptyReads {
		if r.sourceErr != nil {
			return r.sourceErr
		}
		r.filled, r.sourceErr = r.source.Read(r.input[:])
		if r.filled > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

// more takes another byte of input into the bits.
func (r *Reader) more() error {
	c, err := r.ReadByte()
	if err != nil {
		return truncated(err)
	}
	r.bits |= uint64(c) << r.nbits
	r.nbits += 8
	return nil
}

func truncated(err error) error {
	if err == io.EOF { //nolint:errorlint // the end of a source is not wrapped
		return io.ErrUnexpectedEOF
	}
	return err
}

// take returns the next n bits, at most 32.
func (r *Reader) take(n uint) (uint32, error) {
	for r.nbits < n {
		if err := r.more(); err != nil {
			return 0, err
		}
	}
	value := r.bits & (1<<n - 1)
	r.drop(n)
	return uint32(value), nil
}

func (r *Reader) drop(n uint) {
	r.bits >>= n
	r.nbits -= n
}
