package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// Volumes that OpenNebula's fs_lvm has made have the suite's names, and no tags. They are
// adopted by tags alone, which that driver does not look at, and released by taking these
// away. Neither moves data, activates anything or minds a running VM. Each is one command of
// LVM: a crash leaves the volume as it was or as it is to be, and the same request again finds
// that out.

// diskByName finds the volume that is named like the request's disk, whatever its tags, among
// all of the group.
func (c *session) diskByName(ctx context.Context, g lvm.Group, op string) (lvm.Volume, []lvm.Volume, error) {
	name := c.diskName()
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return lvm.Volume{}, nil, err
	}
	i := slices.IndexFunc(volumes, func(v lvm.Volume) bool { return v.Name == name })
	if i < 0 {
		return lvm.Volume{}, nil, &lvm.Error{Op: op, Group: g.Name(), Volume: name, Err: lvm.ErrNotFound}
	}
	return volumes[i], volumes, nil
}

// adoptDisk makes a volume that has the name of the VM's disk, and no tags of the suite, that
// disk. Success if it is that already.
func (c *session) adoptDisk(ctx context.Context, g lvm.Group) (Result, error) {
	v, volumes, err := c.diskByName(ctx, g, "adopt")
	if err != nil {
		return Result{}, err
	}
	name, want := v.Name, lvm.DiskTags(c.req.VM, c.req.Disk, c.req.DS)
	switch {
	case v.Tags.Has(want...):
		return Result{Volume: name, Size: v.Size}, nil
	case len(suiteTags(v.Tags)) > 0:
		err = fmt.Errorf("it has tags of the suite that are not those of disk %d of VM %d (%q): tm-clvm audit says what it is", c.req.Disk, c.req.VM, v.Tags)
	case v.Origin != "", hasSnapshots(volumes, name):
		err = fmt.Errorf("%w: those of other drivers are not adopted", lvm.ErrSnapshots)
	case v.Size < c.req.Size:
		err = fmt.Errorf("it has %d bytes, and oned's record of the disk %d: find out which is right", v.Size, c.req.Size)
	case slices.ContainsFunc(volumes, c.isDisk):
		err = fmt.Errorf("another volume is tagged as disk %d of VM %d already: tm-clvm audit names it", c.req.Disk, c.req.VM)
	}
	if err != nil {
		return Result{}, &lvm.Error{Op: "adopt", Group: g.Name(), Volume: name, Err: err}
	}
	if c.req.Rests {
		want = want.With(lvm.TagParked)
	}
	if _, err := g.Tag(ctx, name, want, nil); err != nil {
		return Result{}, err
	}
	failpoint.Hit("adopt.tagged")
	return Result{Volume: name, Size: v.Size}, nil
}

// releaseDisk takes the suite's tags off the VM's disk. Success if there are none. What another
// driver would not understand, such as work that has not ended, must be ended first.
func (c *session) releaseDisk(ctx context.Context, g lvm.Group) (Result, error) {
	v, volumes, err := c.diskByName(ctx, g, "release")
	if err != nil {
		return Result{}, err
	}
	name, tags := v.Name, suiteTags(v.Tags)
	plain := lvm.DiskTags(c.req.VM, c.req.Disk, c.req.DS).With(lvm.TagParked)
	left := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool {
		return plain.Has(tag) || strings.HasPrefix(tag, lvm.TagFSType+"=") || strings.HasPrefix(tag, lvm.TagOp+"=")
	})
	switch {
	case len(tags) == 0:
		return Result{Volume: name, Size: v.Size}, nil
	case !c.isDisk(v):
		err = fmt.Errorf("it is not tagged as disk %d of VM %d (%q): tm-clvm audit says what it is", c.req.Disk, c.req.VM, v.Tags)
	case len(left) > 0:
		err = fmt.Errorf("its tags %q mean something that no other driver understands: end that first, tm-clvm audit says how", left)
	case v.Origin != "", hasSnapshots(volumes, name):
		err = fmt.Errorf("%w: no other driver knows of them; delete them first", lvm.ErrSnapshots)
	}
	if err != nil {
		return Result{}, &lvm.Error{Op: "release", Group: g.Name(), Volume: name, Err: err}
	}
	if _, err := g.Tag(ctx, name, nil, tags); err != nil {
		return Result{}, err
	}
	failpoint.Hit("release.untagged")
	return Result{Volume: name, Size: v.Size}, nil
}

// suiteWords and suiteKeys are all tags that the suite gives to volumes.
var (
	suiteWords = []string{
		lvm.TagOurs, lvm.TagBuilding, lvm.TagParked, lvm.TagQuarantine, lvm.TagFreeSpace, lvm.TagWipeFailed, tagReplacement, tagBackup, tagSaving, tagLive,
	}
	suiteKeys = []string{
		lvm.TagVM, lvm.TagDisk, lvm.TagDS, lvm.TagImage, lvm.TagFSType, lvm.TagOp, lvm.TagMigrating, lvm.TagSnapshot, lvm.TagParent,
		lvm.TagClone, lvm.TagWiper, lvm.TagWiped, lvm.TagData, tagReverting, tagUnzeroed, tagSaved,
	}
)

// suiteTags are those of the tags that the suite gives. Others are the administrator's.
func suiteTags(tags lvm.Tags) lvm.Tags {
	var all lvm.Tags
	for _, tag := range tags {
		key, _, hasValue := strings.Cut(tag, "=")
		if !hasValue && slices.Contains(suiteWords, tag) || hasValue && slices.Contains(suiteKeys, key) {
			all = append(all, tag)
		}
	}
	return all
}

// hasSnapshots says whether volumes are snapshots of that one, by LVM's word or by their names.
func hasSnapshots(volumes []lvm.Volume, name string) bool {
	return slices.ContainsFunc(volumes, func(v lvm.Volume) bool {
		return v.Origin == name || strings.HasPrefix(v.Name, name+"_")
	})
}
