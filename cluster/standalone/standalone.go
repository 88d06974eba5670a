// Package standalone is the stack of a node outside any cluster: only the hypervisor is asked.
// Nothing restarts a VM there, and nothing but the volumes' locks keeps two nodes apart.
package standalone

import (
	"context"
	"errors"
	"os"

	"one-clvm/cluster"
	"one-clvm/cluster/xen"
)

// Name of the stack.
const Name = "standalone"

// Xen is what a decision depends on under Xen, for one of its clients: a domain has no reset, a
// guest without drivers of its own ignores a shutdown, and xm restores no domain paused.
func Xen(program string) cluster.Manager {
	return cluster.Manager{Anew: true, Insists: true, Wakes: program == xen.XM}
}

// Stack implements cluster.Stack.
type Stack struct {
	Hypervisor cluster.Hypervisor
	Document   func() (string, error) // the order's domain, checked
	Manager    cluster.Manager        // what a decision depends on, without a cluster
}

// Name implements cluster.Stack.
func (*Stack) Name() string { return Name }

// Observe implements cluster.Stack.
func (p *Stack) Observe(ctx context.Context, s cluster.Service) (cluster.State, error) {
	domain, _ := p.Hypervisor.State(ctx, s)
	return cluster.State{Domain: domain, Manager: p.Manager}, nil
}

// Commands implements cluster.Stack.
func (p *Stack) Commands(o cluster.Order, s cluster.Step) ([]cluster.Command, error) {
	return p.Hypervisor.Commands(o, s, p.Document)
}

// Perform implements cluster.Performer: under Xen a VM has a file of its own.
func (p *Stack) Perform(_ context.Context, o cluster.Order, s cluster.Step) (bool, error) {
	if s.Action != cluster.Remove {
		return false, nil
	}
	if err := os.Remove(o.Service.Definition); err != nil && !errors.Is(err, os.ErrNotExist) {
		return true, err
	}
	return true, nil
}
