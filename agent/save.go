package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// save sends a disk's content back. The volume is left as it was found: active or not. A crash
// leaves one that was not active so, and of a disk in use perhaps a temporary snapshot.
func (c *session) save(ctx context.Context, g lvm.Group) (res Result, err error) {
	volumes, v, err := c.oneDisk(ctx, g)
	if err != nil {
		return Result{}, err
	}
	if c.req.Snapshot != nil {
		return c.saveSnapshot(ctx, g, volumes, v)
	}
	if volumes, err = c.toBeRead(ctx, g, volumes, v); err != nil {
		return Result{}, err
	}
	removing := false
	if v.Mode == lvm.Off || v.Tags.Has(lvm.TagParked) {
		if v, err = c.setMode(ctx, g, v, lvm.Exclusive); err != nil {
			return Result{}, err
		}
		failpoint.Hit("save.activated")
		defer func() {
			if removing {
				return // it is gone, or on its way
			}
			_, offErr := c.setMode(context.WithoutCancel(ctx), g, v, lvm.Off)
			err = errors.Join(err, offErr)
		}()
	}
	res = Result{Volume: v.Name, Size: v.Size}
	if err := c.whileStill(ctx, g, v, func(source lvm.Volume) error { return c.send(ctx, source, &res) }); err != nil {
		return Result{}, err
	}
	if !c.req.Remove {
		return res, nil
	}
	if err := c.awaitReceiver(ctx); err != nil {
		return Result{}, err
	}
	removing = true
	return res, c.removeSaved(ctx, g, volumes, v)
}

// saveSnapshot sends a snapshot's content; the disk may be in use.
func (c *session) saveSnapshot(ctx context.Context, g lvm.Group, volumes []lvm.Volume, disk lvm.Volume) (res Result, err error) {
	err = c.whileReadable(ctx, g, volumes, disk, func(snapshot lvm.Volume) error {
		res = Result{Volume: snapshot.Name, Size: snapshot.Size}
		return c.send(ctx, snapshot, &res)
	})
	return res, err
}

// whileReadable has the request's snapshot of a disk read.
func (c *session) whileReadable(ctx context.Context, g lvm.Group, volumes []lvm.Volume, disk lvm.Volume, read func(snapshot lvm.Volume) error) error {
	snapshot, err := c.findSnapshot(g, volumes, disk)
	if err != nil {
		return err
	}
	return c.whileActive(ctx, g, disk, func(lvm.Volume) error {
		v, err := g.Volume(ctx, snapshot.Name) // whether it is valid is known only now
		if err == nil {
			err = readable(v)
		}
		if err != nil {
			return err
		}
		return read(v)
	})
}

// toBeRead refuses to take a disk from a VM that runs on it, before anything is copied, and
// removes temporary snapshots that are left of it. It gives the volumes that are left.
func (c *session) toBeRead(ctx context.Context, g lvm.Group, volumes []lvm.Volume, disk lvm.Volume) ([]lvm.Volume, error) {
	if c.req.Remove {
		if err := released(ctx, g, disk, string(c.req.Op), fmt.Sprintf("VM %d still runs on it, or something else has it open on this node: end that first", c.req.VM)); err != nil {
			return nil, err
		}
	}
	return c.withoutTemporary(ctx, g, volumes, disk.Name)
}

func (c *session) removeSaved(ctx context.Context, g lvm.Group, volumes []lvm.Volume, v lvm.Volume) error {
	if err := c.discardDisk(ctx, g, volumes, v); err != nil {
		return err
	}
	return c.removeLinks()
}

// awaitReceiver waits until the other end has the content on stable storage under
// its final name; only then may the volume go.
func (c *session) awaitReceiver(ctx context.Context) error {
	select {
	case <-c.acks:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the receiver did not confirm, volume kept: %w", context.Cause(ctx))
	}
}

func (c *session) send(ctx context.Context, v lvm.Volume, res *Result) error {
	fstype := v.Tags.Get(lvm.TagFSType)
	mode, why := saveMode(c.req.Mode, fstype, c.Config.ReadGuestFS, v.Open || v.Mode == lvm.Shared || v.Tags.Has(tagLive))
	if why != "" {
		c.log("warn", "saving %s as %s, not %s: %s", v.Name, mode, c.req.Mode, why)
	}
	start := Start{Mode: mode, Extents: mode == tarmode.RAW, Size: v.Size, FSType: fstype}
	if err := c.frames.writeJSON(frameStart, start); err != nil {
		return fmt.Errorf("start of the stream: %w", err)
	}
	out := newPayloadWriter(c.frames)
	done := c.begin(fmt.Sprintf("save %s as %s", v.Name, mode))
	err := c.sendAs(ctx, out, v, mode, res)
	done(err)
	if err != nil {
		return fmt.Errorf("save volume %s as %s: %w", v.Name, mode, err)
	}
	return out.close()
}

// saveMode decides what a disk can be saved as: a tar only of a file system that the
// suite made, that nobody has open, and that the administrator lets this node read.
// why is empty where the wish is granted.
func saveMode(want tarmode.Mode, fstype string, readGuestFS, open bool) (mode tarmode.Mode, why string) {
	if !want.Tar() {
		return want, ""
	}
	asDisk := tarmode.GZIP
	if want == tarmode.TZST {
		asDisk = tarmode.ZSTD
	}
	switch {
	case !makers[fstype].posix:
		return asDisk, "it holds no file system that this suite made"
	case open:
		return asDisk, "it is, or was, in use"
	case !readGuestFS:
		return asDisk, "reading a guest's file system is not allowed on this node (READ_GUEST_FS in agent.conf)"
	}
	return want, ""
}

func (c *session) sendAs(ctx context.Context, out io.Writer, v lvm.Volume, mode tarmode.Mode, res *Result) error {
	if mode.Tar() {
		return c.pack(ctx, out, v, mode, res)
	}
	device, err := os.Open(v.Path)
	if err != nil {
		return err
	}
	defer device.Close() // only read
	if mode == tarmode.RAW {
		res.Content, err = tarmode.SendExtents(ctx, out, device, v.Size, c.progress)
		return err
	}
	packed, err := tarmode.NewCompressor(out, mode.Compression(), c.req.Level)
	if err != nil {
		return err
	}
	res.Content, err = io.Copy(packed, &reader{ctx: ctx, r: io.LimitReader(device, v.Size), progress: c.progress})
	return joinClose(err, packed)
}

// reader counts and stops when its context ends.
type reader struct {
	ctx      context.Context
	r        io.Reader
	n        int64
	progress func(int64)
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.r.Read(p)
	r.n += int64(n)
	r.progress(r.n)
	return n, err
}
