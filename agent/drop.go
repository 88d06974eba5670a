package agent

import (
	"context"
	"fmt"

	"one-clvm/lvm"
)

// drop takes away a volume of the VM that an operation began and never completed, and
// nothing else: the VM may have a complete disk of the same number. One that is being
// built holds the VM's lock. What a crash leaves is what discard says; a volume that is
// in quarantine is reap's.
func (c *session) drop(ctx context.Context, g lvm.Group) error {
	v, err := g.Volume(ctx, c.req.Volume)
	if err != nil {
		return err
	}
	if !v.Tags.Has(lvm.TagOurs, lvm.TagBuilding, lvm.KeyTag(lvm.TagVM, c.req.VM)) || v.Tags.Has(lvm.TagQuarantine) || v.Tags.Get(lvm.TagImage) != "" {
		return &lvm.Error{Op: "drop", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("it is no unfinished volume of VM %d (tags: %q): look at it again", c.req.VM, v.Tags)}
	}
	if v.IsSnapshot() {
		return &lvm.Error{Op: "drop", Group: g.Name(), Volume: v.Name, Err: lvm.ErrSnapshots}
	}
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	return c.discardDisk(ctx, g, volumes, v)
}
