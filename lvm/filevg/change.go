package filevg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"one-clvm/lvm"
)

// Create implements lvm.Group.
func (g *Group) Create(ctx context.Context, req lvm.CreateRequest) (v lvm.Volume, err error) {
	err = g.change(ctx, "create", req.Name, func(s *session) error {
		record, err := s.newRecord(req)
		if err != nil {
			return err
		}
		if err := s.commit(func(m *metadata) { m.add(record) }); err != nil {
			return err
		}
		if err := s.activate(record); err != nil {
			return err
		}
		v, err = s.reread(req.Name, func(v lvm.Volume) bool { return v.Mode == lvm.Exclusive })
		return err
	})
	return v, err
}

// newRecord checks the request and finds extents for it.
func (s *session) newRecord(req lvm.CreateRequest) (volumeRecord, error) {
	if err := lvm.ValidateNames(s.name, req.Name); err != nil {
		return volumeRecord{}, err
	}
	if err := req.Tags.Validate(); err != nil {
		return volumeRecord{}, err
	}
	count, err := s.meta.extents(req.Size)
	if err != nil {
		return volumeRecord{}, err
	}
	if s.meta.find(req.Name) != nil {
		return volumeRecord{}, lvm.ErrExists
	}
	start, ok := s.meta.firstFit(count)
	if !ok {
		return volumeRecord{}, s.noSpace(count)
	}
	return volumeRecord{
		Name: req.Name, UUID: newUUID(), Tags: lvm.NewTags(req.Tags...),
		Start: start, Count: count, Created: time.Now().UTC().Truncate(time.Second),
	}, nil
}

func (s *session) noSpace(count int64) error {
	return fmt.Errorf("%w: %d extents of %d bytes needed in one piece, %d are free, the largest piece has %d; remove volumes first",
		lvm.ErrNoSpace, count, s.meta.ExtentSize, s.meta.free(), s.meta.largest())
}

// Remove implements lvm.Group. The extents keep their bytes.
func (g *Group) Remove(ctx context.Context, name string) error {
	return g.change(ctx, "remove", name, func(s *session) error {
		v, err := s.existing(name)
		if err != nil {
			return err
		}
		if err := s.withoutSnapshots(v); err != nil {
			return err
		}
		if err := s.deactivate(v); err != nil {
			return err
		}
		return s.commit(func(m *metadata) { m.remove(name) })
	})
}

// Rename implements lvm.Group. The volume may be open.
func (g *Group) Rename(ctx context.Context, name, to string) error {
	return g.change(ctx, "rename", name, func(s *session) error {
		v, err := s.existing(name)
		if err != nil {
			return err
		}
		if err := lvm.ValidateNames(s.name, to); err != nil {
			return err
		}
		if s.meta.find(to) != nil {
			return fmt.Errorf("to %s: %w", to, lvm.ErrExists)
		}
		if err := s.commit(func(m *metadata) { m.find(name).Name = to; m.sort() }); err != nil {
			return err
		}
		if err := s.repair(); err != nil { // the links follow the names
			return err
		}
		_, err = s.reread(to, func(now lvm.Volume) bool { return now.UUID == v.UUID })
		return err
	})
}

// Activate implements lvm.Group.
func (g *Group) Activate(ctx context.Context, name string, to lvm.Mode) (v lvm.Volume, err error) {
	err = g.change(ctx, "activate "+to.String(), name, func(s *session) error {
		record, err := s.existing(name)
		if err != nil {
			return err
		}
		if err := s.setMode(record, to); err != nil {
			return err
		}
		v, err = s.reread(name, func(v lvm.Volume) bool { return v.Mode == to })
		return err
	})
	return v, err
}

func (s *session) setMode(v volumeRecord, to lvm.Mode) error {
	if v.Origin != "" {
		return fmt.Errorf("%w: it is active with its origin %s", lvm.ErrSnapshots, s.meta.originName(v))
	}
	all := append(s.meta.snapshots(v), v)
	switch to {
	case lvm.Off:
		return s.each(all, s.deactivate)
	case lvm.Exclusive:
	case lvm.Shared:
		if err := s.withoutSnapshots(v); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is not a mode", to)
	}
	// The mark first: an inactive volume's mark means nothing, so there is no moment
	// at which the volume is in a mode that nobody asked for.
	if shared := to == lvm.Shared; shared != v.Shared {
		if err := s.commit(func(m *metadata) { m.find(v.Name).Shared = shared }); err != nil {
			return err
		}
	}
	return s.each(all, s.activate)
}

func (s *session) each(volumes []volumeRecord, do func(volumeRecord) error) error {
	for _, v := range volumes {
		if err := do(v); err != nil {
			return err
		}
	}
	return nil
}

// Tag implements lvm.Group.
func (g *Group) Tag(ctx context.Context, name string, add, del lvm.Tags) (v lvm.Volume, err error) {
	err = g.change(ctx, "tag", name, func(s *session) error {
		record, err := s.existing(name)
		if err != nil {
			return err
		}
		if err := add.Validate(); err != nil {
			return err
		}
		tags := record.Tags.With(add...).Without(del...)
		if !slices.Equal(tags, record.Tags) {
			if err := s.commit(func(m *metadata) { m.find(name).Tags = tags }); err != nil {
				return err
			}
		}
		v, err = s.reread(name, func(v lvm.Volume) bool { return slices.Equal(v.Tags, tags) })
		return err
	})
	return v, err
}

// TagGroup implements lvm.Group.
func (g *Group) TagGroup(ctx context.Context, add, del lvm.Tags) (info lvm.GroupInfo, err error) {
	err = g.change(ctx, "tag", "", func(s *session) error {
		if err := errors.Join(add.Validate(), del.Validate()); err != nil {
			return err
		}
		tags := s.meta.Tags.With(add...).Without(del...)
		if !slices.Equal(tags, s.meta.Tags) {
			if err := s.commit(func(m *metadata) { m.Tags = tags }); err != nil {
				return err
			}
		}
		info = s.info()
		return nil
	})
	return info, err
}

// existing is the volume of that name. ErrNotFound.
func (s *session) existing(name string) (volumeRecord, error) {
	if v := s.meta.find(name); v != nil {
		return *v, nil
	}
	return volumeRecord{}, lvm.ErrNotFound
}
