package filevg

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"one-clvm/lvm"
)

// Name implements lvm.Group.
func (g *Group) Name() string { return g.name }

// Info implements lvm.Group.
func (g *Group) Info(ctx context.Context) (info lvm.GroupInfo, err error) {
	err = g.report(ctx, func(s *session) error {
		info = s.info()
		return nil
	})
	return info, failer("report volume group", g.name, "")(err)
}

func (s *session) info() lvm.GroupInfo {
	return lvm.GroupInfo{
		Name:        s.name,
		Size:        s.meta.ExtentCount * s.meta.ExtentSize,
		Free:        s.meta.free() * s.meta.ExtentSize,
		ExtentSize:  s.meta.ExtentSize,
		LockManager: lvm.NoLockManager,
		Tags:        slices.Clone(s.meta.Tags),
	}
}

// Report implements lvm.Group.
func (g *Group) Report(ctx context.Context) (info lvm.GroupInfo, volumes []lvm.Volume, err error) {
	err = g.report(ctx, func(s *session) error {
		info = s.info()
		open, err := openDevices(slices.Collect(maps.Values(s.loops)))
		if err != nil {
			return err
		}
		for _, v := range s.meta.Volumes {
			volumes = append(volumes, s.volume(v, open))
		}
		return nil
	})
	return info, volumes, failer("report volumes", g.name, "")(err)
}

// Volumes implements lvm.Group.
func (g *Group) Volumes(ctx context.Context) ([]lvm.Volume, error) {
	_, volumes, err := g.Report(ctx)
	return volumes, err
}

// Volume implements lvm.Group.
func (g *Group) Volume(ctx context.Context, name string) (v lvm.Volume, err error) {
	err = g.report(ctx, func(s *session) error {
		v, err = s.shown(name)
		return err
	})
	return v, failer("report volume", g.name, name)(err)
}

// shown is one volume as a report shows it. ErrNotFound.
func (s *session) shown(name string) (lvm.Volume, error) {
	v := s.meta.find(name)
	if v == nil {
		return lvm.Volume{}, lvm.ErrNotFound
	}
	var devices []loopDevice
	if d, active := s.loops[v.UUID]; active {
		devices = append(devices, d)
	}
	open, err := openDevices(devices)
	if err != nil {
		return lvm.Volume{}, err
	}
	return s.volume(*v, open), nil
}

func (s *session) volume(v volumeRecord, open map[int]bool) lvm.Volume {
	d, active := s.loops[v.UUID]
	return lvm.Volume{
		Group:   s.name,
		Name:    v.Name,
		UUID:    v.UUID,
		Size:    s.meta.bytes(v).Length,
		Tags:    slices.Clone(v.Tags),
		Mode:    mode(active, s.meta.base(v).Shared),
		Open:    active && open[d.number],
		Path:    s.devPath(v.Name),
		Created: v.Created,
		Origin:  s.meta.originName(v),
	}
}

func mode(active, shared bool) lvm.Mode {
	switch {
	case !active:
		return lvm.Off
	case shared:
		return lvm.Shared
	}
	return lvm.Exclusive
}

// reread is the last step of every change: a new look at both sides, which must show
// what was wanted.
func (s *session) reread(name string, wanted func(lvm.Volume) bool) (lvm.Volume, error) {
	now, err := s.newSession(s.ctx)
	if err != nil {
		return lvm.Volume{}, err
	}
	v, err := now.shown(name)
	if err != nil {
		return lvm.Volume{}, err
	}
	if !wanted(v) {
		return lvm.Volume{}, fmt.Errorf("had no effect: the volume is %s, %d bytes, tags %v", v.Mode, v.Size, v.Tags)
	}
	return v, nil
}
