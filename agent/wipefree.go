package agent

import (
	"context"
	"errors"
	"fmt"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

const (
	freeSlices   = 64      // into so many volumes the free space is taken, or a few more
	minFreeSlice = 1 << 30 // bytes, unless less is free
)

// wipeFree writes all free extents of a group once, and says so in its tags. It takes
// them into quarantine piece by piece and keeps the pieces until nothing is free: what is
// removed meanwhile is wiped, too. Whoever needs space takes it from them (makeRoom), and
// they are inactive, so that any node can.
//
// A crash, or the end of ctx, leaves them as they are: the next run goes on, and
// tm-clvm reap gives the space back.
func (c *session) wipeFree(ctx context.Context, g lvm.Group) (Result, error) {
	lock, err := c.tryWipeLock(lockByte(g.Name(), ""))
	if err != nil {
		return Result{}, err
	}
	if lock == nil {
		return Result{}, fmt.Errorf("%w: the free space of volume group %s is just being wiped", ErrBusy, g.Name())
	}
	defer func() { _ = lock.unlock() }() // it was never written to
	var res Result
	info, err := c.wipeAllFree(ctx, g, &res)
	if err != nil {
		return Result{}, fmt.Errorf("wipe the free space of %s: %w; the next run goes on there, tm-clvm reap %s gives the space back", g.Name(), err, g.Name())
	}
	c.log("info", "the free space of volume group %s is known to be zero", g.Name())
	res.Info = &info
	return res, c.releaseFree(ctx, g)
}

// wipeAllFree sets the tag when nothing is free, and looks once more behind it: what was
// removed in between is free now, perhaps not wiped, and nobody took the tag away for it.
func (c *session) wipeAllFree(ctx context.Context, g lvm.Group, res *Result) (lvm.GroupInfo, error) {
	for {
		if err := c.takeFree(ctx, g, res); err != nil {
			return lvm.GroupInfo{}, err
		}
		info, err := g.TagGroup(ctx, lvm.NewTags(lvm.TagClean), nil)
		if err != nil {
			return lvm.GroupInfo{}, err
		}
		failpoint.Hit("wipefree.clean")
		if info.Free == 0 {
			return info, nil
		}
		if err := c.soil(ctx, g); err != nil {
			return lvm.GroupInfo{}, err
		}
	}
}

// takeFree returns when every free extent is held by a volume that is wiped.
func (c *session) takeFree(ctx context.Context, g lvm.Group, res *Result) error {
	var size int64
	for {
		info, volumes, err := g.Report(ctx)
		if err != nil {
			return err
		}
		held := c.freeHeld(volumes)
		if size == 0 {
			size = max(lvm.RoundUp(info.Free/freeSlices, info.ExtentSize), minFreeSlice)
			c.whole.Store(info.Free + held.unwiped)
		}
		if err := c.wipeHeld(ctx, g, info, held.todo, res); err != nil {
			return err
		}
		switch {
		case info.Free == 0 && len(held.todo) == 0:
			return nil
		case info.Free == 0:
			continue // unless something was removed meanwhile
		}
		size = max(min(size, info.Free), info.ExtentSize)
		_, err = g.Create(ctx, lvm.CreateRequest{Name: c.quarantineName(), Size: size, Tags: lvm.NewTags(lvm.TagOurs, lvm.TagQuarantine, lvm.TagFreeSpace, wiperTag())})
		switch {
		case err == nil:
			failpoint.Hit("wipefree.taken")
		case errors.Is(err, lvm.ErrNoSpace) && size > info.ExtentSize:
			size = max(lvm.RoundUp(size/2, info.ExtentSize), info.ExtentSize) // not in one piece, or just taken by somebody
		default:
			return err
		}
	}
}

// heldSpace is the free space that volumes in quarantine hold.
type heldSpace struct {
	todo    []lvm.Volume
	unwiped int64
}

func (c *session) freeHeld(volumes []lvm.Volume) (held heldSpace) {
	for _, v := range volumes {
		if c.inQuarantine(v) && v.Tags.Has(lvm.TagFreeSpace) && wipedBytes(v) < v.Size {
			held.todo = append(held.todo, v)
			held.unwiped += v.Size - wipedBytes(v)
		}
	}
	return held
}

// wipeHeld wipes pieces of free space and lets go of their devices.
func (c *session) wipeHeld(ctx context.Context, g lvm.Group, info lvm.GroupInfo, todo []lvm.Volume, res *Result) error {
	for _, v := range todo {
		if err := c.refuseWipedElsewhere(info, v); err != nil {
			return err
		}
		if err := c.wipePiece(ctx, g, v, res); err != nil {
			return err
		}
	}
	return nil
}

func (c *session) wipePiece(ctx context.Context, g lvm.Group, v lvm.Volume, res *Result) error {
	lock, err := c.awaitWipeLock(ctx, "the wipe of volume "+v.Name, lockByte(g.Name(), v.Name))
	if err != nil {
		return err
	}
	defer func() { _ = lock.unlock() }() // it was never written to
	v, err = g.Activate(ctx, v.Name, lvm.Exclusive)
	if errors.Is(err, lvm.ErrNotFound) {
		return nil // somebody needed the space
	}
	if err != nil {
		return err
	}
	todo := v.Size - wipedBytes(v)
	if err := c.wipe(ctx, g, v); err != nil {
		return err
	}
	failpoint.Hit("wipefree.wiped")
	if _, err := g.Activate(ctx, v.Name, lvm.Off); err != nil {
		return err
	}
	failpoint.Hit("wipefree.off")
	if err := c.noteWiped(ctx, g, &v, v.Size, nil); err != nil {
		return err
	}
	res.Wiped += todo
	c.before.Add(todo)
	return nil
}

// releaseFree gives the pieces back: they are zero, and the group says so.
func (c *session) releaseFree(ctx context.Context, g lvm.Group) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if c.inQuarantine(v) && v.Tags.Has(lvm.TagFreeSpace) {
			if err := c.reap(ctx, g, v.Name, WipeDelete); err != nil {
				return err
			}
		}
	}
	return nil
}
