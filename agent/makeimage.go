package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// makeImage makes an image on the SAN. What a crash leaves after each step:
//
//	created   a volume tagged building, which no VM gets: the same request, or dropImage,
//	          discards it
//	filled    the same
//	complete  the finished image, active on this node; whoever uses it next ends that
func (c *session) makeImage(ctx context.Context, g lvm.Group) (Result, error) {
	if err := c.clearImage(ctx, g); err != nil {
		return Result{}, err
	}
	if c.req.Content == ContentImage {
		if _, _, err := c.sourceImage(ctx); err != nil {
			return Result{}, err
		}
	}
	var steps undo.Stack
	res, err := c.buildImage(ctx, g, &steps)
	if err != nil {
		return Result{}, steps.Unwind(context.WithoutCancel(ctx), err)
	}
	return res, deactivate(ctx, g, res.Volume)
}

func (c *session) buildImage(ctx context.Context, g lvm.Group, steps *undo.Stack) (Result, error) {
	v, err := c.newVolume(ctx, g, c.imageName())
	if err != nil {
		return Result{}, err
	}
	steps.Push("remove volume "+v.Name, func(ctx context.Context) error { return c.discard(ctx, g, v) })
	failpoint.Hit("makeimage.created")
	res := Result{Volume: v.Name, Path: v.Path, Size: v.Size}
	c.data = lvm.NewDataMap(v.Size)
	if err := c.fill(ctx, g, v, &res); err != nil {
		return Result{}, err
	}
	failpoint.Hit("makeimage.filled")
	kept, err := c.dataTags(ctx, v)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Result{}, err
	}
	if fstype := c.req.FSType; fstype != "" {
		kept = kept.With(lvm.TagFSType + "=" + fstype)
	}
	if _, err := g.Tag(ctx, v.Name, kept, lvm.NewTags(lvm.TagBuilding)); err != nil {
		return Result{}, err
	}
	steps.Disarm()
	failpoint.Hit("makeimage.complete")
	return res, nil
}

// dataTags are the tag that says where the new image has data. Of an unpacked archive that
// is seen by reading the volume once; of an empty file system it is not worth that.
func (c *session) dataTags(ctx context.Context, v lvm.Volume) (lvm.Tags, error) {
	switch c.req.Content {
	case ContentFS:
		return nil, nil
	case ContentTar:
		done := c.begin("find the data of " + v.Name)
		err := c.findData(ctx, v)
		done(err)
		if err != nil {
			return nil, err
		}
	}
	return lvm.NewTags(c.data.Tag()), nil
}

func (c *session) findData(ctx context.Context, v lvm.Volume) (err error) {
	device, err := os.Open(v.Path)
	if err != nil {
		return err
	}
	defer func() { err = joinClose(err, device) }()
	_, err = tarmode.CopyRanges(ctx, device, []tarmode.Range{{Length: v.Size}}, c.mapped(nowhere{}), c.progress)
	return err
}

// nowhere is where data goes that is only looked for.
type nowhere struct{}

// WriteAt forgets the data.
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// mapped notes, of an image that is made, what is written to w.
func (c *session) mapped(w io.WriterAt) io.WriterAt {
	if c.data == nil {
		return w
	}
	return mappedWriter{w, c.data}
}

// mappedWriter notes where it writes.
type mappedWriter struct {
	io.WriterAt
	data *lvm.DataMap
}

// WriteAt notes the range first: one that was written in part has data, too.
func (m mappedWriter) WriteAt(p []byte, off int64) (int, error) {
	m.data.Add(off, int64(len(p)))
	return m.WriterAt.WriteAt(p, off)
}

// gapSamples is how many of the parts that should read as zeros are looked at.
const gapSamples = 64

// dataOf are the parts of an image that have to be read to copy it: those that its tag
// names, if samples of the others are zero; else all. An image never changes but by verbs,
// and those that let it be written take the tag away.
func (c *session) dataOf(device *os.File, v lvm.Volume) ([]tarmode.Range, error) {
	all := []tarmode.Range{{Length: v.Size}}
	value := v.Tags.Get(lvm.TagData)
	if value == "" {
		return all, nil
	}
	m, err := lvm.ParseDataMap(value, v.Size)
	if err != nil {
		c.log("warn", "volume %s is read whole: %v", v.Name, err)
		return all, nil
	}
	gaps := m.Zeros()
	for i := range min(len(gaps), gapSamples) { // evenly, if there are more of them
		gap := gaps[i*len(gaps)/min(len(gaps), gapSamples)]
		err := lvm.VerifyZero(device, gap.Off, gap.Length, gapSamples/len(gaps))
		if errors.Is(err, lvm.ErrNotZero) {
			c.log("warn", "volume %s has data where its tag %s says that it has none (%v): it is read whole; find out who wrote to it", v.Name, lvm.TagData, err)
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
	var parts []tarmode.Range
	for _, s := range m.Data() {
		parts = append(parts, tarmode.Range(s))
	}
	return parts, nil
}

// withoutData is the tag that goes when an image is about to be written.
func withoutData(v lvm.Volume) lvm.Tags {
	if value := v.Tags.Get(lvm.TagData); value != "" {
		return lvm.NewTags(lvm.TagData + "=" + value)
	}
	return nil
}

// clearImage discards what an earlier attempt at the same image left, complete or not, as
// clearTheWay does for disks.
func (c *session) clearImage(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if v.Name == c.imageName() && !v.Tags.Has(lvm.TagQuarantine) {
			c.log("warn", "volume %s is left over from an earlier attempt (tags: %q): removing it", v.Name, v.Tags)
		}
	}
	return c.discardImage(ctx, g, volumes)
}

// dropImage removes an image, and its snapshots. One that is not there is fine: the caller
// wants it gone.
func (c *session) dropImage(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	return c.discardImage(ctx, g, volumes)
}

func (c *session) discardImage(ctx context.Context, g lvm.Group, volumes []lvm.Volume) error {
	mark := lvm.KeyTag(lvm.TagImage, c.req.Image.ID)
	for _, v := range volumes {
		switch {
		case v.Tags.Has(lvm.TagOurs, mark) && c.inQuarantine(v):
			c.quarantined = append(c.quarantined, quarantined{g, v.Name})
			continue
		case v.Name != c.imageName():
			continue
		case !c.req.Image.isTagged(v):
			return c.imageError("remove", fmt.Errorf("it is named as image %d but does not carry its tags (%q): look at it and remove it by hand", c.req.Image.ID, v.Tags))
		case v.Tags.Get(lvm.TagVM) != "" || v.Open:
			return c.imageError("remove", fmt.Errorf("%w (tags: %q)", lvm.ErrInUse, v.Tags))
		}
		if err := c.refuseClones(volumes, c.req.Image, "remove"); err != nil {
			return err
		}
		for _, s := range snapshotsOf(volumes, v) {
			if !s.Tags.Has(lvm.TagOurs, mark) {
				return c.imageError("remove", foreignSnapshot(s))
			}
			if err := c.removeSnapshot(ctx, g, s); err != nil {
				return err
			}
		}
		if !v.Tags.Has(lvm.TagOurs) { // then whoever finds it in quarantine knows whose it was
			if _, err := g.Tag(ctx, v.Name, imageTags(c.req.Image), nil); err != nil {
				return err
			}
			failpoint.Hit("dropimage.tagged")
		}
		if err := c.discard(ctx, g, v); err != nil {
			return err
		}
	}
	return nil
}

// sendImage sends an image's content back. A crash leaves it active on this node; whoever
// uses it next ends that.
func (c *session) sendImage(ctx context.Context, g lvm.Group) (res Result, err error) {
	if _, err := c.findImage(ctx, g, c.req.Image, "read"); err != nil {
		return Result{}, err
	}
	device, err := c.openImage(ctx, g, c.imageName())
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, device.Close(), c.leaveImage(ctx, g, c.imageName())) }()
	v, err := g.Volume(ctx, c.imageName())
	if err != nil {
		return Result{}, err
	}
	res = Result{Volume: v.Name, Size: v.Size}
	return res, c.send(ctx, v, &res)
}

// lock keeps other verbs away from what the request changes: a VM's disks, or an image.
func (c *session) lock(ctx context.Context) (*vmLock, error) {
	name := c.req.Home
	if c.req.Op.ofImage() {
		name = path.Join("changed-image", c.req.Group, c.imageName())
	}
	interrupt := (c.req.Op == OpRemove || c.req.Op == OpDropImage) && c.req.Snapshot == nil
	return lockVM(ctx, c.Config.LockDir, name, time.Duration(c.req.Patience)*time.Second, interrupt)
}
