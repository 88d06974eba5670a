package lvm2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"one-clvm/lvm"
)

// undoTime is how long the removal of what a failed creation left may take; it has a
// time of its own because the operation's may be over.
const undoTime = 2 * time.Minute

// Create implements lvm.Group. The command neither asks nor wipes nor zeroes; where
// LVM can, the volume is also kept out of the activation at boot.
func (g *Group) Create(ctx context.Context, req lvm.CreateRequest) (lvm.Volume, error) {
	return g.change(ctx, "create", req.Name, func(before state) (lvm.Volume, error) {
		args, err := g.createArgs(ctx, req, before)
		if err != nil {
			return lvm.Volume{}, err
		}
		if err := g.write(ctx, "lvcreate", args...); err != nil {
			return lvm.Volume{}, g.undoCreate(ctx, req, g.explain(ctx, req.Name, err))
		}
		volume, err := g.verified(ctx, req.Name, func(v lvm.Volume) string { return createdWrong(req, v) })
		if errors.Is(err, ErrNoEffect) {
			return lvm.Volume{}, g.undoCreate(ctx, req, err)
		}
		return volume, err
	}, req.Tags.Validate, func() error { return validateSize(req.Size) })
}

func (g *Group) createArgs(ctx context.Context, req lvm.CreateRequest, before state) ([]string, error) {
	if before.has(req.Name) {
		return nil, lvm.ErrExists
	}
	if err := before.couldHold(req.Size); err != nil {
		return nil, err
	}
	installed, err := g.version.get(ctx, g)
	if err != nil {
		return nil, err
	}
	args := []string{"-y", "-Wn", "-Zn", activation(before.info.LockManager, lvm.Exclusive)}
	if installed.atLeast(autoactivationSince) {
		args = append(args, "--setautoactivation", "n")
	}
	for _, tag := range lvm.NewTags(req.Tags...) {
		args = append(args, "--addtag", tag)
	}
	size := lvm.RoundUp(req.Size, lvm.SectorSize)
	return append(args, "-L", lvm.FormatBytes(size), "-n", req.Name, g.name), nil
}

// createdWrong says what a new volume lacks; "" when it is as asked.
func createdWrong(req lvm.CreateRequest, v lvm.Volume) string {
	switch {
	case v.Size < req.Size:
		return fmt.Sprintf("it has %d bytes instead of %d", v.Size, req.Size)
	case !v.Tags.Has(req.Tags...):
		return fmt.Sprintf("it has the tags %v instead of %v", v.Tags, req.Tags)
	case v.Mode != lvm.Exclusive:
		return "it is active " + v.Mode.String()
	}
	return ""
}

// undoCreate removes what a failed lvcreate left, and returns cause. The volume was
// absent before; it is ours when it has all the tags of the request and nobody was told
// that the name is taken.
func (g *Group) undoCreate(ctx context.Context, req lvm.CreateRequest, cause error) error {
	if errors.Is(cause, lvm.ErrExists) || errors.Is(cause, lvm.ErrUnknownOutcome) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	now, err := g.read(ctx)
	if err != nil {
		return errors.Join(cause, fmt.Errorf("could not look for what is left of %s: %w", req.Name, err))
	}
	left, err := now.find(req.Name)
	if err != nil {
		return cause
	}
	if !left.Tags.Has(req.Tags...) {
		return fmt.Errorf("%w; a volume without its tags %v was left there, remove it by hand", cause, req.Tags)
	}
	if err := g.remove(ctx, left, now); err != nil {
		return errors.Join(cause, fmt.Errorf("could not remove what is left of %s: %w", req.Name, err))
	}
	return cause
}
