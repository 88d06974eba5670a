//go:build lab

package lvm2_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	lab "one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
)

// onLab is one disk with real LVM2 on a node, and the group as seen from there.
func onLab(t *testing.T, c labtest.Cluster) (*lvm2.Group, lvm.Volume) {
	t.Helper()
	g := lvm2.New(lab.Group, c.Nodes[0], lvm2.Options{})
	g.Permit(func(context.Context, []lvm.PhysicalVolume) error { return nil }) // profile single: nobody else sees the disk
	v, err := g.Create(t.Context(), lvm.CreateRequest{Name: disk, Size: 16 << 20, Tags: lvm.NewTags("one", "vm=42")})
	require.NoError(t, err)
	fillOnLab(t, c, v.Path, "before")
	return g, v
}

// fillOnLab writes a text all over a device of node1.
func fillOnLab(t *testing.T, c labtest.Cluster, path, text string) {
	t.Helper()
	c.Output(t, c.Nodes[0], "sh", "-c", "yes "+text+" | head -c 16777216 | dd of="+path+" bs=1M iflag=fullblock conv=fsync status=none")
}

func headOnLab(t *testing.T, c labtest.Cluster, path string) string {
	t.Helper()
	return strings.Fields(c.Output(t, c.Nodes[0], "dd", "if="+path, "bs=512", "count=1", "iflag=direct", "status=none"))[0]
}

// What the double of LVM2 says of snapshots is what LVM2 does.
func TestSnapshotsOnRealLVM(t *testing.T) {
	t.Parallel()
	for _, p := range []profile.Profile{profile.Single, profile.Cluster, profile.Sanlock} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			c := labtest.Start(t, p)
			g, v := onLab(t, c)
			ctx := t.Context()
			s, err := g.Snapshot(ctx, snapshotOf)
			require.NoError(t, err)
			assert.Equal(t, disk, s.Origin)
			assert.Equal(t, v.Size, s.Size, "the content's size")
			assert.Equal(t, lvm.Exclusive, s.Mode)
			assert.True(t, s.Tags.Has("snapshot=0"))
			fillOnLab(t, c, v.Path, "after")
			assert.Equal(t, "before", headOnLab(t, c, s.Path))
			assert.Equal(t, "after", headOnLab(t, c, v.Path))
			s, err = g.Volume(ctx, s.Name)
			require.NoError(t, err)
			assert.False(t, s.Invalid, "it has space for every block")

			_, err = g.Activate(ctx, s.Name, lvm.Exclusive)
			assert.ErrorIs(t, err, lvm.ErrSnapshots)
			_, err = g.Activate(ctx, disk, lvm.Shared)
			assert.ErrorIs(t, err, lvm.ErrSnapshots)
			assert.ErrorIs(t, g.Remove(ctx, disk), lvm.ErrSnapshots)
			_, err = g.Tag(ctx, s.Name, lvm.NewTags("more"), nil)
			require.NoError(t, err)
			require.NoError(t, g.Rename(ctx, s.Name, disk+"_s7"))

			v, err = g.Extend(ctx, disk, 24<<20)
			require.NoError(t, err)
			assert.Equal(t, int64(24<<20), v.Size)
			assert.Equal(t, lvm.Exclusive, v.Mode)
			s, err = g.Volume(ctx, disk+"_s7")
			require.NoError(t, err)
			assert.Equal(t, int64(16<<20), s.Size)
			assert.Equal(t, "before", headOnLab(t, c, s.Path))

			c.Output(t, c.Nodes[0], "dmsetup", "create", "user", "--table", "0 32768 linear "+v.Path+" 0")
			live, err := g.Snapshot(ctx, lvm.SnapshotRequest{Name: disk + "_s8", Origin: disk})
			require.NoError(t, err, "of a disk in use")
			_, err = g.Extend(ctx, disk, 32<<20)
			assert.ErrorIs(t, err, lvm.ErrSnapshots)
			c.Output(t, c.Nodes[0], "dmsetup", "remove", "user")
			require.NoError(t, g.Remove(ctx, live.Name))
			require.NoError(t, g.Remove(ctx, disk+"_s7"))
			require.NoError(t, g.Remove(ctx, disk))
		})
	}
}

// A snapshot that runs out of space says so, and can be removed.
func TestInvalidSnapshotOnRealLVM(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Cluster)
	g, v := onLab(t, c)
	small := snapshotOf
	small.Space = 4 << 20
	s, err := g.Snapshot(t.Context(), small)
	require.NoError(t, err)
	assert.Equal(t, v.Size, s.Size)
	fillOnLab(t, c, v.Path, "after")
	s, err = g.Volume(t.Context(), s.Name)
	require.NoError(t, err)
	assert.True(t, s.Invalid)
	assert.Equal(t, "after", headOnLab(t, c, v.Path), "the disk is as it should be")
	_, err = g.Activate(t.Context(), disk, lvm.Off)
	require.NoError(t, err)
	_, err = g.Activate(t.Context(), disk, lvm.Exclusive)
	require.NoError(t, err)
	s, err = g.Volume(t.Context(), s.Name)
	require.NoError(t, err)
	assert.True(t, s.Invalid, "once lost, it stays lost")
	require.NoError(t, g.Remove(t.Context(), s.Name))
	require.NoError(t, g.Remove(t.Context(), disk))
}

// A snapshot is where its origin is: no other node takes, removes or activates anything.
func TestSnapshotOnTheOtherNode(t *testing.T) {
	t.Parallel()
	for _, p := range []profile.Profile{profile.Cluster, profile.Sanlock} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			c := labtest.Start(t, p)
			g, _ := onLab(t, c)
			other := lvm2.New(lab.Group, c.Nodes[1], lvm2.Options{})
			ctx := t.Context()
			_, err := g.Snapshot(ctx, snapshotOf)
			require.NoError(t, err)
			there, err := other.Volume(ctx, snapshotOf.Name)
			require.NoError(t, err)
			assert.Equal(t, lvm.Off, there.Mode)
			_, err = other.Snapshot(ctx, lvm.SnapshotRequest{Name: disk + "_s1", Origin: disk})
			assert.ErrorIs(t, err, lvm.ErrNotExclusive)
			err = other.Remove(ctx, snapshotOf.Name)
			assert.ErrorIs(t, err, lvm.ErrLocked)
			_, err = other.Activate(ctx, disk, lvm.Exclusive)
			assert.ErrorIs(t, err, lvm.ErrLocked)

			_, err = g.Activate(ctx, disk, lvm.Off)
			require.NoError(t, err)
			_, err = other.Activate(ctx, disk, lvm.Exclusive)
			require.NoError(t, err, "origin and snapshots move together")
			there, err = other.Volume(ctx, snapshotOf.Name)
			require.NoError(t, err)
			assert.Equal(t, lvm.Exclusive, there.Mode)
			head := c.Output(t, c.Nodes[1], "dd", "if="+there.Path, "bs=512", "count=1", "status=none")
			assert.True(t, strings.HasPrefix(head, "before"))
			require.NoError(t, other.Remove(ctx, snapshotOf.Name))
			require.NoError(t, other.Remove(ctx, disk))
		})
	}
}
