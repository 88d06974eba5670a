// Package pacemaker is the stack of that name. It has all text of Pacemaker's own tools
// (cibadmin, crm_resource, crm_mon, crm_node), which are the same everywhere, and speaks to
// none of the shells above them.
//
// A VM is one primitive and one location constraint, each with an id of its own, and every
// change is one call of cibadmin on these ids: Pacemaker makes it atomic and orders it with
// the changes of others, so that no verb ever writes back what another one has changed.
package pacemaker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"one-clvm/cluster"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
)

// Name of the stack.
const Name = "pacemaker"

// Stack implements cluster.Stack.
type Stack struct {
	Runner   run.Runner
	Virsh    *virsh.Client
	Document func() (string, error) // the order's domain, checked

	node atomic.Pointer[string] // this one's name, once it was asked for: a verb that waits looks often
}

// Name implements cluster.Stack.
func (*Stack) Name() string { return Name }

const disconnected = 102 // CRM_EX_DISCONNECT

// Observe implements cluster.Stack: one report of the cluster, and one question to libvirt; the
// first time this node's name, too.
func (p *Stack) Observe(ctx context.Context, s cluster.Service) (cluster.State, error) {
	report, err := p.report(ctx)
	if err != nil {
		return cluster.State{}, err
	}
	state, err := parseMonitor(bytes.NewReader(report), s.Name)
	if err != nil {
		return state, err
	}
	if state.Self, err = p.self(ctx); err != nil {
		return state, err
	}
	state.Domain, _ = p.Virsh.State(ctx, s)
	return state, nil
}

// report is the cluster's, or cluster.ErrDown.
func (p *Stack) report(ctx context.Context) ([]byte, error) {
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "crm_mon", Args: []string{"-1", "--output-as=xml"}})
	var failed *run.Error
	if errors.As(err, &failed) && failed.Status == disconnected {
		return nil, fmt.Errorf("%w on this node (crm_mon ended with status %d): start pacemaker", cluster.ErrDown, failed.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	return res.Stdout, nil
}

// self is this node's name, which constraints use.
func (p *Stack) self(ctx context.Context) (string, error) {
	if name := p.node.Load(); name != nil {
		return *name, nil
	}
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "crm_node", Args: []string{"-n"}})
	if err != nil {
		return "", fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	name := strings.TrimSpace(string(res.Stdout))
	p.node.Store(&name)
	return name, nil
}

// Commands implements cluster.Stack.
func (p *Stack) Commands(o cluster.Order, s cluster.Step) ([]cluster.Command, error) {
	name := o.Service.Name
	switch s.Action {
	case cluster.Define:
		return change("configuration", true, definition(o.Service, s.Node))
	case cluster.Disable:
		return change("resources", false, wanted(name, "Stopped"))
	case cluster.Freeze:
		return change("resources", true, frozen(name, s.Until))
	case cluster.Thaw:
		return drop("resources", "meta_attributes", frozenID(name)), nil
	case cluster.Prefer:
		return change("constraints", true, location(name, s.Node))
	case cluster.Declare:
		if !known(o.Service) {
			return nil, nil
		}
		return change("resources", true, using(o.Service))
	case cluster.Forget:
		return []cluster.Command{{Program: "crm_resource", Args: []string{"--refresh", "-r", name}}}, nil
	case cluster.Remove: // what refers to it goes first, also what was made while After said something else
		return slices.Concat(drop("constraints", "rsc_location", locationID(name)), drop("constraints", "rsc_order", orderID(name)),
			drop("constraints", "rsc_colocation", colocationID(name)), drop("resources", "primitive", name)), nil
	}
	return p.Virsh.Commands(o, s, p.Document)
}
