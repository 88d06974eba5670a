package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// create makes a VM's disk. What a crash leaves after each step:
//
//	created   a volume tagged building: the same request, or remove, discards it
//	filled    the same
//	linked    the same, and a link disk.N in the home, replaced or removed likewise
//	complete  the finished disk
func (c *session) create(ctx context.Context, g lvm.Group) (Result, error) {
	if err := c.clearTheWay(ctx, g); err != nil {
		return Result{}, err
	}
	if c.req.Content.ofImage() {
		_, image, err := c.sourceImage(ctx)
		if err != nil {
			return Result{}, err
		}
		if c.req.Content == ContentSnapshot && !c.fitsSnapshot(image) {
			c.req.Content = ContentImage
		}
	}
	var steps undo.Stack
	home, err := c.makeHome(&steps)
	if err != nil {
		return Result{}, err
	}
	defer home.close()
	build := c.build
	if c.req.Content == ContentSnapshot {
		build = c.snapClone
	}
	res, err := build(ctx, g, home, &steps)
	if err != nil {
		return Result{}, steps.Unwind(context.WithoutCancel(ctx), err)
	}
	return res, nil
}

func (c *session) diskName() string {
	return lvm.DiskName(c.Config.Prefix, c.req.VM, c.req.Disk).String()
}

func (c *session) build(ctx context.Context, g lvm.Group, home *home, steps *undo.Stack) (Result, error) {
	name := c.diskName()
	v, err := c.newVolume(ctx, g, name)
	if err != nil {
		return Result{}, err
	}
	steps.Push("remove volume "+name, func(ctx context.Context) error { return c.discard(ctx, g, v) })
	failpoint.Hit("create.created")
	res := Result{Volume: v.Name, Path: v.Path, Size: v.Size}
	if err := c.fill(ctx, g, v, &res); err != nil {
		return Result{}, err
	}
	failpoint.Hit("create.filled")
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if c.req.Hold {
		steps.Disarm()
		return res, nil
	}
	return res, c.complete(ctx, g, home, v, steps)
}

// complete makes a volume that has its content the VM's disk.
func (c *session) complete(ctx context.Context, g lvm.Group, home *home, v lvm.Volume, steps *undo.Stack) error {
	link := fmt.Sprintf("disk.%d", c.req.Disk)
	steps.Push("remove link "+link, func(context.Context) error { return home.remove(link) })
	if err := errors.Join(c.give(v), home.link(link, v.Path)); err != nil {
		return err
	}
	failpoint.Hit("create.linked")
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := g.Tag(ctx, v.Name, nil, lvm.NewTags(lvm.TagBuilding)); err != nil {
		return err
	}
	steps.Disarm()
	failpoint.Hit("create.complete")
	return nil
}

// newVolume creates the volume; if there is too little space, out of what is in quarantine.
func (c *session) newVolume(ctx context.Context, g lvm.Group, name string) (lvm.Volume, error) {
	q := lvm.CreateRequest{Name: name, Size: c.req.Size, Tags: c.newTags()}
	done := c.begin("create volume " + g.Name() + "/" + name)
	v, err := g.Create(ctx, q)
	done(err)
	if !errors.Is(err, lvm.ErrNoSpace) {
		return v, err
	}
	reapErr := c.makeRoom(ctx, g, c.req.Size)
	if v, err = g.Create(ctx, q); err != nil {
		err = errors.Join(err, reapErr)
	}
	return v, err
}

func (c *session) newTags() lvm.Tags {
	tags := lvm.DiskTags(c.req.VM, c.req.Disk, c.req.DS)
	if c.req.Op == OpMakeImage {
		tags = lvm.NewTags(lvm.TagOurs, lvm.KeyTag(lvm.TagImage, c.req.Image.ID))
	}
	tags = tags.With(lvm.TagBuilding, lvm.TagOp+"="+c.req.Operation)
	if c.req.FSType != "" {
		tags = tags.With(lvm.TagFSType + "=" + c.req.FSType)
	}
	return tags
}

// clearTheWay discards what an earlier, failed attempt at the same disk left. oned
// repeats a whole prolog after a failure, so a complete disk is replaced, too, unless
// it is in use, parked, or not one of ours.
func (c *session) clearTheWay(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	name := c.diskName()
	for _, v := range volumes {
		switch {
		case v.Name == name && !v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, c.req.VM), lvm.KeyTag(lvm.TagDisk, c.req.Disk)):
			return &lvm.Error{Op: "create", Group: g.Name(), Volume: name, Err: fmt.Errorf("%w and was not made by this suite (tags: %q): remove or rename it by hand", lvm.ErrExists, v.Tags)}
		case c.isLent(v) && (c.req.Op != OpLink || v.Name != c.imageName()):
			return &lvm.Error{Op: "create", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: the VM uses this image in place as disk %d", lvm.ErrExists, c.req.Disk)}
		case !c.isDisk(v) || v.IsSnapshot(): // they go with their disks
			continue
		case c.inQuarantine(v):
			if err := c.discard(ctx, g, v); err != nil {
				return err
			}
			continue
		case v.Tags.Has(lvm.TagParked):
			return &lvm.Error{Op: "create", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: it is the parked disk of stopped VM %d", lvm.ErrExists, c.req.VM)}
		case v.Open:
			return &lvm.Error{Op: "create", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: VM %d runs on it, or something else has it open on this node", lvm.ErrInUse, c.req.VM)}
		}
		c.log("warn", "volume %s is left over from an earlier attempt (tags: %q): removing it", v.Name, v.Tags)
		if err := c.discardDisk(ctx, g, volumes, v); err != nil {
			return err
		}
	}
	return nil
}

// fill gives a new volume its content and makes sure that it is on stable storage.
func (c *session) fill(ctx context.Context, g lvm.Group, v lvm.Volume, res *Result) error {
	zeroed, err := c.zero(ctx, g, v, true, res)
	if err != nil {
		return err
	}
	failpoint.Hit("create.zeroed")
	if c.req.Content == ContentFS || c.req.Content == ContentTar {
		done := c.begin(fmt.Sprintf("make %s on %s", c.req.FSType, v.Name))
		err := makeFS(ctx, c.Runner, &c.req, v.Path, zeroed)
		done(err)
		if err != nil {
			return err
		}
		failpoint.Hit("create.formatted")
	}
	done := c.begin("fill " + v.Name)
	switch c.req.Content {
	case ContentTar:
		err = c.unpack(ctx, v, res)
	case ContentDisk, ContentExtents:
		err = c.writeDisk(ctx, v, res)
	case ContentImage:
		err = c.copyImage(ctx, v, res)
	}
	done(err)
	if err != nil {
		return err
	}
	return flush(v.Path)
}

// writeDisk writes a raw disk onto a volume that reads as zeros.
func (c *session) writeDisk(ctx context.Context, v lvm.Volume, res *Result) (err error) {
	device, err := os.OpenFile(v.Path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("write volume %s: %w", v.Name, err)
	}
	defer func() { err = joinClose(err, device) }()
	if c.req.Content == ContentExtents {
		_, res.Content, err = tarmode.ReceiveExtents(ctx, c.payload, c.mapped(device), v.Size, c.progress)
	} else {
		err = c.writeStream(ctx, device, v, res)
	}
	if err != nil {
		return fmt.Errorf("write volume %s: %w", v.Name, err)
	}
	return c.drain()
}

func (c *session) writeStream(ctx context.Context, device *os.File, v lvm.Volume, res *Result) (err error) {
	plain, err := tarmode.Decompress(c.payload, c.req.Mode)
	if err != nil {
		return err
	}
	defer func() { err = joinClose(err, plain) }()
	_, res.Content, err = tarmode.CopySparse(ctx, plain, c.mapped(device), v.Size, c.progress)
	return err
}

// drain reads the payload to its trailer: only then is the content known to be whole.
func (c *session) drain() error {
	if _, err := io.Copy(io.Discard, c.payload); err != nil {
		return err
	}
	return nil
}

// glance reads a little of the payload after a failure, for a failure of the stream that
// led to it. The front-end hears of it without having to send the rest.
func (c *session) glance() error {
	_, err := io.CopyN(io.Discard, c.payload, 4*dataChunk)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// flush makes the device's content durable.
func flush(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return joinClose(f.Sync(), f)
}
