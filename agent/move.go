package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// adopt makes a disk, and its snapshots, those of the system datastore in whose home it is
// now: oned has moved the VM there, and both datastores are in this volume group.
func (c *session) adopt(ctx context.Context, g lvm.Group, volumes []lvm.Volume, disk lvm.Volume) error {
	for _, v := range append(snapshotsOf(volumes, disk), disk) { // the disk last: the others follow it
		was := v.Tags.Get(lvm.TagDS)
		if was == "" || was == strconv.Itoa(c.req.DS) {
			continue
		}
		if _, err := g.Tag(ctx, v.Name, lvm.NewTags(lvm.KeyTag(lvm.TagDS, c.req.DS)), lvm.NewTags(lvm.TagDS+"="+was)); err != nil {
			return err
		}
		failpoint.Hit("adopt.tagged")
	}
	return nil
}

// held is the disk that a create with Hold has made, and that nobody has published yet.
func (c *session) held(ctx context.Context, g lvm.Group) (lvm.Volume, error) {
	v, err := g.Volume(ctx, c.diskName())
	if err != nil {
		return v, err
	}
	if !c.isDisk(v) || !v.Tags.Has(lvm.TagBuilding) {
		return v, &lvm.Error{Op: string(c.req.Op), Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("it is not being built (tags: %q)", v.Tags)}
	}
	return v, nil
}

// publish makes the disk that create with Hold has made the VM's:
//
//	linked     a volume tagged building, and a link disk.N: create or remove discards it
//	complete   the finished disk
func (c *session) publish(ctx context.Context, g lvm.Group) error {
	v, err := c.held(ctx, g)
	if err != nil {
		return err
	}
	if err := c.relink(v); err != nil {
		return err
	}
	failpoint.Hit("publish.linked")
	_, err = g.Tag(ctx, v.Name, nil, lvm.NewTags(lvm.TagBuilding))
	failpoint.Hit("publish.complete")
	return err
}

// digest is the SHA-256 of the first Size bytes of a disk that nobody uses.
func (c *session) digest(ctx context.Context, g lvm.Group) (res Result, err error) {
	var v lvm.Volume
	if c.req.Hold {
		v, err = c.held(ctx, g)
	} else {
		_, v, err = c.oneDisk(ctx, g)
	}
	if err != nil {
		return Result{}, err
	}
	if v.Open {
		return Result{}, &lvm.Error{Op: "digest", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: VM %d runs on it, or something else has it open on this node", lvm.ErrInUse, c.req.VM)}
	}
	err = c.whileActive(ctx, g, v, func(v lvm.Volume) error {
		res, err = c.digestOf(ctx, v)
		return err
	})
	return res, err
}

func (c *session) digestOf(ctx context.Context, v lvm.Volume) (Result, error) {
	device, err := os.OpenFile(v.Path, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		return Result{}, fmt.Errorf("read volume %s: %w", v.Name, err)
	}
	defer device.Close() // only read
	done := c.begin("read " + v.Name + " back")
	sum := sha256.New()
	n, err := io.Copy(sum, &reader{ctx: ctx, r: io.LimitReader(device, c.req.Size), progress: c.progress})
	if err == nil && n != c.req.Size {
		err = fmt.Errorf("it has %d bytes, %d were asked for", n, c.req.Size)
	}
	done(err)
	if err != nil {
		return Result{}, fmt.Errorf("read volume %s: %w", v.Name, err)
	}
	return Result{Volume: v.Name, Size: v.Size, Content: n, Digest: hex.EncodeToString(sum.Sum(nil))}, nil
}

// diskLink are the names of links to volumes, which are made anew where the volumes are.
var diskLink = lazyregexp.New(`^disk\.[0-9]+$`)

// moveHome moves the files of a VM's home in another system datastore into this one. A
// crash leaves each file in one of the two, or, between two file systems, in both; the
// same request again goes on.
func (c *session) moveHome(ctx context.Context) error {
	old := Request{Home: c.req.OldHome, DS: c.req.OldDS, VM: c.req.VM}
	from, err := c.openHomeOf(&old, false)
	if errors.Is(err, errNoHome) {
		return nil // it was moved already, or never made
	}
	if err != nil {
		return err
	}
	defer from.close()
	to, err := c.openHome(true)
	if err != nil {
		return err
	}
	defer to.close()
	failpoint.Hit("movehome.made")
	names, err := from.dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := moveEntry(ctx, from, to, name); err != nil {
			return fmt.Errorf("home of VM %d: %w", c.req.VM, err)
		}
		failpoint.Hit("movehome.moved")
	}
	return c.removeHomeOf(&old)
}

func moveEntry(ctx context.Context, from, to *home, name string) error {
	if _, err := from.dir.Readlink(name); err == nil && diskLink.MatchString(name) {
		return nil
	}
	return from.dir.MoveTo(ctx, to.dir, name)
}
