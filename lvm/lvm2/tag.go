package lvm2

import (
	"context"
	"fmt"

	"one-clvm/lvm"
)

// Tag implements lvm.Group. A tag that is both added and deleted is deleted.
func (g *Group) Tag(ctx context.Context, name string, add, del lvm.Tags) (lvm.Volume, error) {
	return g.change(ctx, "tag", name, func(before state) (lvm.Volume, error) {
		volume, err := before.find(name)
		if err != nil {
			return lvm.Volume{}, err
		}
		args := tagArgs(volume.Tags, add, del)
		if len(args) == 0 {
			return volume, nil
		}
		if err := g.explain(ctx, name, g.write(ctx, "lvchange", append(args, g.name+"/"+name)...)); err != nil {
			return lvm.Volume{}, err
		}
		return g.verified(ctx, name, func(v lvm.Volume) string {
			if len(tagArgs(v.Tags, add, del)) > 0 {
				return fmt.Sprintf("it has the tags %v", v.Tags)
			}
			return ""
		})
	}, add.Validate, del.Validate)
}

// tagArgs are the options that make the change; none when nothing has to change.
func tagArgs(have, add, del lvm.Tags) []string {
	var args []string
	for _, tag := range lvm.NewTags(add...).Without(del...).Without(have...) {
		args = append(args, "--addtag", tag)
	}
	for _, tag := range lvm.NewTags(del...) {
		if have.Has(tag) {
			args = append(args, "--deltag", tag)
		}
	}
	return args
}

// TagGroup implements lvm.Group.
func (g *Group) TagGroup(ctx context.Context, add, del lvm.Tags) (info lvm.GroupInfo, err error) {
	for _, check := range []func() error{func() error { return lvm.ValidateGroupName(g.name) }, add.Validate, del.Validate} {
		if err := check(); err != nil {
			return lvm.GroupInfo{}, g.failed("tag", "", err)
		}
	}
	err = g.exclusively(ctx, func() error {
		info, err = g.readInfo(ctx)
		if err != nil {
			return err
		}
		args := tagArgs(info.Tags, add, del)
		if len(args) == 0 {
			return nil
		}
		if err := g.permitted(ctx, info); err != nil {
			return err
		}
		if err := g.write(ctx, "vgchange", append(args, g.name)...); err != nil {
			return err
		}
		if info, err = g.readInfo(ctx); err != nil {
			return fmt.Errorf("%w: the command ended with success, but the report failed: %w", lvm.ErrUnknownOutcome, err)
		}
		if len(tagArgs(info.Tags, add, del)) > 0 {
			return fmt.Errorf("%w: the group has the tags %v", ErrNoEffect, info.Tags)
		}
		return nil
	})
	return info, g.failed("tag", "", err)
}
