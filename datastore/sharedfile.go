package datastore

import (
	"context"
	"errors"
	"fmt"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// planShared looks at a file that all nodes share, on one of them, and says what it found. The
// image is that file: it is never copied, and never removed.
func (d *Driver) planShared(ctx context.Context, c *call, then func(agent.Result) error) ([]plan.Step, error) {
	host, err := d.NodeOfDatastore(ctx, c.cfg, &c.Datastore)
	if err != nil {
		return nil, err
	}
	q := agent.Request{Op: agent.OpStatFile, Operation: plan.NewOperation(), Path: c.Image.Path}
	return []plan.Step{{What: "look at " + q.Path + ", which all nodes share", Host: host, Request: q, Then: then}}, nil
}

// planUseShared makes an image of such a file. One that VMs write to, each on its own, it
// cannot be; nor one of two images that somebody writes to: oned keeps the VMs of one image
// apart, not those of one file.
func (d *Driver) planUseShared(ctx context.Context, c *call) ([]plan.Step, error) {
	if c.Image.Type != opennebula.ImageCDROM && !c.Image.Persistent {
		return nil, fmt.Errorf("%w: %s is shared by all nodes (SHARED_DIRS), and linked, never copied: make the image a CDROM or persistent", ErrRefused, c.Image.Path)
	}
	other, err := d.Records.ImageBySource(ctx, c.Image.Path)
	switch {
	case errors.Is(err, opennebula.ErrNoSuchObject):
	case err != nil:
		return nil, err
	case other.ID != c.Image.ID && (c.Image.Type != opennebula.ImageCDROM || other.Type != opennebula.ImageCDROM):
		return nil, fmt.Errorf("%w: %s is image %d already, and a file that VMs write to is one image alone: use that one, or copy the file", ErrRefused, c.Image.Path, other.ID)
	}
	return d.planShared(ctx, c, d.tell(c.Image.Path))
}
