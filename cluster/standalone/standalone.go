// Package standalone is the stack of a node outside any cluster: only libvirt is asked.
// Nothing restarts a VM there, and nothing but the volumes' locks keeps two nodes apart.
package standalone

import (
	"context"

	"one-clvm/cluster"
	"one-clvm/cluster/virsh"
)

// Name of the stack.
const Name = "standalone"

// Stack implements cluster.Stack.
type Stack struct {
	Virsh    *virsh.Client
	Document func() (string, error) // the order's domain, checked
}

// Name implements cluster.Stack.
func (*Stack) Name() string { return Name }

// Observe implements cluster.Stack.
func (p *Stack) Observe(ctx context.Context, s cluster.Service) (cluster.State, error) {
	domain, _ := p.Virsh.State(ctx, s)
	return cluster.State{Domain: domain}, nil
}

// Commands implements cluster.Stack.
func (p *Stack) Commands(o cluster.Order, s cluster.Step) ([]cluster.Command, error) {
	return p.Virsh.Commands(o, s, p.Document)
}
