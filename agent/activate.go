package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// disks are the VM's volumes that the request means, complete ones only.
func (c *session) disks(ctx context.Context, g lvm.Group) ([]lvm.Volume, error) {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	disks, err := c.disksIn(g, volumes)
	for i, v := range disks {
		disks[i] = c.closeOverdue(ctx, g, v)
	}
	return disks, err
}

func (c *session) disksIn(g lvm.Group, volumes []lvm.Volume) ([]lvm.Volume, error) {
	var out []lvm.Volume
	for _, v := range volumes {
		if !c.isDisk(v) && !c.isLent(v) || v.IsSnapshot() || v.Tags.Has(lvm.TagQuarantine) {
			continue
		}
		if err := c.refuseUndecided(v); err != nil {
			return nil, err
		}
		if v.Tags.Get(tagReverting) != "" && c.req.Op != OpRevert {
			return nil, halfReverted(string(c.req.Op), v)
		}
		if v.Tags.Has(lvm.TagBuilding) {
			return nil, &lvm.Error{Op: string(c.req.Op), Group: g.Name(), Volume: v.Name, Err: errors.New("it was never completed (tag building): deploy the VM again")}
		}
		out = append(out, v)
	}
	if len(out) == 0 && c.req.Disk != AllDisks {
		return nil, &lvm.Error{Op: string(c.req.Op), Group: g.Name(), Volume: c.diskName(), Err: lvm.ErrNotFound}
	}
	return out, nil
}

// activate brings the disks into a mode on this node. A failure or a crash leaves some of
// them in the new mode: the same request again completes it, and the front-end takes it back.
func (c *session) activate(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	disks, err := c.disksIn(g, volumes)
	if err != nil {
		return err
	}
	if c.req.Activate == lvm.Shared {
		if volumes, err = c.withoutTemporary(ctx, g, volumes, ""); err != nil {
			return err
		}
	}
	if err := c.refuseShared(g, volumes, disks); err != nil {
		return err
	}
	for _, v := range disks {
		if err := c.activateOne(ctx, g, v); err != nil {
			return err
		}
		if c.req.Activate != lvm.Off {
			if err := c.adopt(ctx, g, volumes, v); err != nil {
				return err
			}
		}
		failpoint.Hit("activate.one")
	}
	return nil
}

// refuseShared: a disk with snapshots can be active on one node only. It is refused before
// any of the VM's disks changes.
func (c *session) refuseShared(g lvm.Group, volumes, disks []lvm.Volume) error {
	for _, v := range disks {
		if err := c.refuseMoving(volumes, v); err != nil {
			return err
		}
		if found := snapshotsOf(volumes, v); c.req.Activate == lvm.Shared && len(found) > 0 {
			return &lvm.Error{Op: "activate shared", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w, and a volume with snapshots can only be active on one node: no live migration of VM %d: delete its snapshots, or migrate it powered off", lvm.ErrSnapshots, c.req.VM)}
		}
	}
	return nil
}

func (c *session) activateOne(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	if c.req.Activate == lvm.Shared {
		if err := c.openWindow(ctx, g, v); err != nil {
			return err
		}
	}
	if c.req.Activate == lvm.Exclusive {
		if err := c.finishExtend(ctx, g, v); err != nil {
			return err
		}
	}
	v, err := c.setMode(ctx, g, v, c.req.Activate)
	if err != nil {
		return err
	}
	failpoint.Hit("activate.activated")
	c.log("info", "volume %s is active: %s", v.Name, v.Mode)
	if v.Mode != lvm.Off {
		if err := c.give(v); err != nil {
			return err
		}
	}
	if c.req.Activate == lvm.Exclusive {
		if v, err = c.forgetWindow(ctx, g, v); err != nil {
			return err
		}
	}
	if c.req.Activate != lvm.Off && v.Tags.Has(lvm.TagParked) {
		if v, err = g.Tag(ctx, v.Name, nil, lvm.NewTags(lvm.TagParked)); err != nil {
			return err
		}
		failpoint.Hit("activate.unparked")
	}
	if !c.req.Link || v.Mode == lvm.Off {
		return nil
	}
	return c.relink(v)
}

// park takes the disks of a VM that goes to rest off this node and says so in their
// tags. The tag comes first: a crash in between leaves a disk that is known to rest.
func (c *session) park(ctx context.Context, g lvm.Group) error {
	disks, err := c.disks(ctx, g)
	if err != nil {
		return err
	}
	for _, v := range disks {
		if err := released(ctx, g, v, "park", fmt.Sprintf("VM %d still runs on it", c.req.VM)); err != nil {
			return err
		}
		if _, err := g.Tag(ctx, v.Name, lvm.NewTags(lvm.TagParked), nil); err != nil {
			return err
		}
		failpoint.Hit("park.tagged")
		if _, err := c.setMode(ctx, g, v, lvm.Off); err != nil {
			return err
		}
		failpoint.Hit("park.off")
		c.log("info", "volume %s is parked", v.Name)
	}
	return nil
}

// tagUnzeroed is on a volume that was extended and whose new space, from this byte
// on, is not known to be zero yet.
const tagUnzeroed = "unzeroed"

// extend grows a disk; its file system is the guest's. The new space is zeroed before
// anybody is told of it. The offset from which it is dirty is tagged first, so that
// after a crash the same request goes on where it has to.
func (c *session) extend(ctx context.Context, g lvm.Group) (Result, error) {
	volumes, v, err := c.oneDisk(ctx, g)
	if err != nil {
		return Result{}, err
	}
	if err := refuseClone(v, "extend", "it has the size of its image for good"); err != nil {
		return Result{}, err
	}
	if volumes, err = c.withoutTemporary(ctx, g, volumes, v.Name); err != nil {
		return Result{}, err
	}
	info, err := g.Info(ctx)
	if err != nil {
		return Result{}, err
	}
	size := lvm.RoundUp(c.req.Size, info.ExtentSize)                                 // what LVM makes of it, and made of it before
	if found := snapshotsOf(volumes, v); v.Open && size > v.Size && len(found) > 0 { // before anything is tagged
		return Result{}, &lvm.Error{Op: "extend", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w, and LVM cannot extend it while VM %d runs: delete %s first, or power the VM off", lvm.ErrSnapshots, c.req.VM, found[0].Name)}
	}
	if size < v.Size && v.Tags.Get(tagUnzeroed) == "" {
		return Result{}, &lvm.Error{Op: "extend", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: %d bytes are asked for, it has %d", lvm.ErrNotLarger, c.req.Size, v.Size)}
	}
	fresh := v.Tags.Get(tagUnzeroed) == "" // else an earlier request has, perhaps, extended it
	if fresh && size > v.Size {
		tag := fmt.Sprintf("%s=%d", tagUnzeroed, v.Size)
		if v, err = g.Tag(ctx, v.Name, lvm.NewTags(tag), nil); err != nil {
			return Result{}, err
		}
		failpoint.Hit("extend.tagged")
	}
	if v, err = g.Extend(ctx, v.Name, max(size, v.Size)); err != nil {
		return Result{}, err
	}
	failpoint.Hit("extend.extended")
	res := Result{Volume: v.Name, Path: v.Path, Size: v.Size}
	if err := c.zeroNewSpace(ctx, g, v, fresh); err != nil || v.Mode == lvm.Off {
		return res, err
	}
	if v.Tags.Has(lvm.TagParked) { // a crash had left it active
		_, err := g.Activate(ctx, v.Name, lvm.Off)
		return res, err
	}
	return res, c.relink(v)
}

// finishExtend zeroes what a RESIZE that was cut off has left, before anybody reads the disk
// or gets it. Of a disk in use only RESIZE itself knows what its VM has seen: nobody reads it
// before.
func (c *session) finishExtend(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	inUse := v.Open || v.Mode == lvm.Shared
	switch {
	case v.Tags.Get(tagUnzeroed) == "", c.req.Op == OpExtend, inUse && c.req.Op == OpActivate:
		return nil
	case inUse:
		return &lvm.Error{Op: string(c.req.Op), Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("it was extended, and from byte %s on it may show old data: RESIZE it again", v.Tags.Get(tagUnzeroed))}
	}
	return c.zeroNewSpace(ctx, g, v, false)
}

// withoutUnzeroed is the tag that goes when all of a volume is about to be written.
func withoutUnzeroed(v lvm.Volume) lvm.Tags {
	if from := v.Tags.Get(tagUnzeroed); from != "" {
		return lvm.NewTags(tagUnzeroed + "=" + from)
	}
	return nil
}

// zeroNewSpace zeroes what extend added, in this request (fresh) or before, and drops its tag.
func (c *session) zeroNewSpace(ctx context.Context, g lvm.Group, v lvm.Volume, fresh bool) (err error) {
	from := v.Tags.Get(tagUnzeroed)
	if from == "" {
		return nil
	}
	offset, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return fmt.Errorf("tag %s=%s of volume %s: %w", tagUnzeroed, from, v.Name, err)
	}
	if v.Mode == lvm.Off || v.Tags.Has(lvm.TagParked) {
		if v, err = g.Activate(ctx, v.Name, lvm.Exclusive); err != nil {
			return err
		}
		failpoint.Hit("extend.activated")
		defer func() {
			err = joinOff(ctx, g, v.Name, err)
			failpoint.Hit("extend.off")
		}()
	}
	done := c.begin("zero the new space of " + v.Name)
	err = c.zeroRange(ctx, g, v, offset, fresh)
	done(err)
	if err != nil {
		return err
	}
	_, err = g.Tag(ctx, v.Name, nil, lvm.NewTags(tagUnzeroed+"="+from))
	failpoint.Hit("extend.zeroed")
	return err
}

// zeroRange zeroes from offset to the end. The volume may be in use by its VM, which
// does not know of the new space yet.
func (c *session) zeroRange(ctx context.Context, g lvm.Group, v lvm.Volume, offset int64, fresh bool) error {
	device, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("zero volume %s: %w", v.Name, err)
	}
	clean := false
	if fresh {
		clean, err = c.isClean(ctx, g, device, offset, v.Size-offset)
	}
	if err == nil && !clean {
		err = c.zeroSpace(ctx, device, v, offset, &Result{})
	}
	return joinClose(err, device)
}
