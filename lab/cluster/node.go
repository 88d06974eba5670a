package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"one-clvm/internal/run"
	"one-clvm/lab/qemu"
	"one-clvm/lab/wire"
)

// Node is one machine of the cluster. It is a run.Runner, too: what runs programs through
// one can run them there.
type Node struct {
	Name  string
	Index int // 1 for node1

	spec    qemu.Spec
	machine *qemu.Machine // nil where another process started it

	mutex   sync.Mutex
	control *control
}

var _ run.Runner = (*Node)(nil)

// port is the open connection to the node, made where there is none.
func (n *Node) port(ctx context.Context) (*control, error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.control != nil && n.control.usable() {
		return n.control, nil
	}
	c, err := connect(ctx, n.spec.Ports[0].Socket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	n.control = c
	return c, nil
}

// hangUp gives the port to others.
func (n *Node) hangUp() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.control != nil {
		n.control.close()
		n.control = nil
	}
}

// Run implements run.Runner: it runs a program on the node as root. The way is a serial
// port, so a cut network does not matter.
func (n *Node) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	argv := append([]string{c.Path}, c.Args...)
	fail := func(status int, stderr string, err error) *run.Error {
		return &run.Error{Argv: append([]string{n.Name + ":"}, argv...), Status: status, Stderr: stderr, Err: err}
	}
	port, err := n.port(ctx)
	if err != nil {
		return run.Result{Status: -1}, fail(-1, "", err)
	}
	var stdout, stderr bytes.Buffer
	outWriter, errWriter := io.Writer(&stdout), io.Writer(&stderr)
	if c.Stdout != nil {
		outWriter = c.Stdout
	}
	if c.Stderr != nil {
		errWriter = c.Stderr
	}
	request := wire.Request{Operation: wire.Run, Argv: argv, Env: c.Env, Writer: c.Writer}
	answer, err := port.ask(ctx, request, c.Stdin, outWriter, errWriter)
	if err != nil && ctx.Err() != nil && c.Writer {
		err = fmt.Errorf("%w (%w)", run.ErrStillRunning, ctx.Err())
	}
	if err != nil {
		return run.Result{Status: -1}, fail(-1, "", err)
	}
	result := run.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Status: answer.Status}
	if answer.Status != 0 {
		return result, fail(answer.Status, stderr.String(), fmt.Errorf("exit status %d", answer.Status))
	}
	return result, nil
}

// Output runs a program on the node as root and returns what it wrote to its standard
// output. A status other than 0 is a *run.Error.
func (n *Node) Output(ctx context.Context, argv ...string) (string, error) {
	result, err := n.Run(ctx, run.Cmd{Path: argv[0], Args: argv[1:]})
	return string(result.Stdout), err
}

// OneadminID is the user and group of oneadmin, on nodes and elsewhere.
const OneadminID = 9869

// Put writes a file on the node, with the directories above it. Owner is a user and its
// group.
func (n *Node) Put(ctx context.Context, path string, content io.Reader, mode os.FileMode, owner int) error {
	port, err := n.port(ctx)
	if err == nil {
		request := wire.Request{Operation: wire.Put, Path: path, Mode: uint32(mode), Owner: owner}
		_, err = port.ask(ctx, request, content, io.Discard, io.Discard)
	}
	if err != nil {
		return fmt.Errorf("put %s on %s: %w", path, n.Name, err)
	}
	return nil
}

// PutFile copies a file of this machine to the node; it is root's there.
func (n *Node) PutFile(ctx context.Context, from, to string, mode os.FileMode) error {
	return n.putFile(ctx, file{from, to, mode, 0})
}

func (n *Node) putFile(ctx context.Context, f file) error {
	content, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer content.Close() // only read
	return n.Put(ctx, f.to, content, f.mode, f.owner)
}

// write writes to a file that is there, like those of the kernel.
func (n *Node) write(ctx context.Context, path, text string) error {
	_, err := n.Run(ctx, run.Cmd{Path: "dd", Args: []string{"of=" + path, "conv=notrunc", "status=none"}, Stdin: strings.NewReader(text)})
	return err
}

// ready waits until the node's services are up, after giving it the time.
func (n *Node) ready(ctx context.Context) error {
	var port *control
	for {
		var err error
		attempt, cancel := context.WithTimeout(ctx, time.Minute)
		port, err = n.port(attempt)
		cancel()
		if err == nil {
			break
		}
		select {
		case <-n.machine.Ended():
			return fmt.Errorf("%s: QEMU has ended; its console says: %s", n.Name, n.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%w; its console says: %s", err, n.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
	for _, request := range []wire.Request{{Operation: wire.Clock, Now: time.Now().UnixNano()}, {Operation: wire.Ready}} {
		if _, err := port.ask(ctx, request, nil, io.Discard, io.Discard); err != nil {
			return fmt.Errorf("%s: %s: %w; its console says: %s", n.Name, request.Operation, err, n.lastWords())
		}
	}
	return nil
}

// lastWords are the end of the node's console.
func (n *Node) lastWords() string {
	text, err := os.ReadFile(n.spec.Console())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "; ")
}

// Running says whether the node has power.
func (n *Node) Running() (bool, error) {
	_, err := n.spec.PID()
	if errors.Is(err, qemu.ErrNotRunning) {
		return false, nil
	}
	return err == nil, err
}

// Console is the file with what the node wrote to its console.
func (n *Node) Console() string { return n.spec.Console() }
