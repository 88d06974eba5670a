package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"one-clvm/agent"
	"one-clvm/opennebula"
)

// Records are what oned is asked for; *opennebula.Client has them.
type Records interface {
	Hosts(ctx context.Context) ([]opennebula.Host, error)
	VMs(ctx context.Context) ([]opennebula.VM, error)
	Datastores(ctx context.Context) ([]opennebula.Datastore, error)
	Hooks(ctx context.Context) ([]opennebula.Hook, error)
	DaemonConfig(ctx context.Context) (*opennebula.DaemonConfig, error)
}

// Ask asks the agent of a node.
type Ask func(ctx context.Context, node string, q agent.Request) (agent.Result, error)

// ErrNothing means: there is nothing to look at.
var ErrNothing = errors.New("nothing to look at")

// Look puts a view together: first oned is asked, then all nodes at once. Without names
// the nodes are the hosts of oned that nobody set aside. ErrNothing without any node.
func Look(ctx context.Context, front FrontEnd, records Records, ask Ask, operation func() string, names []string) (*View, error) {
	v := &View{FrontEnd: front, Oned: lookAtOned(ctx, records)}
	if len(names) == 0 {
		for _, h := range v.Oned.Hosts {
			if !h.SetAside() {
				names = append(names, h.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil, errors.Join(fmt.Errorf("%w: no host is known; name one with --node", ErrNothing), v.Oned.Err)
	}
	v.Nodes = make([]Node, len(names))
	var group errgroup.Group
	group.SetLimit(32)
	for i, name := range names {
		group.Go(func() error {
			v.Nodes[i] = lookAtNode(ctx, front, ask, operation(), name)
			return nil
		})
	}
	return v, group.Wait()
}

func lookAtNode(ctx context.Context, front FrontEnd, ask Ask, operation, name string) Node {
	n := Node{Name: name, Asked: time.Now()}
	if n.Err = opennebula.CheckHost(name); n.Err != nil {
		return n
	}
	res, err := ask(ctx, name, agent.Request{Op: agent.OpFacts, Operation: operation, FrontEnd: front.Name})
	n.Answered, n.Facts, n.Err = time.Now(), res.Facts, err
	if err == nil && n.Facts == nil {
		n.Err = errors.New("the agent answered without facts: install the same release on both ends")
	}
	return n
}

// lookAtOned asks for everything; one that is not told is not judged.
func lookAtOned(ctx context.Context, records Records) Oned {
	o := Oned{Unasked: map[string]error{}}
	if o.Hosts, o.Err = records.Hosts(ctx); o.Err != nil {
		return o
	}
	var mutex sync.Mutex
	var group errgroup.Group
	part := func(name string, do func() error) {
		group.Go(func() error {
			if err := do(); err != nil {
				mutex.Lock()
				defer mutex.Unlock()
				o.Unasked[name] = err
			}
			return nil
		})
	}
	part("VMs", func() (err error) { o.VMs, err = records.VMs(ctx); return err })
	part("datastores", func() (err error) { o.Datastores, err = records.Datastores(ctx); return err })
	part("hooks", func() (err error) { o.Hooks, err = records.Hooks(ctx); return err })
	part("oned.conf", func() (err error) { o.Daemon, err = records.DaemonConfig(ctx); return err })
	_ = group.Wait() // parts do not fail
	if o.Daemon != nil {
		o.Hooks = append(o.Hooks, o.Daemon.HostHooks()...)
	}
	return o
}
