package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// tagLive is on a snapshot of a disk that was in use: its file system is as after a power
// cut.
const tagLive = "live"

// snapshotsOf are the snapshots of a volume.
func snapshotsOf(volumes []lvm.Volume, origin lvm.Volume) []lvm.Volume {
	var found []lvm.Volume
	for _, v := range volumes {
		if v.Origin == origin.Name {
			found = append(found, v)
		}
	}
	return found
}

// isRequested says by its tags whether a snapshot of the disk, or image, that is meant is
// the request's.
func (c *session) isRequested(v lvm.Volume) bool {
	return v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagSnapshot, *c.req.Snapshot))
}

// findSnapshot is the request's snapshot of a disk or an image. ErrNotFound.
func (c *session) findSnapshot(g lvm.Group, volumes []lvm.Volume, disk lvm.Volume) (lvm.Volume, error) {
	for _, v := range snapshotsOf(volumes, disk) {
		if c.isRequested(v) {
			return v, nil
		}
	}
	return lvm.Volume{}, &lvm.Error{Op: string(c.req.Op), Group: g.Name(), Volume: lvm.SnapshotName(disk.Name, *c.req.Snapshot), Err: lvm.ErrNotFound}
}

// readable refuses a snapshot whose content is lost.
func readable(v lvm.Volume) error {
	if !v.Invalid {
		return nil
	}
	return &lvm.Error{Op: "read", Group: v.Group, Volume: v.Name, Err: fmt.Errorf("%w: more of its disk changed than it has space for, and its content is lost: delete it, and give snapshots more space (SNAPSHOT_SPACE)", lvm.ErrInvalid)}
}

// takeSnapshot takes a snapshot of a disk, in use or not: for a disk in use it is that of
// one instant, as after a power cut. A crash leaves nothing, or the finished snapshot,
// which the next one of that number replaces: oned uses a number again only after a
// failure. A snapshot of an image in place is the image's, and stays with it: oned moves its
// record from the VM to the image when the VM ends.
func (c *session) takeSnapshot(ctx context.Context, g lvm.Group) (Result, error) {
	volumes, disk, err := c.oneDisk(ctx, g)
	if err != nil {
		return Result{}, err
	}
	if err := refuseClone(disk, "snapshot", "no snapshot can be taken of it"); err != nil {
		return Result{}, err
	}
	for _, v := range snapshotsOf(volumes, disk) {
		if !c.isRequested(v) {
			continue
		}
		c.log("warn", "snapshot %s is left over from an earlier attempt: removing it", v.Name)
		if err := c.removeSnapshot(ctx, g, v); err != nil {
			return Result{}, err
		}
	}
	if disk.Open {
		c.log("info", "volume %s is in use: the snapshot is as after a power cut", disk.Name)
	}
	var res Result
	err = c.whileActive(ctx, g, disk, func(disk lvm.Volume) error {
		v, err := g.Snapshot(ctx, c.snapshotRequest(disk))
		if err != nil {
			return err
		}
		failpoint.Hit("snapshot.taken")
		res = Result{Volume: v.Name, Path: v.Path, Size: v.Size}
		return nil
	})
	if err != nil || disk.Mode == lvm.Off {
		return res, err
	}
	return res, c.relink(disk)
}

func (c *session) snapshotRequest(disk lvm.Volume) lvm.SnapshotRequest {
	tags := lvm.DiskTags(c.req.VM, c.req.Disk, c.req.DS)
	if image := disk.Tags.Get(lvm.TagImage); image != "" {
		tags = lvm.NewTags(lvm.TagOurs, lvm.TagImage+"="+image)
	}
	tags = tags.With(lvm.KeyTag(lvm.TagSnapshot, *c.req.Snapshot), lvm.TagOp+"="+c.req.Operation)
	if c.req.Parent != nil {
		tags = tags.With(lvm.KeyTag(lvm.TagParent, *c.req.Parent))
	}
	if fstype := disk.Tags.Get(lvm.TagFSType); fstype != "" {
		tags = tags.With(lvm.TagFSType + "=" + fstype)
	}
	if disk.Open {
		tags = tags.With(tagLive)
	}
	return lvm.SnapshotRequest{Name: lvm.SnapshotName(disk.Name, *c.req.Snapshot), Origin: disk.Name, Space: c.spaceOf(disk), Tags: tags}
}

// spaceOf is the space for a snapshot of the disk that the request wants.
func (c *session) spaceOf(disk lvm.Volume) int64 {
	if c.req.Space == wholeSpace {
		return 0
	}
	return max(disk.Size/wholeSpace*int64(c.req.Space), lvm.SnapshotChunk)
}

// wholeSpace is the Request.Space, in percent, of a snapshot that never becomes invalid.
const wholeSpace = 100

// removeRequested removes the request's snapshot; one that is not there is fine.
func (c *session) removeRequested(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, disk := range volumes {
		if !c.isDisk(disk) && !c.isLent(disk) {
			continue
		}
		if err := c.removeRequestedOf(ctx, g, volumes, disk); err != nil {
			return err
		}
	}
	return nil
}

// removeRequestedOf removes the request's snapshot of a disk or an image.
func (c *session) removeRequestedOf(ctx context.Context, g lvm.Group, volumes []lvm.Volume, origin lvm.Volume) error {
	for _, v := range snapshotsOf(volumes, origin) {
		if !c.isRequested(v) {
			continue
		}
		if origin.Tags.Has(lvm.KeyTag(tagReverting, *c.req.Snapshot)) {
			return halfReverted("remove", origin)
		}
		if err := c.removeSnapshot(ctx, g, v); err != nil {
			return err
		}
	}
	return nil
}

// removeSnapshot removes a snapshot for good. Its own space cannot be wiped: only LVM can
// reach it. Therefore the volume group's free space is not known to be clean afterwards,
// and new disks are zeroed before anybody gets them. A crash leaves the snapshot, or
// nothing but that.
func (c *session) removeSnapshot(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	if err := released(ctx, g, v, "remove", "end what has it open on this node first"); err != nil {
		return err
	}
	if err := c.soil(ctx, g); err != nil {
		return err
	}
	done := c.begin("remove snapshot " + v.Name)
	err := g.Remove(ctx, v.Name)
	done(err)
	if err != nil {
		return err
	}
	failpoint.Hit("unsnapshot.removed")
	return c.soil(ctx, g) // somebody may have wiped the free space in between
}

// discardDisk discards a disk with its snapshots, and removes one that is a snapshot itself.
func (c *session) discardDisk(ctx context.Context, g lvm.Group, volumes []lvm.Volume, v lvm.Volume) error {
	if isClone(v) {
		return c.removeClone(ctx, g, v)
	}
	for _, s := range snapshotsOf(volumes, v) {
		if v.Open {
			break // discard says so
		}
		if !c.isDisk(s) {
			return &lvm.Error{Op: "remove", Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w, and %s was not made by this suite (tags: %q): remove it by hand", lvm.ErrSnapshots, s.Name, s.Tags)}
		}
		if err := c.removeSnapshot(ctx, g, s); err != nil {
			return err
		}
	}
	return c.discard(ctx, g, v)
}

// tagReverting is on a disk whose content is being brought back to a snapshot's: from the
// first block on until it is all there, it is of no use to anybody.
const tagReverting = "reverting"

func halfReverted(op string, v lvm.Volume) error {
	return &lvm.Error{Op: op, Group: v.Group, Volume: v.Name, Err: fmt.Errorf("it was not brought back to snapshot %s to the end: revert it again", v.Tags.Get(tagReverting))}
}

// revert brings a disk back to a snapshot, by copying what differs. oned keeps the snapshot
// and may come back to it, and to the others. (LVM's own way, a merge, consumes the
// snapshot, is put off while the disk is open, and goes on by itself after a crash.)
//
//	tagged     the disk as it was, tagged reverting
//	unlinked   the same without its link in the home: no hypervisor opens it
//	copied     some or all of the blocks, still tagged
//	linked     the same
//	complete   the finished disk
//
// From tagged on every verb but SNAP_REVERT and DELETE refuses the disk.
func (c *session) revert(ctx context.Context, g lvm.Group) error {
	volumes, disk, err := c.oneDisk(ctx, g)
	if err != nil {
		return err
	}
	from, err := c.findSnapshot(g, volumes, disk)
	if err != nil {
		return err
	}
	if disk.Open {
		return &lvm.Error{Op: "revert", Group: g.Name(), Volume: disk.Name, Err: fmt.Errorf("%w: VM %d still runs on it", lvm.ErrInUse, c.req.VM)}
	}
	home, err := c.openHome(true)
	if err != nil {
		return err
	}
	defer home.close()
	return c.whileActive(ctx, g, disk, func(disk lvm.Volume) error {
		if from, err = g.Volume(ctx, from.Name); err == nil { // whether it is valid is known only now
			err = readable(from)
		}
		if err != nil {
			return err
		}
		return c.revertTo(ctx, g, home, disk, from)
	})
}

func (c *session) revertTo(ctx context.Context, g lvm.Group, home *home, disk, from lvm.Volume) error {
	link := "disk." + strconv.Itoa(c.req.Disk)
	if err := c.beginRevert(ctx, g, disk); err != nil {
		return err
	}
	if err := home.remove(link); err != nil {
		return err
	}
	failpoint.Hit("revert.unlinked")
	if err := c.bringBack(ctx, disk, from); err != nil {
		return err
	}
	if err := errors.Join(c.give(disk), home.link(link, disk.Path)); err != nil {
		return err
	}
	failpoint.Hit("revert.linked")
	return c.endRevert(ctx, g, disk)
}

// beginRevert marks a disk or an image as one that is being brought back to the request's
// snapshot.
func (c *session) beginRevert(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	mark := lvm.KeyTag(tagReverting, *c.req.Snapshot)
	stale := savedTags(v).With(withoutData(v)...)
	if before := v.Tags.Get(tagReverting); before != "" {
		stale = stale.With(tagReverting + "=" + before).Without(mark)
	}
	_, err := g.Tag(ctx, v.Name, lvm.NewTags(mark), stale)
	failpoint.Hit("revert.tagged")
	return err
}

func (c *session) bringBack(ctx context.Context, v, from lvm.Volume) error {
	done := c.begin(fmt.Sprintf("bring %s back to %s", v.Name, from.Name))
	err := c.copyDifferences(ctx, from, v)
	done(err)
	failpoint.Hit("revert.copied")
	if err != nil {
		return fmt.Errorf("%w; it cannot be used until it is reverted again", err)
	}
	return nil
}

func (c *session) endRevert(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	_, err := g.Tag(ctx, v.Name, nil, lvm.NewTags(lvm.KeyTag(tagReverting, *c.req.Snapshot)))
	failpoint.Hit("revert.complete")
	return err
}

// copyDifferences copies the chunks that differ: those for which the snapshot has space of
// its own already, so that it cannot run out of it. What the disk has behind the
// snapshot's end, if it has grown since, stays.
func (c *session) copyDifferences(ctx context.Context, from, to lvm.Volume) (err error) {
	source, err := os.Open(from.Path)
	if err != nil {
		return err
	}
	defer source.Close() // only read
	target, err := os.OpenFile(to.Path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer func() { err = joinClose(err, target) }()
	if err := copyChunks(ctx, source, target, from.Size, c.progress); err != nil {
		return fmt.Errorf("copy volume %s to %s: %w", from.Name, to.Name, err)
	}
	if err := target.Sync(); err != nil {
		return fmt.Errorf("flush volume %s: %w", to.Name, err)
	}
	return nil
}

// oneDisk is the request's disk, and the report that it was found in.
func (c *session) oneDisk(ctx context.Context, g lvm.Group) ([]lvm.Volume, lvm.Volume, error) {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return nil, lvm.Volume{}, err
	}
	disks, err := c.disksIn(g, volumes)
	if err != nil {
		return nil, lvm.Volume{}, err
	}
	return volumes, disks[0], c.finishExtend(ctx, g, disks[0])
}

// whileActive does something with a disk that is active exclusively, and leaves it active
// or not as it was; a parked one not, even if a crash had left it so.
func (c *session) whileActive(ctx context.Context, g lvm.Group, v lvm.Volume, do func(lvm.Volume) error) (err error) {
	switch {
	case v.Mode == lvm.Exclusive && !v.Tags.Has(lvm.TagParked):
		return do(v)
	case v.Mode == lvm.Shared:
		return &lvm.Error{Op: string(c.req.Op), Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: a live migration has it shared, or left it so: try again when that has ended", lvm.ErrNotExclusive)}
	}
	if v, err = c.setMode(ctx, g, v, lvm.Exclusive); err != nil {
		return err
	}
	failpoint.Hit("snapshot.activated")
	defer func() {
		_, offErr := c.setMode(context.WithoutCancel(ctx), g, v, lvm.Off)
		err = errors.Join(err, offErr)
	}()
	return do(v)
}
