package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
	"one-clvm/lab/wire"
)

// server answers the lab's requests.
type server struct {
	ready    chan struct{} // closed when the services are up, or have failed
	readyErr error

	mutex    sync.Mutex
	requests map[uint32]*request
}

// request is one that runs.
type request struct {
	input  *io.PipeWriter
	cancel context.CancelFunc
}

// serve starts the services and answers requests for ever.
func serve() error {
	o, err := readOptions()
	if err != nil {
		return err
	}
	s := &server{ready: make(chan struct{}), requests: map[uint32]*request{}}
	go func() {
		s.readyErr = startServices(context.Background(), o)
		close(s.ready)
	}()
	port, err := openPort(wire.PortName)
	if err != nil {
		return err
	}
	for {
		err := s.session(port)
		s.cancelAll()
		if !errors.Is(err, io.EOF) {
			fmt.Fprintln(os.Stderr, "lab:", err)
		}
		// Nobody is connected. The port cannot be waited for: it says that it is ready.
		time.Sleep(10 * time.Millisecond)
	}
}

// openPort opens the virtio serial port of that name. Only one process can have it.
func openPort(name string) (*os.File, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name") // the pattern is good
		for _, path := range names {
			text, err := os.ReadFile(path)
			if err != nil || string(text) != name+"\n" {
				continue
			}
			device := "/dev/" + filepath.Base(filepath.Dir(path))
			// Not through the runtime's poller, for which a port without a listener
			// is in error.
			fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == nil {
				return os.NewFile(uintptr(fd), device), nil
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return nil, fmt.Errorf("open %s: %w", device, err)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("there is no port %s", name)
		}
	}
}

// session answers requests until the lab hangs up, which is io.EOF.
func (s *server) session(port *os.File) error {
	out := wire.NewWriter(port)
	for {
		frame, err := wire.Read(port)
		if err != nil {
			return err
		}
		if err := s.handle(out, frame); err != nil {
			return err
		}
	}
}

func (s *server) handle(out *wire.Writer, frame wire.Frame) error {
	switch frame.Kind {
	case wire.Hello:
		s.cancelAll()
		return out.Write(frame)
	case wire.Start:
		var asked wire.Request
		if err := json.Unmarshal(frame.Payload, &asked); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		s.start(out, frame.ID, asked)
		return nil
	}
	s.mutex.Lock()
	running := s.requests[frame.ID]
	s.mutex.Unlock()
	if running == nil {
		return nil // it has ended
	}
	switch frame.Kind {
	case wire.Data:
		_, _ = running.input.Write(frame.Payload) // a program that does not read its input may do so
	case wire.End:
		_ = running.input.Close() // never fails
	case wire.Cancel:
		running.cancel()
	}
	return nil
}

func (s *server) start(out *wire.Writer, id uint32, asked wire.Request) {
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	s.mutex.Lock()
	s.requests[id] = &request{input: writer, cancel: cancel}
	s.mutex.Unlock()
	go func() {
		defer cancel()
		result := s.answer(ctx, asked, reader, out.Stream(id, wire.Stdout), out.Stream(id, wire.Stderr))
		_ = reader.Close() // never fails; what still comes is thrown away
		s.mutex.Lock()
		delete(s.requests, id)
		s.mutex.Unlock()
		_ = out.WriteJSON(id, wire.Done, result) // the lab has hung up; the session ends
	}()
}

func (s *server) cancelAll() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, r := range s.requests {
		r.cancel()
		_ = r.input.CloseWithError(context.Canceled) // never fails
	}
}

func (s *server) answer(ctx context.Context, asked wire.Request, in io.Reader, stdout, stderr io.Writer) wire.Result {
	var err error
	switch asked.Operation {
	case wire.Run:
		return runProgram(ctx, asked, in, stdout, stderr)
	case wire.Put:
		err = put(asked, in)
	case wire.Ready:
		select {
		case <-s.ready:
			err = s.readyErr
		case <-ctx.Done():
			err = ctx.Err()
		}
	case wire.Clock:
		now := unix.NsecToTimespec(asked.Now)
		err = unix.ClockSettime(unix.CLOCK_REALTIME, &now)
	default:
		err = fmt.Errorf("no operation %q", asked.Operation)
	}
	if err != nil {
		return wire.Result{Status: -1, Error: err.Error()}
	}
	return wire.Result{}
}

func runProgram(ctx context.Context, asked wire.Request, in io.Reader, stdout, stderr io.Writer) wire.Result {
	if len(asked.Argv) == 0 {
		return wire.Result{Status: -1, Error: "nothing to run"}
	}
	input, feed, err := os.Pipe()
	if err != nil {
		return wire.Result{Status: -1, Error: err.Error()}
	}
	// Not through run.Cmd.Stdin as it is: the program's end would wait for more input.
	go func() {
		_, _ = io.Copy(feed, in) // the program may end before its input
		_ = feed.Close()         // a pipe
	}()
	defer input.Close() // a pipe
	result, err := run.Exec{}.Run(ctx, run.Cmd{
		Path: asked.Argv[0], Args: asked.Argv[1:], Env: asked.Env, Dir: "/root", Stdin: input, Stdout: stdout, Stderr: stderr, Writer: asked.Writer,
	})
	var failed *run.Error
	if errors.As(err, &failed) && (result.Status > 0 || ctx.Err() == nil && died(err)) {
		return wire.Result{Status: result.Status}
	}
	if err != nil {
		return wire.Result{Status: -1, Error: err.Error()}
	}
	return wire.Result{}
}

// died says whether a signal ended the program.
func died(err error) bool {
	var exit interface{ Sys() any }
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// put writes a file beside its place first: a program of that name may be running.
func put(asked wire.Request, in io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(asked.Path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(asked.Path), ".put")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, in)
	err = errors.Join(err, file.Chmod(os.FileMode(asked.Mode)), file.Chown(asked.Owner, asked.Owner), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), asked.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
