package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"one-clvm/lvm"
)

// remove removes a disk, or every disk and the home of a VM; images that it used in place
// are given back, and those that a verb was reading when it died are left. What is not there
// any more is fine: the caller wants it gone. The volumes go into quarantine; wiping them
// is left for later (reapQuarantined).
func (c *session) remove(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if err := c.refuseForeign(g, v); err != nil {
			return err
		}
		if c.isLent(v) {
			if err := c.giveBack(ctx, g, volumes, v); err != nil {
				return err
			}
		}
		if !c.isDisk(v) || v.IsSnapshot() { // they go with their disks
			continue
		}
		if err := c.discardDisk(ctx, g, volumes, v); err != nil {
			return err
		}
	}
	if err := c.leaveRead(ctx); err != nil {
		return err
	}
	return c.removeLinks()
}

// isDisk says by its tags whether a volume is the disk, or one of the disks, of the
// request's VM. Tags compare whole, so VM 1 never means VM 10; images are not disks.
func (c *session) isDisk(v lvm.Volume) bool {
	ours := v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, c.req.VM)) && v.Tags.Get(lvm.TagImage) == ""
	return ours && (c.req.Disk == AllDisks || v.Tags.Has(lvm.KeyTag(lvm.TagDisk, c.req.Disk)))
}

// refuseForeign stops at a volume that has the name of the VM's disk but not its
// tags: nobody knows whose it is, so it is neither removed nor passed over in silence.
func (c *session) refuseForeign(g lvm.Group, v lvm.Volume) error {
	name, err := lvm.ParseName(c.Config.Prefix, v.Name)
	if err != nil || name.Kind != lvm.KindDisk || name.VM != c.req.VM || c.isDisk(v) || v.Origin != "" {
		return nil //nolint:nilerr // a name outside our grammar is simply not ours
	}
	if c.req.Disk != AllDisks && name.Disk != c.req.Disk {
		return nil
	}
	return &lvm.Error{Op: "remove", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("it is named as a disk of VM %d but does not carry its tags (%q): look at it and remove it by hand", c.req.VM, v.Tags)}
}

func (c *session) removeLinks() error {
	if c.req.Home == "" {
		return nil
	}
	if c.req.Disk == AllDisks {
		return c.removeHome()
	}
	home, err := c.openHome(false)
	if errors.Is(err, errNoHome) {
		return nil
	}
	if err != nil {
		return err
	}
	defer home.close()
	return home.remove(fmt.Sprintf("disk.%d", c.req.Disk))
}

func joinClose(err error, closer io.Closer) error {
	return errors.Join(err, closer.Close())
}
