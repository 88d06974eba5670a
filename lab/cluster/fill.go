package cluster

import (
	"context"
	"errors"
	"fmt"

	"one-clvm/internal/run"
)

// Filler is the name of what FillGroup and FillHome make.
const Filler = "lab-filler"

// FillGroup takes all free extents of the volume group with one inactive volume.
func (n *Node) FillGroup(ctx context.Context) error {
	_, err := n.Output(ctx, "lvcreate", "-qq", "-y", "-an", "-Zn", "-l", "100%FREE", "-n", Filler, Group)
	if err != nil {
		return fmt.Errorf("fill the volume group: %w", err)
	}
	return nil
}

// FillHome takes the space of the system datastore with files, until no file of more than
// so many bytes fits any more.
func (n *Node) FillHome(ctx context.Context, leave int64) error {
	free, err := n.Output(ctx, "stat", "-f", "-c", "%a %S", Home)
	if err != nil {
		return fmt.Errorf("fill the datastore: %w", err)
	}
	var blocks, unit int64
	if _, err := fmt.Sscan(free, &blocks, &unit); err != nil {
		return fmt.Errorf("fill the datastore: %q: %w", free, err)
	}
	// A file system keeps some for itself; how much is its own business.
	for size, file := blocks*unit, 0; size > leave; file++ {
		path := fmt.Sprintf("%s/%s-%d", Home, Filler, file)
		_, err := n.Output(ctx, "fallocate", "-l", fmt.Sprint(size), path)
		var failed *run.Error
		if err != nil && (!errors.As(err, &failed) || failed.Status < 0) {
			return fmt.Errorf("fill the datastore: %w", err)
		}
		if err != nil {
			size /= 2
		}
	}
	return nil
}
