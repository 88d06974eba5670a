package cluster

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"one-clvm/lab/qemu"
)

// Kill cuts the node's power.
func (n *Node) Kill() error { return n.spec.PowerOff() }

// Pause freezes the node: to the others it looks dead, but it can come back.
func (n *Node) Pause() error { return n.spec.Signal(unix.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() error { return n.spec.Signal(unix.SIGCONT) }

// Link is a network interface of a node.
type Link string

// The links.
const (
	Private    Link = qemu.PrivateLink    // to the other nodes: cluster membership, dlm
	Management Link = qemu.ManagementLink // ssh
)

// Cut unplugs the link; the node's interface loses its carrier.
func (n *Node) Cut(ctx context.Context, l Link) error { return n.spec.SetLink(ctx, string(l), false) }

// Heal plugs the link in again.
func (n *Node) Heal(ctx context.Context, l Link) error { return n.spec.SetLink(ctx, string(l), true) }

// SlowDisks lets the node's path to the SAN do so many requests a second, on each disk;
// 0 is no limit.
func (n *Node) SlowDisks(ctx context.Context, perSecond int) error {
	var errs []error
	for _, d := range n.spec.Disks {
		errs = append(errs, n.spec.Throttle(ctx, d, perSecond))
	}
	return errors.Join(errs...)
}

// BreakDisks makes every request of the node to the SAN fail at once: the kernel takes
// the paths for gone. What dlm and sanlock make of it is theirs.
func (n *Node) BreakDisks(ctx context.Context) error {
	return errors.Join(n.BreakPath(ctx, GroupPath), n.BreakPath(ctx, homePath))
}

// MendDisks ends BreakDisks.
func (n *Node) MendDisks(ctx context.Context) error {
	return errors.Join(n.MendPath(ctx, GroupPath), n.MendPath(ctx, homePath))
}
