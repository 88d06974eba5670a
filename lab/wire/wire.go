// Package wire is how the lab speaks with a node: frames over a virtio serial port, so
// that it also works while the node's network is cut. Many requests share the port.
//
// A request is a Start frame (JSON), then Data frames with its input and an End. The
// answers are Stdout and Stderr frames and one Done (JSON). Cancel kills what runs.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// PortName of the virtio serial port that carries the frames.
const PortName = "lab.control"

// FencePort is the name of the port on which a node asks for another to be fenced:
// "off NODE\n", answered by FenceDone or a line that says why not.
const FencePort = "lab.fence"

// FenceDone is the answer after the node has been switched off.
const FenceDone = "ok"

// Kind of a frame.
type Kind uint8

// The kinds.
const (
	Hello  Kind = iota + 1 // both ways; the answer has the same payload
	Start                  // request
	Data                   // input of a request
	End                    // end of the input
	Cancel                 // kill what the request started
	Stdout                 // output
	Stderr                 // output
	Done                   // result
)

// Frame is one message. ID says which request it belongs to.
type Frame struct {
	ID      uint32
	Kind    Kind
	Payload []byte
}

// MaxPayload of one frame, bytes.
const MaxPayload = 64 << 10

const headerSize = 9

// Read reads one frame. Anything that is none is an error: the port is then useless.
func Read(r io.Reader) (Frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{ID: binary.BigEndian.Uint32(header[:4]), Kind: Kind(header[4])}
	size := binary.BigEndian.Uint32(header[5:])
	if f.Kind < Hello || f.Kind > Done || size > MaxPayload {
		return Frame{}, fmt.Errorf("no frame: kind %d, %d bytes", f.Kind, size)
	}
	f.Payload = make([]byte, size)
	_, err := io.ReadFull(r, f.Payload)
	return f, err
}

// Writer writes frames, one at a time, from any goroutine.
type Writer struct {
	mutex sync.Mutex
	to    io.Writer
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write writes one frame.
func (w *Writer) Write(f Frame) error {
	data := make([]byte, headerSize, headerSize+len(f.Payload))
	binary.BigEndian.PutUint32(data, f.ID)
	data[4] = byte(f.Kind)
	binary.BigEndian.PutUint32(data[5:], uint32(len(f.Payload)))
	w.mutex.Lock()
	defer w.mutex.Unlock()
	_, err := w.to.Write(append(data, f.Payload...))
	return err
}

// WriteJSON writes a frame whose payload is v.
func (w *Writer) WriteJSON(id uint32, kind Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	return w.Write(Frame{ID: id, Kind: kind, Payload: payload})
}

// Stream is an io.Writer whose bytes become frames.
func (w *Writer) Stream(id uint32, kind Kind) io.Writer { return stream{w, id, kind} }

type stream struct {
	writer *Writer
	id     uint32
	kind   Kind
}

func (s stream) Write(p []byte) (int, error) {
	for at := 0; at < len(p); at += MaxPayload {
		if err := s.writer.Write(Frame{ID: s.id, Kind: s.kind, Payload: p[at:min(len(p), at+MaxPayload)]}); err != nil {
			return at, err
		}
	}
	return len(p), nil
}

// Operation of a request.
type Operation string

// The operations.
const (
	Run   Operation = "run"   // start a program and wait for it
	Put   Operation = "put"   // write a file with the input as its content
	Ready Operation = "ready" // wait until the node's services are up
	Clock Operation = "clock" // set the clock
)

// Request is the payload of a Start frame.
type Request struct {
	Operation Operation
	Argv      []string `json:",omitempty"` // Run
	Env       []string `json:",omitempty"` // Run: added to the environment
	Writer    bool     `json:",omitempty"` // Run: never killed, see run.Cmd
	Path      string   `json:",omitempty"` // Put
	Mode      uint32   `json:",omitempty"` // Put
	Owner     int      `json:",omitempty"` // Put: user and group
	Now       int64    `json:",omitempty"` // Clock: nanoseconds since 1970
}

// Result is the payload of a Done frame.
type Result struct {
	Status int    // exit status; -1 for death by signal
	Error  string `json:",omitempty"` // why nothing was run or done
}
