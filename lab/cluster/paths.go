package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Path is the name of a SCSI device on a node that leads to a disk of the SAN.
type Path string

// The paths that a node has from its start: to the volume group's disk, and to that of
// the shared home.
const (
	GroupPath Path = "sda"
	homePath  Path = "sdb"
)

// AddPath gives the node one more path to the volume group's disk, as another port of a
// storage array is one. It knows itself by the same serial number and WWN.
func (n *Node) AddPath(ctx context.Context) (Path, error) {
	before, err := n.paths(ctx)
	if err != nil {
		return "", err
	}
	if err := n.spec.AddPath(ctx, n.spec.Disks[0], len(before)); err != nil {
		return "", fmt.Errorf("%s: one more path: %w", n.Name, err)
	}
	for {
		now, err := n.paths(ctx)
		if err != nil {
			return "", err
		}
		for _, path := range now {
			if !strings.Contains(strings.Join(before, " "), path) {
				_, err := n.Output(ctx, "udevadm", "settle")
				return Path(path), err
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%s: the new path does not appear: %w", n.Name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// paths are the names of the SCSI devices that the node has.
func (n *Node) paths(ctx context.Context) ([]string, error) {
	out, err := n.Output(ctx, "lsblk", "--nodeps", "--noheadings", "--scsi", "--output", "NAME")
	return strings.Fields(out), err
}

// BreakPath makes every request that takes this path fail at once.
func (n *Node) BreakPath(ctx context.Context, p Path) error { return n.setPath(ctx, p, "offline") }

// MendPath ends BreakPath.
func (n *Node) MendPath(ctx context.Context, p Path) error { return n.setPath(ctx, p, "running") }

func (n *Node) setPath(ctx context.Context, p Path, state string) error {
	if err := n.write(ctx, fmt.Sprintf("/sys/block/%s/device/state", p), state+"\n"); err != nil {
		return fmt.Errorf("%s: path %s %s: %w", n.Name, p, state, err)
	}
	return nil
}
