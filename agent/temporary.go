package agent

import (
	"context"
	"errors"
	"fmt"
	"math"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// A disk in use is backed up and saved from a temporary snapshot: the content of one instant,
// as after a power cut. What a crash leaves of it makes the disk slower and keeps it on its
// node. The next backup or save of the disk removes it, RESIZE, PREMIGRATE, what ends the disk
// or gives the image back, and audit.

// temporaryNumber is the number of all temporary snapshots: oned counts from 0 and does not
// get there. Two of one disk never are at a time, by the VM's lock.
const temporaryNumber = math.MaxInt32

// What a temporary snapshot is for.
const (
	tagBackup = "backup"
	tagSaving = "saving"
)

// IsTemporary says whether a volume is a snapshot that a backup or a save reads, or has left.
func IsTemporary(v lvm.Volume) bool {
	return v.Origin != "" && (v.Tags.Has(tagBackup) || v.Tags.Has(tagSaving))
}

// takeTemporary takes the temporary snapshot of disk number of the VM, tagged with what it is
// for. Its errors are those of lvm.Group.Snapshot.
func (c *session) takeTemporary(ctx context.Context, g lvm.Group, disk lvm.Volume, number int, purpose string) (lvm.Volume, error) {
	tags := lvm.DiskTags(c.req.VM, number, c.req.DS).With(lvm.KeyTag(lvm.TagSnapshot, temporaryNumber), purpose, tagLive)
	if fstype := disk.Tags.Get(lvm.TagFSType); fstype != "" {
		tags = tags.With(lvm.TagFSType + "=" + fstype)
	}
	return g.Snapshot(ctx, lvm.SnapshotRequest{
		Name:   lvm.DiskName(c.Config.Prefix, c.req.VM, number).WithSnapshot(temporaryNumber).String(),
		Origin: disk.Name, Space: c.spaceOf(disk), Tags: tags,
	})
}

// removeTemporary removes the temporary snapshots of the request's disks.
func (c *session) removeTemporary(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err == nil {
		_, err = c.withoutTemporary(ctx, g, volumes, "")
	}
	return err
}

// withoutTemporary removes the temporary snapshots among volumes that are of the request's
// disks, or of the one of them that is named, and gives the others.
func (c *session) withoutTemporary(ctx context.Context, g lvm.Group, volumes []lvm.Volume, origin string) ([]lvm.Volume, error) {
	var others []lvm.Volume
	for _, v := range volumes {
		if !c.isDisk(v) || !IsTemporary(v) || origin != "" && v.Origin != origin {
			others = append(others, v)
			continue
		}
		if err := c.removeSnapshot(ctx, g, v); err != nil {
			return nil, err
		}
	}
	return others, nil
}

// whileStill has a disk, or a snapshot of one, read as it is at one instant: a disk in use by
// way of a temporary snapshot. Where none can be taken it is read while it changes, which is said.
func (c *session) whileStill(ctx context.Context, g lvm.Group, disk lvm.Volume, read func(source lvm.Volume) error) error {
	if err := readable(disk); err != nil {
		return err
	}
	if disk.IsSnapshot() || !disk.Open && disk.Mode != lvm.Shared {
		return read(disk)
	}
	if c.req.Space == 0 {
		c.warnInUse(disk, errors.New("the front-end asks for none"))
		return read(disk)
	}
	source, err := c.takeTemporary(ctx, g, disk, c.req.Disk, tagSaving)
	if isImpossible(err) {
		c.warnInUse(disk, err)
		return read(disk)
	}
	if err == nil {
		failpoint.Hit("livesave.snapshot")
		err = c.readTemporary(ctx, g, source, read)
	}
	return errors.Join(err, c.removeTemporary(context.WithoutCancel(ctx), g))
}

// isImpossible: no snapshot can be taken of the disk as it is, and nothing was done.
func isImpossible(err error) bool {
	for _, why := range []error{lvm.ErrNoSpace, lvm.ErrNotExclusive, lvm.ErrSnapshots, lvm.ErrInUse} {
		if errors.Is(err, why) {
			return !errors.Is(err, lvm.ErrUnknownOutcome)
		}
	}
	return false
}

// readTemporary says of a failure that the snapshot has run out of space, if it has.
func (c *session) readTemporary(ctx context.Context, g lvm.Group, source lvm.Volume, read func(lvm.Volume) error) error {
	err := read(source)
	if err == nil {
		return nil
	}
	if now, lookErr := g.Volume(context.WithoutCancel(ctx), source.Name); lookErr == nil && now.Invalid {
		return fmt.Errorf("%w: %w: VM %d wrote more meanwhile than snapshot %s has space for: save the disk again with more (SNAPSHOT_SPACE), or power the VM off", err, lvm.ErrInvalid, c.req.VM, source.Name)
	}
	return err
}

// warnInUse says what a copy of a disk in use is worth.
func (c *session) warnInUse(disk lvm.Volume, why error) {
	c.log("warn", "volume %s is in use, and is read without a snapshot (%v): what VM %d writes meanwhile may be in the copy in part; for a copy of one instant power the VM off", disk.Name, why, c.req.VM)
}
