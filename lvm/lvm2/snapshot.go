package lvm2

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"one-clvm/lvm"
)

// Snapshot implements lvm.Group with a classic copy-on-write snapshot: it needs no pool,
// works in every lock manager's group, and is locked by its origin's lock.
func (g *Group) Snapshot(ctx context.Context, req lvm.SnapshotRequest) (lvm.Volume, error) {
	return g.change(ctx, "snapshot", req.Name, func(before state) (lvm.Volume, error) {
		args, err := snapshotArgs(req, before)
		if err != nil {
			return lvm.Volume{}, err
		}
		created := lvm.CreateRequest{Name: req.Name, Tags: req.Tags}
		if err := g.write(ctx, "lvcreate", args...); err != nil {
			return lvm.Volume{}, g.undoCreate(ctx, created, g.explain(ctx, req.Name, err))
		}
		volume, err := g.verified(ctx, req.Name, func(v lvm.Volume) string { return snapshotWrong(req, v) })
		if errors.Is(err, ErrNoEffect) {
			return lvm.Volume{}, g.undoCreate(ctx, created, err)
		}
		return volume, err
	}, req.Tags.Validate, func() error { return lvm.ValidateNames(g.name, req.Origin) }, func() error { return validateSpace(req.Space) })
}

func validateSpace(space int64) error {
	if space == 0 {
		return nil
	}
	return validateSize(space)
}

func snapshotArgs(req lvm.SnapshotRequest, before state) ([]string, error) {
	origin, err := before.find(req.Origin)
	switch {
	case err != nil:
		return nil, fmt.Errorf("of %s: %w", req.Origin, err)
	case before.has(req.Name):
		return nil, lvm.ErrExists
	case origin.Origin != "":
		return nil, fmt.Errorf("%w: %s is a snapshot itself", lvm.ErrSnapshots, req.Origin)
	case origin.Mode != lvm.Exclusive:
		return nil, fmt.Errorf("of %s: %w: it is %s", req.Origin, lvm.ErrNotExclusive, origin.Mode)
	}
	space := req.Space
	if space == 0 {
		space = enoughSpace(origin.Size, before.info.ExtentSize)
	}
	args := []string{"-y", "-s", "-c", strconv.Itoa(lvm.SnapshotChunk>>10) + "k"}
	for _, tag := range lvm.NewTags(req.Tags...) {
		args = append(args, "--addtag", tag)
	}
	return append(args, "-L", lvm.FormatBytes(lvm.RoundUp(space, lvm.SectorSize)), "-n", req.Name, before.info.Name+"/"+req.Origin), nil
}

// enoughSpace is what a snapshot of every chunk of size bytes takes: a header, and one
// chunk of table for every 4096 of data (16 bytes each, Documentation/admin-guide/
// device-mapper/snapshot.rst). LVM itself takes away what could never be used.
func enoughSpace(size, extentSize int64) int64 {
	chunks := size/lvm.SnapshotChunk + 1
	return lvm.RoundUp((chunks+chunks/4096+3)*lvm.SnapshotChunk, extentSize)
}

// snapshotWrong says what a new snapshot lacks; "" when it is as asked.
func snapshotWrong(req lvm.SnapshotRequest, v lvm.Volume) string {
	switch {
	case v.Origin != req.Origin:
		return fmt.Sprintf("it is no snapshot of %s, but of %q", req.Origin, v.Origin)
	case !v.Tags.Has(req.Tags...):
		return fmt.Sprintf("it has the tags %v instead of %v", v.Tags, req.Tags)
	}
	return ""
}

// snapshots are those of a volume.
func (s state) snapshots(origin string) []lvm.Volume {
	var found []lvm.Volume
	for _, volume := range s.volumes {
		if volume.Origin == origin {
			found = append(found, volume)
		}
	}
	return found
}

// checkActivation refuses what snapshots make impossible.
func (g *Group) checkActivation(ctx context.Context, s state, volume lvm.Volume, mode lvm.Mode) error {
	if volume.Origin != "" {
		return fmt.Errorf("%w: it is active with its origin %s", lvm.ErrSnapshots, volume.Origin)
	}
	for _, snapshot := range s.snapshots(volume.Name) {
		switch mode {
		case lvm.Shared:
			return fmt.Errorf("%w: such a volume can only be active on one node; remove %s first", lvm.ErrSnapshots, snapshot.Name)
		case lvm.Off:
			if err := g.released(ctx, snapshot); err != nil {
				return fmt.Errorf("%w: its snapshot %s", err, snapshot.Name)
			}
		}
	}
	return nil
}

// inactive runs a change that LVM does not make on an active origin ("Snapshot origin
// volumes can be resized only while inactive"). A crash leaves the volume inactive.
func (g *Group) inactive(ctx context.Context, before state, volume lvm.Volume, fn func() error) error {
	found := before.snapshots(volume.Name)
	if len(found) == 0 || volume.Mode == lvm.Off {
		return fn()
	}
	if volume.Open {
		return fmt.Errorf("%w, and is in use: remove %s first, or power the VM off", lvm.ErrSnapshots, found[0].Name)
	}
	if err := g.checkActivation(ctx, before, volume, lvm.Off); err != nil {
		return err
	}
	manager := before.info.LockManager
	if err := g.setMode(ctx, manager, volume.Name, lvm.Off); err != nil {
		return err
	}
	err := fn()
	if errors.Is(err, lvm.ErrUnknownOutcome) {
		return err
	}
	return errors.Join(err, g.setMode(ctx, manager, volume.Name, volume.Mode))
}

// withOrigin runs a change of a snapshot while its origin is active exclusively on this
// node. LVM does not see to that: under lvmlockd a snapshot has no lock of its own, and
// lvremove on one node succeeds while another has origin and snapshot active, whose
// device then goes on writing to extents that are free.
func (g *Group) withOrigin(ctx context.Context, before state, volume lvm.Volume, fn func() error) error {
	manager := before.info.LockManager
	if volume.Origin == "" || manager == managerNone {
		return fn()
	}
	origin, err := before.find(volume.Origin)
	if err != nil {
		return fmt.Errorf("its origin %s: %w", volume.Origin, err)
	}
	if origin.Mode == lvm.Exclusive {
		return fn()
	}
	if err := g.setMode(ctx, manager, origin.Name, lvm.Exclusive); err != nil {
		return fmt.Errorf("its origin %s: %w", origin.Name, err)
	}
	_, err = g.verified(ctx, origin.Name, func(v lvm.Volume) string {
		if v.Mode != lvm.Exclusive {
			return "it is active " + v.Mode.String()
		}
		return ""
	})
	if errors.Is(err, ErrNoEffect) { // clvmd says yes to more than it does
		return fmt.Errorf("its origin %s: %w: %w", origin.Name, lvm.ErrLocked, err)
	}
	if err != nil {
		return err
	}
	err = fn()
	if errors.Is(err, lvm.ErrUnknownOutcome) {
		return err
	}
	return errors.Join(err, g.setMode(ctx, manager, origin.Name, origin.Mode))
}
