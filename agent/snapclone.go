package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
)

// A disk can be a snapshot of its image instead of a copy. LVM has a volume with snapshots,
// and all of these, active on one node only: as long as a VM may use one of them, the image is
// active exclusively there, and the disks of other VMs on snapshots of it are there, too.

// isClone says whether a disk is a snapshot of its image.
func isClone(v lvm.Volume) bool { return v.Origin != "" && v.Tags.Get(lvm.TagClone) != "" }

// clonesOf are the disks that are snapshots of an image.
func clonesOf(volumes []lvm.Volume, image string) []lvm.Volume {
	var found []lvm.Volume
	for _, v := range volumes {
		if v.Origin == image && isClone(v) {
			found = append(found, v)
		}
	}
	return found
}

// usersOf names the VMs whose disks these are; "" for none.
func usersOf(clones []lvm.Volume) string {
	var users []string
	for _, v := range clones {
		users = append(users, fmt.Sprintf("disk %s of VM %s", v.Tags.Get(lvm.TagDisk), v.Tags.Get(lvm.TagVM)))
	}
	return strings.Join(users, ", ")
}

// refuseClones refuses to change or remove an image of which disks are snapshots.
func (c *session) refuseClones(volumes []lvm.Volume, image *Image, op string) error {
	clones := clonesOf(volumes, c.nameOf(image))
	if len(clones) == 0 {
		return nil
	}
	return c.errorOf(image, op, fmt.Errorf("%w: disks of VMs are snapshots of it (CLONE=snapshot): %s; end these VMs first", lvm.ErrInUse, usersOf(clones)))
}

// snapClone makes a VM's disk a snapshot of its image. What a crash leaves after each step:
//
//	reading.noted     nothing but the note
//	origin.active     the image active exclusively on this node: the next verb on one of its
//	                  snapshots here ends that, or remove, by the note
//	snapclone.taken   the same, and a snapshot tagged building: create again, or remove,
//	                  removes it
//
// and then what create leaves.
func (c *session) snapClone(ctx context.Context, g lvm.Group, home *home, steps *undo.Stack) (Result, error) {
	name, image := c.diskName(), c.imageName()
	var v lvm.Volume
	err := c.alone(ctx, g, image, func() error {
		if err := c.beginReading(g, image); err != nil {
			return err
		}
		if err := c.activateOrigin(ctx, g, image); err != nil {
			return err
		}
		steps.Push("deactivate "+image, func(ctx context.Context) error {
			if err := c.alone(ctx, g, image, func() error { return c.leaveOrigin(ctx, g, image, name) }); err != nil {
				return err
			}
			return c.endReading()
		})
		origin, err := g.Volume(ctx, image)
		if err != nil {
			return err
		}
		done := c.begin("take snapshot " + name + " of " + image)
		v, err = g.Snapshot(ctx, lvm.SnapshotRequest{
			Name: name, Origin: image, Space: c.spaceOf(origin), Tags: c.newTags().With(lvm.KeyTag(lvm.TagClone, c.req.Image.ID)),
		})
		done(err)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	steps.Push("remove volume "+name, func(ctx context.Context) error { return c.removeClone(ctx, g, v) })
	failpoint.Hit("snapclone.taken")
	if err := c.endReading(); err != nil {
		return Result{}, err
	}
	res := Result{Volume: v.Name, Path: v.Path, Size: v.Size, Clean: true}
	return res, c.complete(ctx, g, home, v, steps)
}

// fitsSnapshot says whether a disk can be a snapshot of its image: it has the image's size.
func (c *session) fitsSnapshot(image lvm.Volume) bool {
	if c.req.Size <= image.Size {
		return true
	}
	c.log("warn", "CLONE=snapshot: disk %d is to be larger than image %d, and a snapshot is not: it becomes a copy", c.req.Disk, c.req.Image.ID)
	return false
}

// activateOrigin brings an image to this node, for a disk that is a snapshot of it.
func (c *session) activateOrigin(ctx context.Context, g lvm.Group, image string) error {
	_, err := g.Activate(ctx, image, lvm.Exclusive)
	failpoint.Hit("origin.active")
	if !errors.Is(err, lvm.ErrLocked) {
		return err
	}
	volumes, listErr := g.Volumes(ctx)
	users := usersOf(clonesOf(volumes, image))
	if users == "" {
		return errors.Join(fmt.Errorf("%w; no VM's disk is a snapshot of it: if nobody copies it there, a verb that died has left it active: lvchange -an %s/%s there", err, g.Name(), image), listErr)
	}
	return errors.Join(fmt.Errorf("%w; a volume and its snapshots are active on one node only: bring VM %d to the node that has them (snapshots of %s are %s), or make its disk a copy (CLONE=copy in the image's datastore)",
		err, c.req.VM, image, users), listErr)
}

// leaveOrigin deactivates an image that nobody on this node reads, unless another one of its
// snapshots than disk ("" all) may be in use here.
func (c *session) leaveOrigin(ctx context.Context, g lvm.Group, image, disk string) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	v, err := g.Volume(ctx, image)
	if err != nil || v.Mode == lvm.Off || v.Open {
		return err
	}
	if others := c.otherClones(volumes, image, disk); len(others) > 0 {
		c.log("info", "volume %s stays active here: snapshots of it are %s", image, usersOf(others))
		return nil
	}
	err = deactivate(ctx, g, image)
	failpoint.Hit("origin.left")
	return err
}

// otherClones are the other snapshots of an image that may be in use: those that are not
// parked, and those that a verb reads. A VM that leaves a node (OpActivate) leaves it with
// all of its disks.
func (c *session) otherClones(volumes []lvm.Volume, image, disk string) []lvm.Volume {
	var others []lvm.Volume
	for _, v := range clonesOf(volumes, image) {
		leaving := v.Name == disk || c.req.Op == OpActivate && v.Tags.Has(lvm.KeyTag(lvm.TagVM, c.req.VM))
		if !leaving && (v.Open || !v.Tags.Has(lvm.TagParked)) {
			others = append(others, v)
		}
	}
	return others
}

// setMode brings a disk into a mode on this node; one that is a snapshot of its image with
// that image, which stays active where another VM may use a snapshot of it.
func (c *session) setMode(ctx context.Context, g lvm.Group, v lvm.Volume, mode lvm.Mode) (lvm.Volume, error) {
	if !isClone(v) {
		return g.Activate(ctx, v.Name, mode)
	}
	err := c.alone(ctx, g, v.Origin, func() error {
		if mode == lvm.Off {
			return c.leaveOrigin(ctx, g, v.Origin, v.Name)
		}
		return c.activateOrigin(ctx, g, v.Origin)
	})
	if err != nil {
		return v, err
	}
	return g.Volume(ctx, v.Name)
}

// removeClone removes a disk that is a snapshot of its image, which is left first: as long as
// the disk is there, the same request comes back to both.
//
//	origin.left         the disk, active no more
//	unsnapshot.removed  nothing
func (c *session) removeClone(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	if err := released(ctx, g, v, "remove", "end what has it open on this node first"); err != nil {
		return err
	}
	if err := c.alone(ctx, g, v.Origin, func() error { return c.leaveOrigin(ctx, g, v.Origin, v.Name) }); err != nil {
		return err
	}
	return c.removeSnapshot(ctx, g, v)
}

// refuseClone refuses what LVM does not do with a snapshot.
func refuseClone(v lvm.Volume, op, what string) error {
	if !isClone(v) {
		return nil
	}
	return &lvm.Error{Op: op, Group: v.Group, Volume: v.Name, Err: fmt.Errorf("%w: the disk is one itself, of image %s (CLONE=snapshot in its datastore): %s", lvm.ErrSnapshots, v.Tags.Get(lvm.TagClone), what)}
}

// refuseMoving: a disk that is a snapshot of its image cannot be shared, and does not leave
// the node while other VMs may use snapshots of that image there.
func (c *session) refuseMoving(volumes []lvm.Volume, v lvm.Volume) error {
	if !isClone(v) {
		return nil
	}
	switch c.req.Activate {
	case lvm.Shared:
		return refuseClone(v, "activate shared", fmt.Sprintf("it can only be active on one node: no live migration of VM %d: migrate it powered off", c.req.VM))
	case lvm.Off:
		if others := c.otherClones(volumes, v.Origin, v.Name); v.Mode != lvm.Off && len(others) > 0 {
			return refuseClone(v, "deactivate", fmt.Sprintf("the image and all its snapshots are active on one node only, and snapshots of it are %s: stop or end these VMs, then migrate VM %d", usersOf(others), c.req.VM))
		}
	}
	return nil
}
