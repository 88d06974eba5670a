package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// remove removes a disk, or every disk and the home of a VM. What is not there any
// more is fine: the caller wants it gone.
func (c *session) remove(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if err := c.refuseForeign(g, v); err != nil {
			return err
		}
		if !c.isDisk(v) || v.Origin != "" { // snapshots go with their disks
			continue
		}
		done := c.begin("remove volume " + v.Name)
		err := c.discardDisk(ctx, g, volumes, v)
		done(err)
		if err != nil {
			return err
		}
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

// discard takes a volume away for good: out of reach first (quarantine), then wiped,
// then removed. What a crash leaves after each step carries the tags of its VM and
// the tag quarantine, and is found by them when the same disk is removed or made again.
func (c *session) discard(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	if v.Open {
		return &lvm.Error{Op: "remove", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: end what has it open on this node first", lvm.ErrInUse)}
	}
	v, err := c.quarantine(ctx, g, v)
	if err != nil {
		return err
	}
	if c.Config.WipeOnDelete {
		how := c.Config.Zero
		if how == ZeroClean {
			how = ZeroAuto
		}
		if _, err := c.zeroDevice(ctx, v, how); err != nil {
			return fmt.Errorf("volume %s stays in quarantine, its blocks are not handed out again: %w", v.Name, err)
		}
		failpoint.Hit("discard.wiped")
	}
	return g.Remove(ctx, v.Name)
}

// quarantine proves that no other node has the volume, marks it, and takes its name.
func (c *session) quarantine(ctx context.Context, g lvm.Group, v lvm.Volume) (lvm.Volume, error) {
	if _, err := g.Activate(ctx, v.Name, lvm.Exclusive); err != nil {
		return v, err
	}
	if _, err := g.Tag(ctx, v.Name, lvm.NewTags(lvm.TagQuarantine), lvm.NewTags(lvm.TagBuilding, lvm.TagParked)); err != nil {
		return v, err
	}
	failpoint.Hit("discard.tagged")
	if name, err := lvm.ParseName(c.Config.Prefix, v.Name); err == nil && name.Kind == lvm.KindQuarantine {
		return g.Volume(ctx, v.Name)
	}
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	to := lvm.QuarantineName(c.Config.Prefix, hex.EncodeToString(id)).String()
	if err := g.Rename(ctx, v.Name, to); err != nil {
		return v, err
	}
	failpoint.Hit("discard.renamed")
	return g.Volume(ctx, to)
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
