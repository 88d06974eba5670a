//go:build failpoint

package lvm

import (
	"context"

	"one-clvm/internal/failpoint"
)

// Traced tells the failpoints of the changes of a group that needs no program for them.
func Traced(g Group) Group { return traced{g} }

type traced struct{ Group }

// Create implements Group.
func (t traced) Create(ctx context.Context, req CreateRequest) (Volume, error) {
	failpoint.Change("lvm create", req.Name)
	return t.Group.Create(ctx, req)
}

// Snapshot implements Group.
func (t traced) Snapshot(ctx context.Context, req SnapshotRequest) (Volume, error) {
	failpoint.Change("lvm snapshot", req.Name)
	return t.Group.Snapshot(ctx, req)
}

// Remove implements Group.
func (t traced) Remove(ctx context.Context, name string) error {
	failpoint.Change("lvm remove", name)
	return t.Group.Remove(ctx, name)
}

// Rename implements Group.
func (t traced) Rename(ctx context.Context, name, to string) error {
	failpoint.Change("lvm rename", name)
	return t.Group.Rename(ctx, name, to)
}

// Extend implements Group.
func (t traced) Extend(ctx context.Context, name string, size int64) (Volume, error) {
	failpoint.Change("lvm extend", name)
	return t.Group.Extend(ctx, name, size)
}

// Activate implements Group.
func (t traced) Activate(ctx context.Context, name string, mode Mode) (Volume, error) {
	failpoint.Change("lvm activate "+mode.String(), name)
	return t.Group.Activate(ctx, name, mode)
}

// Tag implements Group.
func (t traced) Tag(ctx context.Context, name string, add, del Tags) (Volume, error) {
	failpoint.Change("lvm tag", name)
	return t.Group.Tag(ctx, name, add, del)
}

// TagGroup implements Group.
func (t traced) TagGroup(ctx context.Context, add, del Tags) (GroupInfo, error) {
	failpoint.Change("lvm tag group", t.Name())
	return t.Group.TagGroup(ctx, add, del)
}
