package datastore

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// planSnapshot: an image has the snapshots that were taken while a VM used it in place. oned
// asks for images that no VM uses.
func (d *Driver) planSnapshot(ctx context.Context, c *call) ([]plan.Step, error) {
	if path, ok := c.ownFile(c.Image.Source); ok {
		return nil, fmt.Errorf("%w: %s is a file on the front-end, which has no snapshots", ErrRefused, path)
	}
	image, err := c.ownVolume()
	if err != nil {
		return nil, err
	}
	number := c.Image.TargetSnapshot
	if number == opennebula.None {
		return nil, fmt.Errorf("%w: TARGET_SNAPSHOT is missing", opennebula.ErrDocument)
	}
	q, what := c.request(agent.OpRevertImage), "bring image %d back to snapshot %d"
	switch c.verb {
	case "snap_delete":
		q.Op, what = agent.OpDropImage, "remove from image %d its snapshot %d"
	case "snap_flatten":
		q.Remove, what = true, "bring image %d back to snapshot %d, and remove all of its snapshots"
	}
	q.Image, q.Snapshot = image, &number
	host, err := d.NodeOfDatastore(ctx, c.cfg, &c.Datastore)
	if err != nil {
		return nil, err
	}
	return []plan.Step{{What: fmt.Sprintf(what, image.ID, number), Host: host, Request: q}}, nil
}
