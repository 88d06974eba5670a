package lvm2_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

// everyChange are all methods that change something; a fails, or not, with each.
func everyChange(ctx context.Context, g *lvm2.Group) map[string]func() error {
	return map[string]func() error{
		"create": func() error { _, err := g.Create(ctx, lvm.CreateRequest{Name: "lv-one-43-0", Size: 1}); return err },
		"snapshot": func() error {
			_, err := g.Snapshot(ctx, lvm.SnapshotRequest{Name: "lv-one-42-0_s0", Origin: disk})
			return err
		},
		"remove":   func() error { return g.Remove(ctx, disk) },
		"rename":   func() error { return g.Rename(ctx, disk, "lv-one-44-0") },
		"extend":   func() error { _, err := g.Extend(ctx, disk, 9*extent); return err },
		"activate": func() error { _, err := g.Activate(ctx, disk, lvm.Off); return err },
		"tag":      func() error { _, err := g.Tag(ctx, disk, lvm.Tags{"x"}, nil); return err },
		"taggroup": func() error { _, err := g.TagGroup(ctx, lvm.Tags{"x"}, nil); return err },
	}
}

// TestNoChangeWithoutLockManager: without a permission, nothing at all is written.
func TestNoChangeWithoutLockManager(t *testing.T) {
	denied := errors.New("denied")
	deny := func(context.Context, []lvm.PhysicalVolume) error { return denied }
	for what, permission := range map[error]lvm.Permission{lvm.ErrUnlocked: nil, denied: deny} {
		c := newCluster(lvmfake.LockNone)
		c.create(t)
		c.hostA.ForgetCalls()
		g := lvm2.New(vg, c.hostA, lvm2.Options{})
		g.Permit(permission)
		for name, change := range everyChange(t.Context(), g) {
			assert.ErrorIs(t, change(), what, name)
		}
		assert.Empty(t, c.hostA.Writers())
		_, err := g.Volumes(t.Context())
		assert.NoError(t, err, "reading is free")
	}
}

// TestPermissionIsAskedAboutTheGroupsDisks, once, and never for a group that is locked.
func TestPermissionIsAskedAboutTheGroupsDisks(t *testing.T) {
	store := lvmfake.NewStore(
		lvmfake.GroupSpec{Name: vg, Extents: 100, PV: "disk-1"},
		lvmfake.GroupSpec{Name: "vg-other", Extents: 100, PV: "disk-2"},
		lvmfake.GroupSpec{Name: "vg-dlm", LockType: lvmfake.LockDLM, Extents: 100},
	)
	host := store.Host("a")
	var asked [][]lvm.PhysicalVolume
	for _, name := range []string{vg, "vg-dlm"} {
		g := lvm2.New(name, host, lvm2.Options{})
		g.Permit(func(_ context.Context, disks []lvm.PhysicalVolume) error { asked = append(asked, disks); return nil })
		for _, lv := range []string{"lv-one-1-0", "lv-one-2-0"} {
			_, err := g.Create(t.Context(), lvm.CreateRequest{Name: lv, Size: 1})
			require.NoError(t, err)
		}
	}
	assert.Equal(t, [][]lvm.PhysicalVolume{{{UUID: "disk-1", Path: "/dev/sdb", Group: vg}}}, asked)
}

func TestDisksUnreadable(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	c.hostA.Inject(lvmfake.Fault{Program: "pvs", Status: 5, Stderr: "  Input/output error\n", Calls: -1})
	_, err := c.a.Create(t.Context(), request())
	require.ErrorContains(t, err, "list physical volumes")
	assert.Empty(t, c.hostA.Writers())
	_, err = lvm2.PhysicalVolumes(t.Context(), c.hostA, []string{vg})
	require.Error(t, err)
}

// TestPhysicalVolumesOfANode: those of lock managers count as well, also where LVM is
// not set up for one.
func TestPhysicalVolumesOfANode(t *testing.T) {
	store := lvmfake.NewStore(
		lvmfake.GroupSpec{Name: "vg-san", LockType: lvmfake.LockDLM, PV: "san"},
		lvmfake.GroupSpec{Name: vg, PV: "local-a", Host: "a"},
		lvmfake.GroupSpec{Name: vg, PV: "local-b", Host: "b"},
	)
	for name, local := range map[string]string{"a": "local-a", "b": "local-b"} {
		host := store.Host(name)
		host.SetLocking(lvmfake.LockdNotConfigured)
		disks, err := lvm2.PhysicalVolumes(t.Context(), host, []string{vg})
		require.NoError(t, err)
		require.Len(t, disks, 2)
		assert.Equal(t, []string{"san", local}, []string{disks[0].UUID, disks[1].UUID})
	}
	_, err := lvm2.PhysicalVolumes(t.Context(), store.Host("c"), nil)
	require.ErrorIs(t, err, lvm.ErrNoGroup)
}
