package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/lab/wire"
)

// Files in the lab's directory about fencing.
const (
	refusalName  = "fencing-refused" // while it is there, the fence device does nothing
	fenceLogName = "fence.log"
)

// fenceDevice is the power switch of the nodes: they ask it over their serial ports.
type fenceDevice struct {
	directory string
	nodes     []*Node
	listener  net.Listener
}

func (c *Cluster) startFenceDevice() error {
	listener, err := net.Listen("unix", c.fenceSocket()) //nolint:noctx // at once
	if err != nil {
		return fmt.Errorf("fence device: %w", err)
	}
	c.fence = &fenceDevice{directory: c.Directory, nodes: c.Nodes, listener: listener}
	go c.fence.serve()
	return nil
}

func (c *Cluster) fenceSocket() string { return filepath.Join(c.Directory, "fence.sock") }

func (f *fenceDevice) serve() {
	for {
		connection, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		go f.answer(connection)
	}
}

func (f *fenceDevice) answer(connection net.Conn) {
	defer connection.Close() // what counts was said
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		name, _ := strings.CutPrefix(lines.Text(), "off ")
		answer := wire.FenceDone
		if err := f.off(name); err != nil {
			answer = err.Error()
		}
		f.log(fmt.Sprintf("off %s: %s", name, answer))
		if _, err := fmt.Fprintln(connection, answer); err != nil {
			return // the node that asked is gone
		}
	}
}

// off kills the node and returns when it is gone.
func (f *fenceDevice) off(name string) error {
	if _, err := os.Stat(filepath.Join(f.directory, refusalName)); err == nil {
		return errors.New("the fence device refuses")
	}
	for _, n := range f.nodes {
		if n.Name == name {
			return n.spec.PowerOff()
		}
	}
	return fmt.Errorf("no node %q", name)
}

// log notes what the device did, for people and tests.
func (f *fenceDevice) log(text string) {
	file, err := os.OpenFile(filepath.Join(f.directory, fenceLogName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return // the directory is being removed
	}
	_, _ = fmt.Fprintln(file, time.Now().UTC().Format(time.RFC3339Nano), text)
	_ = file.Close() // the log is for reading on, not for deciding
}

// RefuseFencing makes the fence device refuse, or work again.
func (c *Cluster) RefuseFencing(refuse bool) error {
	path := filepath.Join(c.Directory, refusalName)
	if refuse {
		return os.WriteFile(path, nil, 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Fenced are the requests that the fence device got, with its answers.
func (c *Cluster) Fenced() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(c.Directory, fenceLogName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), nil
}

// Kill cuts the node's power.
func (n *Node) Kill() error { return n.spec.PowerOff() }

// Pause freezes the node: to the others it looks dead, but it can come back.
func (n *Node) Pause() error { return n.spec.Signal(unix.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() error { return n.spec.Signal(unix.SIGCONT) }
