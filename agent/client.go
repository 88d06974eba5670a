package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
)

// ErrUnreachable means: the node could not be reached, or refused the connection or sudo.
var ErrUnreachable = errors.New("no agent answered")

// Host is how a node is reached: an argument vector that starts its agent with the
// conversation on its standard input and output.
type Host struct {
	Name string
	Argv []string
}

// Local is this machine itself: no ssh, the same agent.
func Local(name, program string) Host {
	if os.Geteuid() == 0 {
		return Host{name, []string{program, "agent"}}
	}
	return Host{name, []string{"sudo", "-n", program, "agent"}}
}

// Remote is a node over ssh. The remote shell sees fixed words only.
func Remote(name, ssh string, options []string, connectTimeout time.Duration, program string) Host {
	argv := []string{ssh, "-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
		"-o", fmt.Sprintf("ConnectTimeout=%d", int(connectTimeout.Seconds()))}
	argv = append(argv, options...)
	return Host{name, append(argv, "--", name, "sudo", "-n", program, "agent")}
}

// Client is the asking end.
type Client struct {
	Runner       run.Runner
	Version      string
	StallTimeout time.Duration
	OnLog        func(LogLine)  // nil: dropped
	OnProgress   func(Progress) // nil: dropped
}

// Transfer is what goes along with a request. Either side may be missing.
type Transfer struct {
	// Send writes the payload; its error aborts the operation on the node.
	Send func(io.Writer) error
	// Receive is told what comes and returns where to put it.
	Receive func(Start) (io.Writer, error)
	// Received is called once the payload is whole and checked; the node is told
	// that all is well only after it returned nil.
	Received func(Start) error
}

// Do runs one request on a node and waits for its end. Errors: *RemoteError for what
// the agent said; ErrUnreachable, ErrProtocol, ErrStream, ErrStalled for the way there.
func (c *Client) Do(ctx context.Context, host Host, q Request, t Transfer) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	link, err := c.dial(ctx, host)
	if err != nil {
		return Result{}, err
	}
	talk := &conversation{Client: c, host: host, transfer: t, frames: &frameWriter{w: link.in}, reader: newFrameReader(link.out)}
	talk.reader.results = true
	talk.seen.Store(time.Now().UnixNano())
	go watch(ctx, cancel, &talk.seen, &talk.local, c.StallTimeout)
	go talk.sayAlive(ctx)
	sent := make(chan error, 1)
	go func() { sent <- talk.send(q) }()
	res, err := talk.listen()
	impatient := time.AfterFunc(closeGrace, func() { cancel(ErrStalled) })
	closeErr := link.close()
	impatient.Stop()
	if err == nil {
		return res, nil
	}
	return Result{}, c.explain(ctx, host, err, closeErr, firstOf(sent))
}

// closeGrace is how long the program may take to end once the conversation is over.
const closeGrace = 30 * time.Second

// firstOf takes what the sending side said, if it has ended.
func firstOf(sent <-chan error) error {
	select {
	case err := <-sent:
		return err
	case <-time.After(aliveInterval):
		return nil
	}
}

// pipeSize of the pipes that a payload goes through, bytes.
const pipeSize = 1 << 20

// widen makes a pipe hold more, which only saves switches between processes: one that
// is no pipe, or may not grow, stays as it is.
func widen(pipe uintptr) { _, _ = unix.FcntlInt(pipe, unix.F_SETPIPE_SZ, pipeSize) }

// link is a running agent's two pipes.
type link struct {
	in, out *os.File
	done    chan error
}

func (c *Client) dial(ctx context.Context, host Host) (*link, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	for _, pipe := range []*os.File{in, out} {
		widen(pipe.Fd())
	}
	l := &link{in: in, out: out, done: make(chan error, 1)}
	go func() {
		_, err := c.Runner.Run(ctx, run.Cmd{Path: host.Argv[0], Args: host.Argv[1:], Stdin: childIn, Stdout: childOut})
		_, _ = childIn.Close(), childOut.Close() // so that this end sees the end of the file
		l.done <- err
	}()
	return l, nil
}

// close ends the conversation and returns how the program ended. Both pipes go first:
// an agent that still talks must not wait for a listener.
func (l *link) close() error {
	_ = errors.Join(l.in.Close(), l.out.Close()) // the agent takes this as the end
	return <-l.done
}

// explain chooses the error that tells most: what the agent said, what went wrong at
// this end, why we gave up, and last how ssh or sudo ended.
func (c *Client) explain(ctx context.Context, host Host, err, closeErr, sendErr error) error {
	var remote *RemoteError
	var local *localError
	var ended *endedError
	var failed *run.Error
	cause := context.Cause(ctx)
	switch {
	case errors.As(err, &remote):
		remote.Host = host.Name
		if errors.As(sendErr, &local) {
			return local.Err
		}
		return remote
	case errors.As(err, &local):
		return local.Err
	case errors.Is(cause, ErrStalled):
		return fmt.Errorf("%s: %w; what it did there is not known: run tm-clvm volumes", host.Name, cause)
	case cause != nil:
		return fmt.Errorf("interrupted (%w); %s takes back what it began", cause, host.Name)
	case errors.Is(err, ErrUnreachable) && errors.As(err, &ended) && errors.As(closeErr, &failed):
		return fmt.Errorf("%s: %w%s: %w%s", host.Name, ErrUnreachable, ended.noise, failed, adviceFor(failed))
	case errors.As(err, &ended) && errors.As(closeErr, &failed):
		return fmt.Errorf("%s: %w: %w%s", host.Name, err, failed, adviceFor(failed))
	}
	return fmt.Errorf("%s: %w", host.Name, err)
}

// adviceFor knows what usually helps.
func adviceFor(e *run.Error) string {
	switch text := e.Stderr; {
	case strings.Contains(text, "password is required"), strings.Contains(text, "a terminal is required"):
		return "; install sudoers.d/one-clvm on that node"
	case strings.Contains(text, "command not found"), strings.Contains(text, "No such file"):
		return "; install one-clvm on that node, or correct AGENT in cxmrc"
	case strings.Contains(text, "Host key verification"):
		return "; add the node's host key to oneadmin's known_hosts"
	case strings.Contains(text, "Permission denied"):
		return "; oneadmin's key is not accepted there"
	}
	return ""
}

// conversation is one Do.
type conversation struct {
	*Client
	host     Host
	transfer Transfer
	frames   *frameWriter
	reader   *frameReader
	seen     atomic.Int64
	local    atomic.Bool // this end is busy, the node's silence means nothing
}

// localError is a failure at this end: of the payload's source, or of where it goes.
type localError struct{ Err error }

func (e *localError) Error() string { return e.Err.Error() }
func (e *localError) Unwrap() error { return e.Err }

// here marks an error as one of this end.
func here(err error) error {
	if err == nil {
		return nil
	}
	return &localError{err}
}

// send greets, asks, and sends the payload. Nothing is awaited in between: one
// round trip.
func (t *conversation) send(q Request) error {
	if err := t.frames.greet(t.Version); err != nil {
		return err
	}
	if err := t.frames.writeJSON(frameRequest, q); err != nil {
		return err
	}
	if t.transfer.Send == nil {
		return nil
	}
	w := newPayloadWriter(t.frames)
	err := t.transfer.Send(w)
	switch {
	case w.broken != nil:
		return w.broken // the agent has said why, or is gone
	case err != nil:
		return errors.Join(here(err), t.frames.write(frameAbort, []byte(err.Error())))
	}
	return w.close()
}

// sayAlive keeps the node from giving up on this end. A write may wait for a long
// time, behind a payload that the node is not ready for.
func (t *conversation) sayAlive(ctx context.Context) {
	atIntervals(ctx, func() bool { return t.frames.write(frameAlive, nil) != nil }) // listen sees the same end
}

// listen handles what the agent says until its result or error.
func (t *conversation) listen() (Result, error) {
	_, err := t.reader.greeting(t.host.Name)
	var ended *endedError
	if errors.As(err, &ended) {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if err != nil {
		return Result{}, err
	}
	var in incoming
	for {
		kind, payload, err := t.reader.read()
		if err != nil {
			return Result{}, fmt.Errorf("%w: %w", ErrStream, &endedError{"the agent ended without a result", "", err})
		}
		t.seen.Store(time.Now().UnixNano())
		switch kind {
		case frameResult:
			return in.result(payload)
		case frameError:
			return Result{}, decodeError(payload)
		}
		t.local.Store(true)
		err = t.handle(kind, payload, &in)
		t.local.Store(false)
		if err != nil {
			return Result{}, err
		}
	}
}

func decodeError(payload []byte) error {
	remote := &RemoteError{}
	if err := json.Unmarshal(payload, remote); err != nil {
		return fmt.Errorf("%w: error frame: %w", ErrProtocol, err)
	}
	return remote
}

// incoming is the payload that comes back from a save.
type incoming struct {
	start *Start
	to    io.Writer
	check *payloadCheck
	whole bool
}

func (in *incoming) result(payload []byte) (Result, error) {
	var res Result
	if err := json.Unmarshal(payload, &res); err != nil {
		return res, fmt.Errorf("%w: result: %w", ErrProtocol, err)
	}
	if in.start != nil && !in.whole {
		return res, fmt.Errorf("%w: no trailer", ErrStream)
	}
	return res, nil
}

func (t *conversation) handle(kind frameType, payload []byte, in *incoming) error {
	if in.whole && (kind == frameStart || kind == frameData || kind == frameTrailer) {
		return fmt.Errorf("%w: frame %q behind the trailer", ErrProtocol, kind)
	}
	switch kind {
	case frameLog:
		return decodeTo(payload, t.OnLog)
	case frameProgress:
		return decodeTo(payload, t.OnProgress)
	case frameStart:
		return t.startReceiving(payload, in)
	case frameData:
		if in.start == nil {
			return fmt.Errorf("%w: data before its start", ErrProtocol)
		}
		in.check.add(payload)
		_, err := in.to.Write(payload)
		return here(err)
	case frameTrailer:
		return t.finishReceiving(payload, in)
	}
	return fmt.Errorf("%w: unexpected frame %q", ErrProtocol, kind)
}

func decodeTo[T any](payload []byte, to func(T)) error {
	var v T
	if err := json.Unmarshal(payload, &v); err != nil {
		return fmt.Errorf("%w: %T: %w", ErrProtocol, v, err)
	}
	if to != nil {
		to(v)
	}
	return nil
}

func (t *conversation) startReceiving(payload []byte, in *incoming) error {
	if t.transfer.Receive == nil {
		return fmt.Errorf("%w: a payload that was not asked for", ErrProtocol)
	}
	in.start = &Start{}
	if err := json.Unmarshal(payload, in.start); err != nil {
		return fmt.Errorf("%w: start: %w", ErrProtocol, err)
	}
	in.check = newPayloadCheck()
	var err error
	in.to, err = t.transfer.Receive(*in.start)
	return here(err)
}

func (t *conversation) finishReceiving(trailer []byte, in *incoming) error {
	if in.start == nil {
		return fmt.Errorf("%w: trailer before its start", ErrProtocol)
	}
	if err := in.check.verify(trailer); err != nil {
		return err
	}
	in.whole = true
	if t.transfer.Received != nil {
		if err := t.transfer.Received(*in.start); err != nil {
			return here(err)
		}
	}
	_ = t.frames.write(frameResult, nil) // an agent that does not wait for it may have ended
	return nil
}
