package filevg

import (
	"context"
	"fmt"

	"one-clvm/lvm"
)

// Snapshot implements lvm.Group with a full copy: without device-mapper nothing keeps the
// old blocks of a volume that is written to. Therefore the origin may not be in use, and
// the snapshot always has space for everything.
func (g *Group) Snapshot(ctx context.Context, req lvm.SnapshotRequest) (v lvm.Volume, err error) {
	err = g.change(ctx, "snapshot", req.Name, func(s *session) error {
		origin, err := s.originOf(req)
		if err != nil {
			return err
		}
		record, err := s.newRecord(lvm.CreateRequest{Name: req.Name, Size: s.meta.bytes(origin).Length, Tags: req.Tags})
		if err != nil {
			return err
		}
		record.Origin = origin.UUID
		// Until the commit, the new place is free space.
		if err := s.soil(); err != nil {
			return err
		}
		if err := copyRange(s.ctx, s.path(pvFile), s.meta.bytes(origin), s.meta.bytes(record).Offset); err != nil {
			return fmt.Errorf("copy %s: %w", req.Origin, err)
		}
		if err := s.commit(func(m *metadata) { m.add(record) }); err != nil {
			return err
		}
		if err := s.activate(record); err != nil {
			return err
		}
		v, err = s.reread(req.Name, func(v lvm.Volume) bool { return v.Mode == lvm.Exclusive && v.Origin == req.Origin })
		return err
	})
	return v, err
}

// originOf is the volume that the request wants a snapshot of, if it can have one now.
func (s *session) originOf(req lvm.SnapshotRequest) (volumeRecord, error) {
	origin, err := s.shown(req.Origin)
	switch {
	case err != nil:
		return volumeRecord{}, fmt.Errorf("of %s: %w", req.Origin, err)
	case req.Space < 0:
		return volumeRecord{}, fmt.Errorf("%w: space of %d bytes", lvm.ErrBadSize, req.Space)
	case origin.Origin != "":
		return volumeRecord{}, fmt.Errorf("%w: %s is a snapshot itself", lvm.ErrSnapshots, req.Origin)
	case origin.Mode != lvm.Exclusive:
		return volumeRecord{}, fmt.Errorf("of %s: %w: it is %s", req.Origin, lvm.ErrNotExclusive, origin.Mode)
	case origin.Open:
		return volumeRecord{}, fmt.Errorf("of %s: %w: a volume group in files has snapshots only of what is not in use", req.Origin, lvm.ErrInUse)
	}
	return s.existing(req.Origin)
}

// snapshots are those of a volume.
func (m metadata) snapshots(origin volumeRecord) []volumeRecord {
	var found []volumeRecord
	for _, v := range m.Volumes {
		if v.Origin == origin.UUID {
			found = append(found, v)
		}
	}
	return found
}

// base is the volume that is activated: of a snapshot its origin.
func (m metadata) base(v volumeRecord) volumeRecord {
	for _, other := range m.Volumes {
		if v.Origin != "" && other.UUID == v.Origin {
			return other
		}
	}
	return v
}

// originName is the name of a snapshot's origin, "" for any other volume.
func (m metadata) originName(v volumeRecord) string {
	if v.Origin == "" {
		return ""
	}
	return m.base(v).Name
}

// validateOrigins: a snapshot has an origin, which is no snapshot.
func (m metadata) validateOrigins() error {
	for _, v := range m.Volumes {
		if base := m.base(v); v.Origin != "" && (base.UUID == v.UUID || base.Origin != "") {
			return fmt.Errorf("volume %q: its origin %q is no volume", v.Name, v.Origin)
		}
	}
	return nil
}

// withoutSnapshots refuses a change that a volume with snapshots does not allow.
func (s *session) withoutSnapshots(v volumeRecord) error {
	if found := s.meta.snapshots(v); len(found) > 0 {
		return fmt.Errorf("%w: remove %s first", lvm.ErrSnapshots, found[0].Name)
	}
	return nil
}

// extensible: what LVM does not extend, this group does not, either.
func (s *session) extensible(v volumeRecord) error {
	if v.Origin != "" {
		return fmt.Errorf("%w: it is one itself, of %s", lvm.ErrSnapshots, s.meta.originName(v))
	}
	now, err := s.shown(v.Name)
	if err != nil || !now.Open {
		return err
	}
	return s.withoutSnapshots(v)
}
