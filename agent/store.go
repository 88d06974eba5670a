package agent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// store makes the content of a disk, or of one of its snapshots, an image on the SAN. What
// a crash leaves after each step is a volume tagged building, which nobody deploys and the
// same request fills again, and of a disk in use perhaps a temporary snapshot; after complete
// the finished image, perhaps still active here.
// Where the disk is then removed, a tag of the image says whose content it has: the same
// request, which does not find the disk any more, ends the removal.
func (c *session) store(ctx context.Context, g lvm.Group) (res Result, err error) {
	volumes, disk, err := c.oneDisk(ctx, g)
	if errors.Is(err, lvm.ErrNotFound) && c.req.Remove && c.isSaved(ctx) {
		c.log("info", "disk %d of VM %d is in image %d already: an earlier attempt had saved it", c.req.Disk, c.req.VM, c.req.Image.ID)
		return Result{Volume: c.imageName()}, c.remove(ctx, g)
	}
	if err != nil {
		return Result{}, err
	}
	read := func(source lvm.Volume) (err error) {
		res, err = c.storeVolume(ctx, g, source)
		return err
	}
	if c.req.Snapshot != nil {
		err = c.whileReadable(ctx, g, volumes, disk, read)
		return res, err
	}
	if volumes, err = c.toBeRead(ctx, g, volumes, disk); err != nil {
		return Result{}, err
	}
	err = c.whileActive(ctx, g, disk, read)
	if err != nil || !c.req.Remove {
		return res, err
	}
	return res, c.removeSaved(ctx, g, volumes, disk)
}

// tagSaved is on an image that was made of a disk that went with it: "VM:DISK". It is gone
// as soon as the image is somebody's again.
const tagSaved = "saved"

func (c *session) savedTag() string { return fmt.Sprintf("%s=%d:%d", tagSaved, c.req.VM, c.req.Disk) }

// savedTags are those of an image.
func savedTags(v lvm.Volume) lvm.Tags {
	if value := v.Tags.Get(tagSaved); value != "" {
		return lvm.NewTags(tagSaved + "=" + value)
	}
	return nil
}

// isSaved says whether the request's image is whole and has the content of its disk.
func (c *session) isSaved(ctx context.Context) bool {
	g, err := c.open(c.req.Image.Group)
	if err != nil {
		return false // the disk is not found, and nothing tells that all is well
	}
	v, err := c.findImage(ctx, g, c.req.Image, "store")
	return err == nil && v.Tags.Has(c.savedTag())
}

// storeVolume makes an image of a volume of a group. That is read when there is room for the
// copy, and that is zeroed: a temporary snapshot is to take neither the room nor longer than it
// must.
func (c *session) storeVolume(ctx context.Context, from lvm.Group, source lvm.Volume) (res Result, err error) {
	g, err := c.open(c.req.Image.Group)
	if err != nil {
		return Result{}, err
	}
	var steps undo.Stack
	image, fresh, err := c.emptyImage(ctx, g, source, &steps)
	if err != nil {
		return Result{}, steps.Unwind(context.WithoutCancel(ctx), err)
	}
	res = Result{Volume: image.Name, Path: image.Path, Size: image.Size}
	if _, err = c.zero(ctx, g, image, fresh, &res); err == nil {
		failpoint.Hit("store.zeroed")
		err = c.whileStill(ctx, from, source, func(source lvm.Volume) error { return c.copyDisk(ctx, source, image, &res) })
	}
	if err == nil {
		err = c.completeImage(ctx, g, source, image)
	}
	if err != nil {
		return Result{}, steps.Unwind(context.WithoutCancel(ctx), err)
	}
	steps.Disarm()
	err = deactivate(ctx, g, image.Name)
	failpoint.Hit("store.off")
	return res, err
}

// emptyImage is a volume for the content: a new one, or the one that the datastore driver
// has made for this image, which is not fresh: what its blocks hold nobody knows.
func (c *session) emptyImage(ctx context.Context, g lvm.Group, source lvm.Volume, steps *undo.Stack) (image lvm.Volume, fresh bool, err error) {
	tags := lvm.NewTags(lvm.TagOurs, lvm.KeyTag(lvm.TagImage, c.req.Image.ID), lvm.TagBuilding, lvm.TagOp+"="+c.req.Operation)
	v, err := g.Volume(ctx, c.imageName())
	if errors.Is(err, lvm.ErrNotFound) {
		v, err = g.Create(ctx, lvm.CreateRequest{Name: c.imageName(), Size: source.Size, Tags: tags})
		if err != nil {
			return v, false, err
		}
		steps.Push("remove volume "+v.Name, func(ctx context.Context) error { return c.discard(ctx, g, v) })
		failpoint.Hit("store.created")
		return v, true, nil
	}
	switch {
	case err != nil:
		return v, false, err
	case !v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagImage, c.req.Image.ID)):
		return v, false, c.imageError("store", fmt.Errorf("%w and was not made by this suite as image %d (tags: %q): remove or rename it by hand", lvm.ErrExists, c.req.Image.ID, v.Tags))
	case v.Tags.Get(lvm.TagVM) != "" || v.Open:
		return v, false, c.imageError("store", fmt.Errorf("%w (tags: %q)", lvm.ErrInUse, v.Tags))
	}
	volumes, err := g.Volumes(ctx)
	if err == nil && len(snapshotsOf(volumes, v)) > 0 {
		err = c.imageError("store", fmt.Errorf("%w: %s: remove it first", lvm.ErrSnapshots, snapshotsOf(volumes, v)[0].Name))
	}
	if err != nil {
		return v, false, err
	}
	// Refused while another node reads it: then it stays the whole image that it is.
	if _, err = g.Activate(ctx, v.Name, lvm.Exclusive); err != nil {
		return v, false, err
	}
	steps.Push("deactivate "+v.Name, func(ctx context.Context) error { return deactivate(ctx, g, v.Name) })
	failpoint.Hit("refill.active")
	if _, err = g.Tag(ctx, v.Name, tags, savedTags(v).With(withoutData(v)...).With(withoutUnzeroed(v)...)); err != nil {
		return v, false, err
	}
	failpoint.Hit("refill.tagged")
	v, err = g.Extend(ctx, v.Name, max(source.Size, v.Size))
	return v, false, err
}

func (c *session) copyDisk(ctx context.Context, source, image lvm.Volume, res *Result) error {
	from, err := os.Open(source.Path)
	if err != nil {
		return fmt.Errorf("read volume %s: %w", source.Name, err)
	}
	done := c.begin(fmt.Sprintf("copy %s to %s", source.Name, image.Name))
	c.data = lvm.NewDataMap(image.Size)
	res.Content, err = c.copyDevice(ctx, from, []tarmode.Range{{Length: source.Size}}, source, image)
	err = joinClose(err, from)
	done(err)
	return err
}

func (c *session) completeImage(ctx context.Context, g lvm.Group, source, image lvm.Volume) error {
	if err := flush(image.Path); err != nil {
		return err
	}
	failpoint.Hit("store.copied")
	kept := lvm.NewTags(c.data.Tag())
	if fstype := source.Tags.Get(lvm.TagFSType); fstype != "" {
		kept = kept.With(lvm.TagFSType + "=" + fstype)
	}
	if c.req.Remove {
		kept = kept.With(c.savedTag())
	}
	done := c.begin("complete " + image.Name)
	_, err := g.Tag(ctx, image.Name, kept, lvm.NewTags(lvm.TagBuilding))
	done(err)
	if err == nil {
		failpoint.Hit("store.complete")
	}
	return err
}
