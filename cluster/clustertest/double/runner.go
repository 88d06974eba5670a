package double

import (
	"context"
	"fmt"
	"io"
	"sync"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// Node is one node of tools that serve in this process, for several callers at once. It
// implements run.Runner.
type Node struct {
	Name  string
	Tools Tools
	Guard *sync.Mutex
	Clock cluster.Clock // what a call takes is slept on it
}

// Run implements run.Runner.
func (n *Node) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if err := ctx.Err(); err != nil {
		return run.Result{Status: -1}, err
	}
	var stdin []byte
	if c.Stdin != nil {
		var err error
		if stdin, err = io.ReadAll(c.Stdin); err != nil {
			return run.Result{Status: -1}, err
		}
	}
	n.Guard.Lock()
	reply := n.Tools.Call(n.Name, c.Path, c.Args, string(stdin), n.Clock.Now())
	n.Guard.Unlock()
	if reply.Hangs {
		<-ctx.Done()
	}
	if err := n.Clock.Sleep(ctx, reply.Took); err != nil { // the call is given up, what it began goes on
		return run.Result{Status: -1}, err
	}
	return Result(c, reply)
}

// Result is a reply as internal/run tells it.
func Result(c run.Cmd, r Reply) (run.Result, error) {
	res := run.Result{Stdout: []byte(r.Stdout), Stderr: []byte(r.Stderr), Status: r.Status}
	switch {
	case r.Hangs:
		return run.Result{Status: -1}, &run.Error{Argv: append([]string{c.Path}, c.Args...), Status: -1, Err: context.DeadlineExceeded}
	case r.Status == 0:
		return res, nil
	}
	return res, &run.Error{Argv: append([]string{c.Path}, c.Args...), Status: r.Status, Stderr: r.Stderr, Err: fmt.Errorf("exit status %d", r.Status)}
}

// Installed runs the installed programs of a node. It implements run.Runner.
type Installed struct{ Dir, Node string }

// Run implements run.Runner.
func (i Installed) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	c.Path = Program(i.Dir, i.Node, c.Path)
	return run.Exec{}.Run(ctx, c)
}
