package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"one-clvm/lab/wire"
)

// Files in the lab's directory about fencing.
const (
	refusalName  = "fencing-refused" // while it is there, the fence device does nothing
	fenceLogName = "fence.log"
)

// fenceDevice is the power switch of the nodes. Each has a line of its own to it.
type fenceDevice struct {
	directory string
	nodes     []*Node
	listeners []net.Listener
	mutex     sync.Mutex // one request after the other
}

func (c *Cluster) startFenceDevice() error {
	c.fence = &fenceDevice{directory: c.Directory, nodes: c.Nodes}
	for _, n := range c.Nodes {
		listener, err := net.Listen("unix", fenceSocket(c.Directory, n.Name)) //nolint:noctx // at once
		if err != nil {
			return fmt.Errorf("fence device: %w", err)
		}
		c.fence.listeners = append(c.fence.listeners, listener)
		go c.fence.serve(listener, n)
	}
	return nil
}

func fenceSocket(directory, name string) string { return filepath.Join(directory, name+".fence") }

func (f *fenceDevice) close() {
	for _, listener := range f.listeners {
		_ = listener.Close() // the sockets go with the directory
	}
}

// serve answers one node, also after it was off.
func (f *fenceDevice) serve(listener net.Listener, asker *Node) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return // closed
		}
		go f.answer(connection, asker)
	}
}

func (f *fenceDevice) answer(connection net.Conn, asker *Node) {
	defer connection.Close() // what counts was said
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		answer := f.request(asker, strings.TrimPrefix(lines.Text(), "off "))
		if _, err := fmt.Fprintln(connection, answer); err != nil {
			return // the node that asked is gone
		}
	}
}

// request is one node's wish to switch another off. Of two that want each other off the
// first wins: a node without power asks for nothing.
func (f *fenceDevice) request(asker *Node, name string) string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	answer := wire.FenceDone
	if on, err := asker.Running(); err != nil || !on {
		answer = "the node that asks is off"
	} else if err := f.off(name); err != nil {
		answer = err.Error()
	}
	f.log(fmt.Sprintf("%s: off %s: %s", asker.Name, name, answer))
	return answer
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
