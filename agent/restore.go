package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
)

// tagReplacement is on a volume with another content for a disk that there is already.
const tagReplacement = "replacement"

// restore makes a second volume for a disk, with the payload's content, and leaves the disk
// alone: replace puts it in the disk's place. Until then it is in quarantine, and kept
// there (isKept): the next verb on the disk removes it.
//
//	created, filled   a volume in quarantine, tagged building
//	held              a volume in quarantine, tagged replacement
func (c *session) restore(ctx context.Context, g lvm.Group) (res Result, err error) {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return res, err
	}
	if slices.ContainsFunc(volumes, func(v lvm.Volume) bool {
		return c.isDisk(v) && c.refuseUndecided(v) != nil && !v.Tags.Has(lvm.TagQuarantine)
	}) {
		if err := c.replace(ctx, g); err != nil { // what an earlier RESTORE has begun
			return res, err
		}
		if volumes, err = g.Volumes(ctx); err != nil {
			return res, err
		}
	}
	if err := c.discardReplacements(ctx, g, volumes); err != nil {
		return res, err
	}
	disks, err := c.disksIn(g, volumes)
	if err != nil {
		return res, err
	}
	disk := disks[0]
	if disk.Open {
		return res, &lvm.Error{Op: "restore", Group: g.Name(), Volume: disk.Name, Err: fmt.Errorf("%w: VM %d still runs on it", lvm.ErrInUse, c.req.VM)}
	}
	tags := lvm.DiskTags(c.req.VM, c.req.Disk, c.req.DS).With(lvm.TagBuilding, lvm.TagQuarantine, lvm.TagOp+"="+c.req.Operation)
	if fstype := disk.Tags.Get(lvm.TagFSType); fstype != "" {
		tags = tags.With(lvm.TagFSType + "=" + fstype)
	}
	name := lvm.QuarantineName(c.Config.Prefix, c.req.Operation).String()
	v, err := g.Create(ctx, lvm.CreateRequest{Name: name, Size: disk.Size, Tags: tags})
	if err != nil {
		return res, err
	}
	var steps undo.Stack
	steps.Push("remove volume "+name, func(ctx context.Context) error { return c.discard(ctx, g, v) })
	failpoint.Hit("restore.created")
	res = Result{Volume: disk.Name, Size: v.Size}
	if err = c.fill(ctx, g, v, &res); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		failpoint.Hit("restore.filled")
		_, err = g.Tag(ctx, name, lvm.NewTags(tagReplacement), lvm.NewTags(lvm.TagBuilding))
	}
	if err != nil {
		return Result{}, steps.Unwind(context.WithoutCancel(ctx), err)
	}
	failpoint.Hit("restore.held")
	return res, nil
}

// discardReplacements removes what earlier attempts have left in quarantine: replacements,
// and disks that were replaced.
func (c *session) discardReplacements(ctx context.Context, g lvm.Group, volumes []lvm.Volume) error {
	for _, v := range volumes {
		if !c.isDisk(v) || v.Origin != "" || !v.Tags.Has(lvm.TagQuarantine) {
			continue
		}
		if err := c.discard(ctx, g, v); err != nil {
			return err
		}
	}
	return nil
}

// replace puts the volume that restore has made in the place of the disk, whose snapshots go
// with it, as oned's records of them do.
//
//	unlinked    the disk as it was, but no hypervisor opens it
//	decided     two volumes: the replacement counts, and every verb but RESTORE and DELETE
//	            refuses the disk
//	discarded   the replacement under its own name
//	renamed     the replacement as the disk, still tagged
//	activated, linked, off   the same
//	complete    the finished disk
func (c *session) replace(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	if c.req.Remove {
		return c.discardReplacements(ctx, g, volumes)
	}
	replacement, old, err := c.replacementOf(g, volumes)
	if err != nil {
		return err
	}
	home, err := c.openHome(true)
	if err != nil {
		return err
	}
	defer home.close()
	if err := home.remove("disk." + strconv.Itoa(c.req.Disk)); err != nil {
		return err
	}
	failpoint.Hit("replace.unlinked")
	parked := lvm.Tags(nil)
	if old != nil && old.Tags.Has(lvm.TagParked) {
		parked = lvm.NewTags(lvm.TagParked)
	}
	if _, err := g.Tag(ctx, replacement.Name, parked, lvm.NewTags(lvm.TagQuarantine)); err != nil {
		return err
	}
	failpoint.Hit("replace.decided")
	if old != nil {
		if err := c.discardDisk(ctx, g, volumes, *old); err != nil {
			return err
		}
		failpoint.Hit("replace.discarded")
	}
	if name := c.diskName(); replacement.Name != name {
		if err := g.Rename(ctx, replacement.Name, name); err != nil {
			return err
		}
		failpoint.Hit("replace.renamed")
	}
	return c.completeReplacement(ctx, g, home)
}

func (c *session) completeReplacement(ctx context.Context, g lvm.Group, home *home) error {
	v, err := g.Activate(ctx, c.diskName(), lvm.Exclusive)
	failpoint.Hit("replace.activated")
	if err == nil {
		err = errors.Join(c.give(v), home.link("disk."+strconv.Itoa(c.req.Disk), v.Path))
	}
	if err != nil {
		return err
	}
	failpoint.Hit("replace.linked")
	if v.Tags.Has(lvm.TagParked) {
		if _, err := g.Activate(ctx, v.Name, lvm.Off); err != nil {
			return err
		}
		failpoint.Hit("replace.off")
	}
	_, err = g.Tag(ctx, v.Name, nil, lvm.NewTags(tagReplacement))
	failpoint.Hit("replace.complete")
	return err
}

// replacementOf finds the replacement and what it replaces; nil if that is gone already.
func (c *session) replacementOf(g lvm.Group, volumes []lvm.Volume) (replacement lvm.Volume, old *lvm.Volume, err error) {
	found := false
	for i, v := range volumes {
		switch {
		case !c.isDisk(v) || v.IsSnapshot() || v.Tags.Has(lvm.TagBuilding):
		case v.Tags.Has(tagReplacement):
			replacement, found = v, true
		case !c.inQuarantine(v): // tagged so under its own name, its removal was cut off
			old = &volumes[i]
		}
	}
	if !found {
		return replacement, nil, &lvm.Error{Op: "restore", Group: g.Name(), Volume: c.diskName(), Err: errors.New("there is nothing to restore it with: run RESTORE again")}
	}
	return replacement, old, nil
}

// refuseUndecided refuses a disk that a killed RESTORE has left with two volumes.
func (c *session) refuseUndecided(v lvm.Volume) error {
	if !v.Tags.Has(tagReplacement) || c.req.Op == OpReplace {
		return nil
	}
	return &lvm.Error{Op: string(c.req.Op), Group: v.Group, Volume: v.Name, Err: errors.New("it was not restored to the end: restore it again")}
}
