package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"one-clvm/lab/wire"
)

// control is the connection to a node's serial port. Requests share it.
type control struct {
	connection net.Conn
	out        *wire.Writer

	mutex    sync.Mutex
	last     uint32
	requests map[uint32]*pending
	broken   error // why nothing can be asked any more
}

// pending is a request that was not answered yet.
type pending struct {
	stdout, stderr io.Writer
	writeErr       error
	done           chan struct{} // closed with result or err set
	result         wire.Result
	err            error
}

// connect opens the port and waits until the node answers on it.
func connect(ctx context.Context, socket string) (*control, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c := &control{connection: connection, out: wire.NewWriter(connection), requests: map[uint32]*pending{}}
	if err := c.hello(ctx); err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	go c.receive()
	return c, nil
}

// hello greets until the answer comes. QEMU throws away what the node sent while nobody
// was connected, but the rest of a frame may come first.
func (c *control) hello(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.connection.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	greeting := fmt.Appendf(nil, "hello %d", time.Now().UnixNano())
	if err := c.out.Write(wire.Frame{Kind: wire.Hello, Payload: greeting}); err != nil {
		return err
	}
	var seen []byte
	for one := make([]byte, 1); !bytes.HasSuffix(seen, greeting); {
		if _, err := io.ReadFull(c.connection, one); err != nil {
			return fmt.Errorf("the node does not answer: %w", errors.Join(err, ctx.Err()))
		}
		seen = append(seen, one...)
	}
	return nil
}

// receive gives what comes to the requests, until the connection ends.
func (c *control) receive() {
	for {
		frame, err := wire.Read(c.connection)
		if err != nil {
			c.fail(fmt.Errorf("the node's port was closed: %w", err))
			return
		}
		c.mutex.Lock()
		p := c.requests[frame.ID]
		c.mutex.Unlock()
		if p == nil {
			continue // given up by its caller
		}
		switch frame.Kind {
		case wire.Stdout:
			p.write(p.stdout, frame.Payload)
		case wire.Stderr:
			p.write(p.stderr, frame.Payload)
		case wire.Done:
			p.err = errors.Join(json.Unmarshal(frame.Payload, &p.result), p.writeErr)
			c.forget(frame.ID)
			close(p.done)
		}
	}
}

func (p *pending) write(to io.Writer, data []byte) {
	if _, err := to.Write(data); err != nil && p.writeErr == nil {
		p.writeErr = err
	}
}

func (c *control) fail(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.broken = err
	for id, p := range c.requests {
		p.err = err
		close(p.done)
		delete(c.requests, id)
	}
}

func (c *control) forget(id uint32) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.requests, id)
}

// usable says whether the connection still works.
func (c *control) usable() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.broken == nil
}

// ask sends a request and waits for its result. At the end of ctx what the request
// started is cancelled, unless it must go on.
func (c *control) ask(ctx context.Context, request wire.Request, stdin io.Reader, stdout, stderr io.Writer) (wire.Result, error) {
	if err := ctx.Err(); err != nil {
		return wire.Result{}, err
	}
	p := &pending{stdout: stdout, stderr: stderr, done: make(chan struct{})}
	c.mutex.Lock()
	if c.broken != nil {
		defer c.mutex.Unlock()
		return wire.Result{}, c.broken
	}
	c.last++
	id := c.last
	c.requests[id] = p
	c.mutex.Unlock()

	if err := c.out.WriteJSON(id, wire.Start, request); err != nil {
		c.forget(id)
		return wire.Result{}, err
	}
	go c.feed(id, stdin)
	select {
	case <-p.done:
		if p.err == nil && p.result.Error != "" {
			return p.result, errors.New(p.result.Error)
		}
		return p.result, p.err
	case <-ctx.Done():
		c.forget(id)
		if !request.Writer {
			_ = c.out.Write(wire.Frame{ID: id, Kind: wire.Cancel}) // a port that is gone has nothing to cancel
		}
		return wire.Result{Status: -1}, ctx.Err()
	}
}

// feed sends a request's input. An error is that of the connection, which ends the
// request anyway.
func (c *control) feed(id uint32, stdin io.Reader) {
	if stdin != nil {
		// The other side takes a frame at a time: smaller ones let others in between.
		if _, err := io.CopyBuffer(c.out.Stream(id, wire.Data), struct{ io.Reader }{stdin}, make([]byte, 32<<10)); err != nil {
			return
		}
	}
	_ = c.out.Write(wire.Frame{ID: id, Kind: wire.End})
}

func (c *control) close() { _ = c.connection.Close() } // nothing is lost
