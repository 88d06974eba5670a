package agent

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// Protocol is the version of the conversation. Both ends must speak the same.
const Protocol = 1

// preamble is what each end says first. What a login shell prints before it is noise.
const preamble = "\x00one-clvm-agent\n"

const (
	maxFrame  = 1 << 20   // bytes of one frame's payload
	maxResult = 64 << 20  // the same of a result: the list of a large group's volumes
	dataChunk = 256 << 10 // bytes of payload in one data frame
	maxNoise  = 64 << 10  // bytes of login noise tolerated before the preamble
)

// frameType is the kind of a frame: one byte on the wire, then the payload's length
// (4 bytes, big endian), then the payload.
type frameType byte

const (
	frameHello    frameType = 'H' // JSON hello, the first frame of each end
	frameRequest  frameType = 'R' // JSON Request
	frameData     frameType = 'D' // bytes of the payload
	frameTrailer  frameType = 'T' // JSON Trailer, after the last data frame
	frameAbort    frameType = 'A' // text: the sender's source failed, discard everything
	frameAlive    frameType = 'N' // nothing, a sign of life
	frameLog      frameType = 'L' // JSON LogLine
	frameProgress frameType = 'P' // JSON Progress, also the agent's sign of life
	frameStart    frameType = 'S' // JSON Start, before the first data frame of a save
	frameResult   frameType = 'K' // JSON Result: the operation is complete
	frameError    frameType = 'E' // JSON RemoteError: it failed and was rolled back
)

// ErrProtocol means: the other end does not speak this protocol, or not this version of it.
var ErrProtocol = errors.New("not the agent's protocol")

// ErrStream means: the payload's length or checksum is not what its trailer says, or the
// stream ended before the trailer.
var ErrStream = errors.New("the stream was cut or altered on its way")

type hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
}

// Trailer ends a payload.
type Trailer struct {
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"`
}

// frameWriter writes frames; its methods may be called from several goroutines.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) write(t frameType, payload []byte) error {
	if len(payload) > maxFrame && (t != frameResult || len(payload) > maxResult) {
		return fmt.Errorf("%w: frame of %d bytes", ErrProtocol, len(payload))
	}
	var head [5]byte
	head[0] = byte(t)
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.w.Write(head[:]); err != nil {
		return err
	}
	_, err := f.w.Write(payload)
	return err
}

func (f *frameWriter) writeJSON(t frameType, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	return f.write(t, payload)
}

func (f *frameWriter) greet(version string) error {
	f.mu.Lock()
	_, err := io.WriteString(f.w, preamble)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.writeJSON(frameHello, hello{Protocol: Protocol, Version: version})
}

// frameReader reads frames; the payload it returns is valid until the next call.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
	// results: large ones are taken. The agent, which is root, does not take them.
	results bool
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// read returns the next frame. io.EOF stands for an end between two frames.
func (f *frameReader) read() (frameType, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame && (!f.results || frameType(head[0]) != frameResult || n > maxResult) {
		return 0, nil, fmt.Errorf("%w: frame %q of %d bytes", ErrProtocol, head[0], n)
	}
	if cap(f.buf) < int(n) {
		f.buf = make([]byte, n)
	}
	f.buf = f.buf[:n]
	if _, err := io.ReadFull(f.r, f.buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return frameType(head[0]), f.buf, nil
}

// endedError: the other end was gone before it had said how things ended. How the
// program that led there ended may tell more.
type endedError struct {
	where string
	noise string // what it printed instead, quoted
	err   error
}

func (e *endedError) Error() string { return e.where + e.noise + ": " + e.err.Error() }
func (e *endedError) Unwrap() error { return e.err }

// greeting skips noise, reads the other end's preamble and hello, and compares the
// protocol. The error quotes what came instead.
func (f *frameReader) greeting(who string) (hello, error) {
	noise, err := f.skipTo(preamble)
	if errors.Is(err, ErrProtocol) {
		return hello{}, fmt.Errorf("%w: no greeting of %s%s", ErrProtocol, who, quoteNoise(noise))
	}
	if err != nil {
		return hello{}, &endedError{who + " ended without a greeting", quoteNoise(noise), ErrProtocol}
	}
	t, payload, err := f.read()
	if err != nil {
		return hello{}, &endedError{"greeting of " + who, "", err}
	}
	var h hello
	if t != frameHello || json.Unmarshal(payload, &h) != nil {
		return hello{}, fmt.Errorf("%w: %s sent no hello", ErrProtocol, who)
	}
	if h.Protocol != Protocol {
		return h, fmt.Errorf("%w: %s (version %s) speaks version %d, this end %d: install the same release on both", ErrProtocol, who, h.Version, h.Protocol, Protocol)
	}
	return h, nil
}

func (f *frameReader) skipTo(mark string) (noise []byte, err error) {
	for len(noise) < maxNoise {
		b, err := f.r.ReadByte()
		if err != nil {
			return noise, err
		}
		noise = append(noise, b)
		if b == mark[len(mark)-1] && bytes.HasSuffix(noise, []byte(mark)) {
			return noise[:len(noise)-len(mark)], nil
		}
	}
	return noise, ErrProtocol
}

func quoteNoise(noise []byte) string {
	text := bytes.TrimSpace(noise)
	if len(text) == 0 {
		return ""
	}
	return fmt.Sprintf("; it printed %.80q", text)
}

// payloadWriter cuts what is written into data frames and keeps the trailer.
type payloadWriter struct {
	frames *frameWriter
	sum    hash.Hash
	length int64
	broken error // why the other end cannot be written to any more
}

func newPayloadWriter(f *frameWriter) *payloadWriter {
	return &payloadWriter{frames: f, sum: sha256.New()}
}

func (p *payloadWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		chunk := b[:min(len(b), dataChunk)]
		if p.broken = p.frames.write(frameData, chunk); p.broken != nil {
			return n - len(b), p.broken
		}
		p.sum.Write(chunk)
		p.length += int64(len(chunk))
		b = b[len(chunk):]
	}
	return n, nil
}

func (p *payloadWriter) close() error {
	return p.frames.writeJSON(frameTrailer, Trailer{p.length, hex.EncodeToString(p.sum.Sum(nil))})
}

// payloadCheck follows a payload on its way in and compares it with its trailer.
type payloadCheck struct {
	sum    hash.Hash
	length int64
}

func newPayloadCheck() *payloadCheck { return &payloadCheck{sum: sha256.New()} }

func (p *payloadCheck) add(b []byte) {
	p.sum.Write(b)
	p.length += int64(len(b))
}

// verify compares with the trailer frame's JSON. ErrStream.
func (p *payloadCheck) verify(trailer []byte) error {
	var t Trailer
	if err := json.Unmarshal(trailer, &t); err != nil {
		return fmt.Errorf("%w: trailer: %w", ErrStream, err)
	}
	if t.Length != p.length {
		return fmt.Errorf("%w: %d bytes arrived, %d were sent", ErrStream, p.length, t.Length)
	}
	if sum := hex.EncodeToString(p.sum.Sum(nil)); sum != t.SHA256 {
		return fmt.Errorf("%w: SHA-256 of %d bytes is %s, sent was %s", ErrStream, p.length, sum, t.SHA256)
	}
	return nil
}
