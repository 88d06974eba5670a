package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"time"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// Image is an image that is a volume on the SAN.
type Image struct {
	Group string `json:"group"`
	ID    int    `json:"id"`
	// Volume is its name if gfs2clvm has made it (lvm.Name.IsOld). Such a volume has no tags
	// before a verb changes it: that it is the image is oned's word.
	Volume string `json:"volume,omitempty"`
}

func (i *Image) validate(q *Request, c *Config) error {
	if err := validateGroupName(i.Group, c); err != nil {
		return err
	}
	switch {
	case i.ID < 0 || i.ID > maxID:
		return fmt.Errorf("image id %d", i.ID)
	case i.Volume != "" && (!i.isOld(c.Prefix) || q.Op == OpMakeImage && i == q.Image):
		return fmt.Errorf("image %d is not volume %q", i.ID, i.Volume)
	case q.Op.ofImage() && i == q.Image && i.Group != q.Group:
		return fmt.Errorf("image %d is in volume group %s, the request is about %s", i.ID, i.Group, q.Group)
	case q.Content == ContentSnapshot && i.Group != q.Group:
		return fmt.Errorf("image %d is in volume group %s, the VM's disks are in %s: a disk that is a snapshot of its image (CLONE=snapshot) has to be where that is: give both datastores one VG_NAME, or set CLONE=copy", i.ID, i.Group, q.Group)
	case (q.Op == OpLink || q.Op == OpUnlink) && i.Group != q.Group:
		return fmt.Errorf("image %d is in volume group %s, the VM's disks are in %s: an image that is used in place has to be where they are: give both datastores one VG_NAME", i.ID, i.Group, q.Group)
	}
	return nil
}

// isOld says whether the volume's name is one that gfs2clvm gave the image.
func (i *Image) isOld(prefix string) bool {
	name, err := lvm.ParseName(prefix, i.Volume)
	return err == nil && name.IsOld() && name.IsImage() && name.Snapshot == lvm.NoSnapshot && (name.Kind == lvm.KindHashImage || name.Image == i.ID)
}

func (c *session) imageName() string { return c.nameOf(c.req.Image) }

func (c *session) nameOf(image *Image) string {
	if image.Volume != "" {
		return image.Volume
	}
	return lvm.ImageName(c.Config.Prefix, image.ID).String()
}

// isLent says by its tags whether a volume is an image that the request's VM uses in
// place, as the disk or one of the disks that are meant.
func (c *session) isLent(v lvm.Volume) bool {
	lent := v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, c.req.VM)) && v.Tags.Get(lvm.TagImage) != ""
	return lent && !c.req.Op.ofImage() && (c.req.Disk == AllDisks || v.Tags.Has(lvm.KeyTag(lvm.TagDisk, c.req.Disk)))
}

// lentTags are what an image carries while a VM uses it.
func (c *session) lentTags() lvm.Tags {
	return lvm.NewTags(lvm.KeyTag(lvm.TagVM, c.req.VM), lvm.KeyTag(lvm.TagDisk, c.req.Disk), lvm.KeyTag(lvm.TagDS, c.req.DS))
}

func (c *session) imageError(op string, err error) error { return c.errorOf(c.req.Image, op, err) }

func (c *session) errorOf(image *Image, op string, err error) error {
	return &lvm.Error{Op: op, Group: image.Group, Volume: c.nameOf(image), Err: err}
}

// findImage is an image's volume, whole, and in use by no VM but the request's.
func (c *session) findImage(ctx context.Context, g lvm.Group, image *Image, op string) (lvm.Volume, error) {
	v, err := g.Volume(ctx, c.nameOf(image))
	switch {
	case err != nil:
		return v, err
	case !image.isTagged(v):
		return v, c.errorOf(image, op, fmt.Errorf("it is named as image %d but does not carry its tags (%q): look at it, and if it is that image: lvchange --addtag %s --addtag %s %s/%s",
			image.ID, v.Tags, lvm.TagOurs, lvm.KeyTag(lvm.TagImage, image.ID), g.Name(), v.Name))
	case v.Tags.Has(lvm.TagBuilding):
		return v, c.errorOf(image, op, errors.New("it was never completed (tag building): delete the image in OpenNebula and make it again"))
	case v.Tags.Get(lvm.TagVM) != "" && !c.isLent(v):
		return v, c.errorOf(image, op, fmt.Errorf("%w: it is disk %s of VM %s", lvm.ErrInUse, v.Tags.Get(lvm.TagDisk), v.Tags.Get(lvm.TagVM)))
	case v.Tags.Get(tagReverting) != "" && c.req.Op != OpRevertImage:
		return v, halfReverted(op, v)
	case v.Tags.Get(tagUnzeroed) != "" && c.req.Op != OpLink: // which zeroes it
		return v, c.errorOf(image, op, fmt.Errorf("it was extended while a VM used it in place, and from byte %s on it may show old data: use it in place once more (LN zeroes that), or delete it and make it again", v.Tags.Get(tagUnzeroed)))
	}
	return v, nil
}

// isTagged says whether a volume's tags allow it to be the image.
func (i *Image) isTagged(v lvm.Volume) bool {
	return v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagImage, i.ID)) || i.Volume != "" && !v.Tags.Has(lvm.TagOurs)
}

// imageTags are on every image of ours.
func imageTags(image *Image) lvm.Tags {
	return lvm.NewTags(lvm.TagOurs, lvm.KeyTag(lvm.TagImage, image.ID))
}

// link makes an image the disk of a VM, in place and for that VM alone. What a crash
// leaves after each step is completed by the same request, and taken back by unlink:
//
//	tagged   an image that belongs to the VM and is active nowhere
//	active   the same, active here
//	linked   the finished disk
func (c *session) link(ctx context.Context, g lvm.Group) (Result, error) {
	if err := c.clearTheWay(ctx, g); err != nil {
		return Result{}, err
	}
	v, err := c.findImage(ctx, g, c.req.Image, "link")
	if err != nil {
		return Result{}, err
	}
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := c.refuseClones(volumes, c.req.Image, "link"); err != nil {
		return Result{}, err
	}
	var steps undo.Stack
	home, err := c.makeHome(&steps)
	if err != nil {
		return Result{}, err
	}
	defer home.close()
	if v, err = c.lend(ctx, g, v, home, &steps); err != nil {
		return Result{}, steps.Unwind(context.WithoutCancel(ctx), err)
	}
	return Result{Volume: v.Name, Path: v.Path, Size: v.Size}, nil
}

// lend gives a VM the image.
func (c *session) lend(ctx context.Context, g lvm.Group, v lvm.Volume, home *home, steps *undo.Stack) (lvm.Volume, error) {
	if !c.isLent(v) { // else an earlier request's image, perhaps in use on another node, stays the VM's
		steps.Push("give "+v.Name+" back", func(ctx context.Context) error { return c.untag(ctx, g, v) })
	}
	tagged, err := g.Tag(ctx, v.Name, c.lentTags().With(imageTags(c.req.Image)...), savedTags(v).With(withoutData(v)...))
	if err != nil {
		return v, err
	}
	failpoint.Hit("link.tagged")
	if err := c.finishExtend(ctx, g, tagged); err != nil {
		return v, err
	}
	active, err := g.Activate(ctx, v.Name, lvm.Exclusive)
	if err != nil {
		return v, err
	}
	steps.Push("deactivate "+v.Name, func(ctx context.Context) error { return deactivate(ctx, g, v.Name) })
	failpoint.Hit("link.active")
	if err := c.give(active); err != nil {
		return v, err
	}
	if err := home.link("disk."+strconv.Itoa(c.req.Disk), active.Path); err != nil {
		return v, err
	}
	failpoint.Hit("link.linked")
	steps.Disarm()
	c.log("info", "image %d, volume %s, is in use in place", c.req.Image.ID, v.Name)
	return active, nil
}

func deactivate(ctx context.Context, g lvm.Group, name string) error {
	_, err := g.Activate(ctx, name, lvm.Off)
	return err
}

// joinOff deactivates a volume after something was done with it, well or not.
func joinOff(ctx context.Context, g lvm.Group, name string, err error) error {
	return errors.Join(err, deactivate(context.WithoutCancel(ctx), g, name))
}

func (c *session) untag(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	gone := lvm.NewTags(lvm.TagParked)
	for _, key := range []string{lvm.TagVM, lvm.TagDisk, lvm.TagDS, lvm.TagMigrating} {
		if value := v.Tags.Get(key); value != "" {
			gone = gone.With(key + "=" + value)
		}
	}
	_, err := g.Tag(ctx, v.Name, nil, gone.With(c.lentTags()...))
	return err
}

// unlink gives back the image that a VM used in place; one that it does not use any more
// is fine.
func (c *session) unlink(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if !c.isLent(v) {
			continue
		}
		if !v.Tags.Has(lvm.KeyTag(lvm.TagImage, c.req.Image.ID)) {
			return &lvm.Error{Op: "unlink", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("disk %d of VM %d is image %s, not %d", c.req.Disk, c.req.VM, v.Tags.Get(lvm.TagImage), c.req.Image.ID)}
		}
		if c.req.Remove {
			if err := c.forgetSnapshots(ctx, g, volumes, v); err != nil {
				return err
			}
		}
		if err := c.giveBack(ctx, g, volumes, v); err != nil {
			return err
		}
	}
	return c.removeLinks()
}

// forgetSnapshots removes the suite's own snapshots of an image that its VM has ended with.
func (c *session) forgetSnapshots(ctx context.Context, g lvm.Group, volumes []lvm.Volume, v lvm.Volume) error {
	if err := c.ended(ctx, g, v); err != nil {
		return err
	}
	for _, s := range snapshotsOf(volumes, v) {
		if c.isDisk(s) && IsTemporary(s) {
			continue // giveBack removes it
		}
		if !s.Tags.Has(imageTags(c.req.Image)...) {
			c.log("warn", "volume %s is a snapshot of image %d that was not made by this suite as one of it (tags: %q): it is kept; remove it by hand", s.Name, c.req.Image.ID, s.Tags)
			continue
		}
		if err := c.removeSnapshot(ctx, g, s); err != nil {
			return err
		}
	}
	return nil
}

// ended refuses an image that the VM still uses.
func (c *session) ended(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	return released(ctx, g, v, "unlink", fmt.Sprintf("VM %d still runs on it", c.req.VM))
}

// giveBack takes an image from its VM. The tags go last: until then the same request finds
// it again.
//
//	taken    an image that belongs to the VM, exclusive on this node; what a RESIZE that was
//	         cut off has left is zeroed then, and temporary snapshots of it go
//	off      an image that belongs to the VM, with a link to nothing
//	unlinked the same without the link
//	untagged an image that anybody can use
func (c *session) giveBack(ctx context.Context, g lvm.Group, volumes []lvm.Volume, v lvm.Volume) error {
	if err := c.ended(ctx, g, v); err != nil {
		return err
	}
	active, err := g.Activate(ctx, v.Name, lvm.Exclusive)
	if err != nil { // another node has it
		return err
	}
	failpoint.Hit("unlink.taken")
	if err := c.finishExtend(ctx, g, active); err != nil {
		return err
	}
	if _, err := c.withoutTemporary(ctx, g, volumes, v.Name); err != nil {
		return err
	}
	if err := deactivate(ctx, g, v.Name); err != nil {
		return err
	}
	failpoint.Hit("unlink.off")
	if c.req.Disk != AllDisks { // else the whole home goes
		if err := c.removeLinks(); err != nil {
			return err
		}
		failpoint.Hit("unlink.unlinked")
	}
	if err := c.untag(ctx, g, v); err != nil {
		return err
	}
	failpoint.Hit("unlink.untagged")
	c.log("info", "volume %s is an image again that no VM uses", v.Name)
	return nil
}

// sourceImage is the image that a new disk is a copy of, and its volume group. The disk
// becomes at least as large, and is said to hold the same file system.
func (c *session) sourceImage(ctx context.Context) (lvm.Group, lvm.Volume, error) {
	image := c.req.Image
	if c.req.Op == OpMakeImage {
		image = c.req.Source
	}
	g, err := c.open(image.Group)
	if err != nil {
		return nil, lvm.Volume{}, err
	}
	v, err := c.findImage(ctx, g, image, "clone")
	if err == nil && v.Tags.Get(lvm.TagVM) != "" {
		err = c.errorOf(image, "clone", fmt.Errorf("%w: it is disk %s of VM %s", lvm.ErrInUse, v.Tags.Get(lvm.TagDisk), v.Tags.Get(lvm.TagVM)))
	}
	if err != nil {
		return nil, v, err
	}
	c.req.Size, c.req.FSType = max(c.req.Size, v.Size), v.Tags.Get(lvm.TagFSType)
	return g, v, nil
}

// copyImage fills a volume that reads as zeros with an image on the SAN: the data goes from
// the SAN to the SAN through this node.
func (c *session) copyImage(ctx context.Context, v lvm.Volume, res *Result) error {
	g, image, err := c.sourceImage(ctx)
	if err != nil {
		return err
	}
	device, err := c.openImage(ctx, g, image.Name)
	if err != nil {
		return err
	}
	parts, err := c.dataOf(device, image)
	if err == nil {
		res.Content, err = c.copyDevice(ctx, device, parts, image, v)
	}
	err = errors.Join(err, device.Close())
	if leaveErr := c.leaveImage(ctx, g, image.Name); leaveErr != nil {
		return errors.Join(err, leaveErr)
	}
	return errors.Join(err, c.endReading())
}

// copyDevice copies what is not zero in parts of a volume to one that is.
func (c *session) copyDevice(ctx context.Context, from io.ReaderAt, parts []tarmode.Range, source, target lvm.Volume) (written int64, err error) {
	to, err := os.OpenFile(target.Path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return 0, fmt.Errorf("write volume %s: %w", target.Name, err)
	}
	defer func() { err = joinClose(err, to) }()
	written, err = tarmode.CopyRanges(ctx, from, parts, c.mapped(to), c.progress)
	if err != nil {
		return written, fmt.Errorf("copy volume %s to %s: %w", source.Name, target.Name, err)
	}
	return written, nil
}

// openImage opens an image for reading. Nobody ever writes an image while it is copied, so
// other nodes may read it, too: it is active shared, unless it has snapshots, which LVM does
// not share. A crash leaves it so; whoever reads it next on this node ends that, or the
// removal of the disk that it was read for (leaveRead).
func (c *session) openImage(ctx context.Context, g lvm.Group, name string) (device *os.File, err error) {
	err = c.alone(ctx, g, name, func() error {
		volumes, err := g.Volumes(ctx)
		if err != nil {
			return err
		}
		v, err := g.Volume(ctx, name)
		if err != nil {
			return err
		}
		if err := c.beginReading(g, name); err != nil {
			return err
		}
		if mode := readMode(volumes, v); v.Mode == lvm.Off {
			if v, err = g.Activate(ctx, name, mode); err != nil {
				return err
			}
		}
		failpoint.Hit("clone.active")
		device, err = os.Open(v.Path)
		return err
	})
	return device, err
}

func readMode(volumes []lvm.Volume, image lvm.Volume) lvm.Mode {
	if len(snapshotsOf(volumes, image)) > 0 {
		return lvm.Exclusive
	}
	return lvm.Shared
}

// leaveImage deactivates an image that nobody on this node reads any more.
func (c *session) leaveImage(ctx context.Context, g lvm.Group, name string) error {
	ctx = context.WithoutCancel(ctx)
	return c.alone(ctx, g, name, func() error { return c.leaveOrigin(ctx, g, name, "") })
}

// alone keeps this node's other agents from activating or deactivating an image.
func (c *session) alone(ctx context.Context, g lvm.Group, name string, do func() error) error {
	lock, err := lockVM(ctx, c.Config.LockDir, path.Join("image", g.Name(), name), time.Duration(c.req.Patience)*time.Second, false)
	if err != nil {
		return err
	}
	return errors.Join(do(), lock.unlock())
}
