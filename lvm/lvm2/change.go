package lvm2

import (
	"context"
	"errors"
	"fmt"

	"one-clvm/lvm"
)

// Remove implements lvm.Group.
func (g *Group) Remove(ctx context.Context, name string) error {
	_, err := g.change(ctx, "remove", name, func(before state) (lvm.Volume, error) {
		volume, err := before.find(name)
		if err != nil {
			return lvm.Volume{}, err
		}
		return lvm.Volume{}, g.withOrigin(ctx, before, volume, func() error { return g.remove(ctx, volume, before) })
	})
	return err
}

func (g *Group) remove(ctx context.Context, volume lvm.Volume, before state) error {
	if err := g.released(ctx, volume); err != nil {
		return err
	}
	if found := before.snapshots(volume.Name); len(found) > 0 {
		return fmt.Errorf("%w: remove %s first", lvm.ErrSnapshots, found[0].Name)
	}
	if volume.Mode != lvm.Off && volume.Origin == "" {
		if err := g.setMode(ctx, before.info.LockManager, volume.Name, lvm.Off); err != nil {
			return err
		}
	}
	if err := g.explain(ctx, volume.Name, g.write(ctx, "lvremove", "-y", g.name+"/"+volume.Name)); err != nil {
		return err
	}
	after, err := g.readAgain(ctx)
	if err == nil && after.has(volume.Name) {
		return fmt.Errorf("lvremove: %w: the volume is still there", ErrNoEffect)
	}
	return err
}

// released is ErrInUse while somebody has the volume open for more than a moment.
func (g *Group) released(ctx context.Context, volume lvm.Volume) error {
	return lvm.Released(ctx, volume, g.sleep, func(ctx context.Context) (lvm.Volume, error) {
		now, err := g.read(ctx)
		if err != nil {
			return lvm.Volume{}, err
		}
		return now.find(volume.Name)
	})
}

// Rename implements lvm.Group.
func (g *Group) Rename(ctx context.Context, name, to string) error {
	_, err := g.change(ctx, "rename", name, func(before state) (lvm.Volume, error) {
		volume, err := before.find(name)
		if err != nil {
			return lvm.Volume{}, err
		}
		if before.has(to) {
			return lvm.Volume{}, fmt.Errorf("%w: %s", lvm.ErrExists, to)
		}
		err = g.withOrigin(ctx, before, volume, func() error {
			return g.alone(ctx, before, volume, to, func() error { return g.rename(ctx, name, to) })
		})
		if err != nil {
			return lvm.Volume{}, err
		}
		return g.verified(ctx, to, func(v lvm.Volume) string {
			if v.UUID != volume.UUID {
				return "another volume has the name " + to
			}
			return ""
		})
	}, func() error { return lvm.ValidateNames(g.name, to) })
	return err
}

func (g *Group) rename(ctx context.Context, name, to string) error {
	err := g.write(ctx, "lvrename", g.name, name, to)
	if errors.Is(hintOf(err), lvm.ErrExists) {
		return g.explain(ctx, to, err)
	}
	return g.explain(ctx, name, err)
}

// Extend implements lvm.Group.
func (g *Group) Extend(ctx context.Context, name string, size int64) (lvm.Volume, error) {
	return g.change(ctx, "extend", name, func(before state) (lvm.Volume, error) {
		volume, err := before.find(name)
		if err != nil {
			return lvm.Volume{}, err
		}
		if volume.Origin != "" {
			return lvm.Volume{}, fmt.Errorf("%w: it is one itself, of %s", lvm.ErrSnapshots, volume.Origin)
		}
		wanted := lvm.RoundUp(size, before.info.ExtentSize)
		if wanted < volume.Size {
			return lvm.Volume{}, fmt.Errorf("%w: it has %d bytes, asked for %d", lvm.ErrNotLarger, volume.Size, size)
		}
		if wanted == volume.Size {
			return volume, nil
		}
		if err := before.couldHold(wanted); err != nil {
			return lvm.Volume{}, err
		}
		err = g.inactive(ctx, before, volume, func() error {
			return g.alone(ctx, before, volume, name, func() error {
				return g.explain(ctx, name, g.write(ctx, "lvextend", "-L", lvm.FormatBytes(wanted), g.name+"/"+name))
			})
		})
		if err != nil {
			return lvm.Volume{}, err
		}
		return g.verified(ctx, name, func(v lvm.Volume) string {
			if v.Size < wanted {
				return fmt.Sprintf("it has %d bytes instead of %d", v.Size, wanted)
			}
			return ""
		})
	}, func() error { return validateSize(size) })
}

// alone runs a change for which lvmlockd wants the volume exclusively. A volume held
// shared is taken exclusively for that time, which fails while another node has it;
// then it is shared again, under the name after when the change renamed it.
func (g *Group) alone(ctx context.Context, before state, volume lvm.Volume, after string, fn func() error) error {
	manager := before.info.LockManager
	if volume.Mode != lvm.Shared || !byLVMLockd(manager) {
		return fn()
	}
	if err := g.setMode(ctx, manager, volume.Name, lvm.Exclusive); err != nil {
		return err
	}
	err := fn()
	if errors.Is(err, lvm.ErrUnknownOutcome) {
		return err
	}
	if err != nil {
		after = volume.Name
	}
	return errors.Join(err, g.setMode(ctx, manager, after, lvm.Shared))
}

func (g *Group) setMode(ctx context.Context, manager, name string, mode lvm.Mode) error {
	return g.explain(ctx, name, g.write(ctx, "lvchange", activation(manager, mode), g.name+"/"+name))
}

// couldHold refuses a size that is more than the whole group. LVM would, too, but not
// always for lack of space: it counts extents in 32 bits ("New size of 0 not permitted").
func (s state) couldHold(size int64) error {
	if size > s.info.Size {
		return fmt.Errorf("%w: asked for %d bytes, the whole group has %d", lvm.ErrNoSpace, size, s.info.Size)
	}
	return nil
}

func validateSize(size int64) error {
	if size <= 0 || size > lvm.MaxSize {
		return fmt.Errorf("%w: %d bytes; it must be 1 to %d", lvm.ErrBadSize, size, int64(lvm.MaxSize))
	}
	return nil
}

// change is the frame of every method that changes something: check the arguments
// before anything runs, keep other changes of the group out, read what is there, and ask
// for permission where no lock manager does.
func (g *Group) change(ctx context.Context, op, name string, fn func(before state) (lvm.Volume, error), checks ...func() error) (volume lvm.Volume, err error) {
	checks = append([]func() error{func() error { return lvm.ValidateNames(g.name, name) }}, checks...)
	for _, check := range checks {
		if err := check(); err != nil {
			return lvm.Volume{}, g.failed(op, name, err)
		}
	}
	err = g.exclusively(ctx, func() error {
		before, err := g.read(ctx)
		if err != nil {
			return err
		}
		if err := g.permitted(ctx, before.info); err != nil {
			return err
		}
		volume, err = fn(before)
		return err
	})
	return volume, g.failed(op, name, err)
}

// verified reads the volume again after a command that reported success. wrong says
// what is not as wanted, "" if nothing.
func (g *Group) verified(ctx context.Context, name string, wrong func(lvm.Volume) string) (lvm.Volume, error) {
	after, err := g.readAgain(ctx)
	if err != nil {
		return lvm.Volume{}, err
	}
	volume, err := after.find(name)
	if err != nil {
		return lvm.Volume{}, fmt.Errorf("%w: the report does not list %s", ErrNoEffect, name)
	}
	why := wrong(volume)
	if why == "" {
		return volume, nil
	}
	err = fmt.Errorf("%w: %s", ErrNoEffect, why)
	if after.elsewhere[name] != lvm.Off {
		err = g.locked(ctx, after, name, err)
	}
	return lvm.Volume{}, err
}

// readAgain reads the report after a change; without it nobody knows what happened.
func (g *Group) readAgain(ctx context.Context) (state, error) {
	after, err := g.read(ctx)
	if err != nil {
		return state{}, fmt.Errorf("%w: the command ended with success, but the report failed: %w", lvm.ErrUnknownOutcome, err)
	}
	return after, nil
}

// explain gives a failed command its sentinel: the one that its text hints at, if a
// fresh report does not contradict it. Free space and other nodes' locks are not in
// this node's report; there the hint stands alone. No failure stays none.
func (g *Group) explain(ctx context.Context, name string, err error) error {
	hint := hintOf(err)
	if hint == nil {
		return err
	}
	now, readErr := g.read(ctx)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if !now.bearsOut(hint, name) {
		return err
	}
	if errors.Is(hint, lvm.ErrLocked) {
		return g.locked(ctx, now, name, err)
	}
	return fmt.Errorf("%w: %w", hint, err)
}

func (s state) bearsOut(hint error, name string) bool {
	volume, err := s.find(name)
	switch {
	case errors.Is(hint, lvm.ErrExists):
		return err == nil
	case errors.Is(hint, lvm.ErrNotFound):
		return err != nil
	case errors.Is(hint, lvm.ErrInUse):
		return err == nil && volume.Open
	case errors.Is(hint, lvm.ErrNoGroup):
		return false // it was just read
	}
	return true
}
