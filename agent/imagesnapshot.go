package agent

import (
	"context"
	"fmt"
	"slices"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// Snapshots of images are taken while a VM uses the image in place (takeSnapshot), and go
// when it ends if oned forgets them then (unlink). Here is what oned does with the others
// when nobody uses the image.

// removeImageSnapshot removes the request's snapshot of an image; one that is not there is
// fine. What a crash leaves is what removeSnapshot says.
func (c *session) removeImageSnapshot(ctx context.Context, g lvm.Group) error {
	volumes, image, err := c.snapshottedImage(ctx, g, "remove a snapshot of")
	if err != nil {
		return err
	}
	return c.removeRequestedOf(ctx, g, volumes, image)
}

// revertImage brings an image back to a snapshot, as revert does with disks; to flatten it,
// all of its snapshots are removed then, that one last.
//
//	active     the image as it was, active exclusively on this node
//	tagged     the same, tagged reverting: nobody gets it
//	copied     some or all of the blocks, still tagged
//	complete   the image as it was at the snapshot, with all snapshots, or some of them
func (c *session) revertImage(ctx context.Context, g lvm.Group) error {
	volumes, image, err := c.snapshottedImage(ctx, g, "revert")
	if err != nil {
		return err
	}
	all := snapshotsOf(volumes, image)
	if c.req.Remove && len(all) == 0 && image.Tags.Get(tagReverting) == "" {
		return deactivate(ctx, g, image.Name) // an earlier attempt has ended it, but for that perhaps
	}
	from, err := c.findSnapshot(g, volumes, image)
	if err != nil {
		return err
	}
	active, err := g.Activate(ctx, image.Name, lvm.Exclusive)
	if err != nil {
		return err
	}
	failpoint.Hit("revertimage.active")
	if err := c.revertImageTo(ctx, g, active, from); err != nil {
		return joinOff(ctx, g, image.Name, err)
	}
	if c.req.Remove {
		err = c.removeAll(ctx, g, all)
	}
	return joinOff(ctx, g, image.Name, err)
}

func (c *session) revertImageTo(ctx context.Context, g lvm.Group, image, from lvm.Volume) error {
	from, err := g.Volume(ctx, from.Name) // whether it is valid is known only now
	if err == nil {
		err = readable(from)
	}
	if err == nil {
		err = c.beginRevert(ctx, g, image)
	}
	if err == nil {
		err = c.bringBack(ctx, image, from)
	}
	if err != nil {
		return err
	}
	return c.endRevert(ctx, g, image)
}

// removeAll removes all snapshots of the image, the request's last: as long as it is there,
// the same request begins anew.
func (c *session) removeAll(ctx context.Context, g lvm.Group, snapshots []lvm.Volume) error {
	last := slices.IndexFunc(snapshots, c.isRequested)
	for _, v := range append(slices.Delete(slices.Clone(snapshots), last, last+1), snapshots[last]) {
		if err := c.removeSnapshot(ctx, g, v); err != nil {
			return err
		}
	}
	return nil
}

// snapshottedImage is the request's image, which nobody uses, and the report that it was
// found in. Its snapshots are all the suite's own.
func (c *session) snapshottedImage(ctx context.Context, g lvm.Group, op string) ([]lvm.Volume, lvm.Volume, error) {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return nil, lvm.Volume{}, err
	}
	image, err := c.findImage(ctx, g, c.req.Image, op)
	switch {
	case err != nil:
		return nil, image, err
	case image.Open:
		return nil, image, c.imageError(op, fmt.Errorf("%w: something has it open on this node", lvm.ErrInUse))
	}
	if err := c.refuseClones(volumes, c.req.Image, op); err != nil {
		return nil, image, err
	}
	for _, v := range snapshotsOf(volumes, image) {
		if !v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagImage, c.req.Image.ID)) {
			return nil, image, c.imageError(op, foreignSnapshot(v))
		}
	}
	return volumes, image, nil
}

// foreignSnapshot says that a snapshot of an image is nobody's that we know.
func foreignSnapshot(v lvm.Volume) error {
	return fmt.Errorf("%w, and %s was not made by this suite as one of the image (tags: %q): remove it by hand", lvm.ErrSnapshots, v.Name, v.Tags)
}
