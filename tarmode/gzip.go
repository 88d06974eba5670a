package tarmode

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"one-clvm/tarmode/inflate"
)

// The flags of a member (RFC 1952, section 2.3.1). FTEXT, 1, says nothing to a decoder.
const (
	gzipHeaderCRC = 1 << 1
	gzipExtra     = 1 << 2
	gzipName      = 1 << 3
	gzipComment   = 1 << 4
	gzipReserved  = 0xe0
)

var (
	errGzipHeader   = errors.New("not a gzip member")
	errGzipChecksum = errors.New("wrong checksum")
	errGzipTail     = errors.New("garbage behind the last member")
)

// gzipReader reads gzip members (RFC 1952) one after the other, up to the end or zeros.
type gzipReader struct {
	deflated *inflate.Reader
	inMember bool
	members  int
	checksum uint32 // of the content of the member
	length   uint32 // of it, modulo 2^32

	headerChecksum uint32
}

func newGzipReader(source io.Reader) *gzipReader {
	return &gzipReader{deflated: inflate.NewReader(source)}
}

func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		if !g.inMember {
			if err := g.start(); err != nil {
				return 0, err
			}
		}
		n, err := g.deflated.Read(p)
		g.checksum = crc32.Update(g.checksum, crc32.IEEETable, p[:n])
		g.length += uint32(n)
		if n > 0 || err == nil {
			return n, err
		}
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err := g.finish(); err != nil {
			return 0, err
		}
	}
}

// start reads the header of the next member. io.EOF: the stream is over.
func (g *gzipReader) start() error {
	first, err := g.deflated.ReadByte()
	switch {
	case err != nil && g.members == 0:
		return within(err)
	case err != nil:
		return err
	case first == 0 && g.members > 0:
		return g.zeros()
	}
	if err := g.header(first); err != nil {
		return within(err)
	}
	g.deflated.Next()
	g.checksum, g.length = 0, 0
	g.inMember = true
	g.members++
	return nil
}

// within is an error inside of a member, where the end of the source is not expected.
func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// header reads the header, whose first byte was read already.
func (g *gzipReader) header(first byte) error {
	var fixed [10]byte
	fixed[0] = first
	g.headerChecksum = crc32.ChecksumIEEE(fixed[:1])
	if err := g.take(fixed[1:]); err != nil {
		return err
	}
	flags := fixed[3]
	if fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8 || flags&gzipReserved != 0 {
		return errGzipHeader
	}
	if flags&gzipExtra != 0 {
		if err := g.skipExtra(); err != nil {
			return err
		}
	}
	for _, text := range []byte{gzipName, gzipComment} {
		if flags&text == 0 {
			continue
		}
		if err := g.skipText(); err != nil {
			return err
		}
	}
	if flags&gzipHeaderCRC != 0 {
		return g.checkHeader()
	}
	return nil
}

// take reads bytes of the header.
func (g *gzipReader) take(p []byte) error {
	if err := g.raw(p); err != nil {
		return err
	}
	g.headerChecksum = crc32.Update(g.headerChecksum, crc32.IEEETable, p)
	return nil
}

// raw reads bytes around the compressed data.
func (g *gzipReader) raw(p []byte) (err error) {
	for i := range p {
		if p[i], err = g.deflated.ReadByte(); err != nil {
			return err
		}
	}
	return nil
}

func (g *gzipReader) skipExtra() error {
	var size [2]byte
	if err := g.take(size[:]); err != nil {
		return err
	}
	return g.take(make([]byte, binary.LittleEndian.Uint16(size[:])))
}

// skipText skips a text, which ends with a zero.
func (g *gzipReader) skipText() error {
	for c := [1]byte{1}; c[0] != 0; {
		if err := g.take(c[:]); err != nil {
			return err
		}
	}
	return nil
}

func (g *gzipReader) checkHeader() error {
	var sum [2]byte
	if err := g.raw(sum[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint16(sum[:]) != uint16(g.headerChecksum) {
		return errGzipChecksum
	}
	return nil
}

// finish checks the member against what is written behind it.
func (g *gzipReader) finish() error {
	g.inMember = false
	var trailer [8]byte
	if err := g.raw(trailer[:]); err != nil {
		return within(err)
	}
	if binary.LittleEndian.Uint32(trailer[:4]) != g.checksum || binary.LittleEndian.Uint32(trailer[4:]) != g.length {
		return errGzipChecksum
	}
	return nil
}

// zeros reads the rest, which has to be padding.
func (g *gzipReader) zeros() error {
	for {
		c, err := g.deflated.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return errGzipTail
		}
	}
}
