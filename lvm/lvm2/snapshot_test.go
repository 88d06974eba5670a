package lvm2_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2/lvmfake"
)

var snapshotOf = lvm.SnapshotRequest{Name: disk + "_s0", Origin: disk, Tags: lvm.NewTags("one", "snapshot=0")}

// A snapshot has no lock of its own: it is where its origin is, and nowhere else.
func TestSnapshotIsLockedByItsOrigin(t *testing.T) {
	for _, lockType := range []string{lvmfake.LockDLM, lvmfake.LockSanlock, lvmfake.LockCLVMD} {
		c := newCluster(lockType)
		c.create(t)
		v, err := c.a.Snapshot(t.Context(), snapshotOf)
		require.NoError(t, err, lockType)
		assert.Equal(t, lvm.Exclusive, v.Mode, lockType)
		there, err := c.b.Volume(t.Context(), v.Name)
		require.NoError(t, err)
		assert.Equal(t, lvm.Off, there.Mode, lockType)
		_, err = c.b.Snapshot(t.Context(), lvm.SnapshotRequest{Name: disk + "_s1", Origin: disk})
		assert.ErrorIs(t, err, lvm.ErrNotExclusive)
		assert.ErrorIs(t, c.b.Remove(t.Context(), v.Name), lvm.ErrLocked, lockType)
		_, err = c.b.Activate(t.Context(), disk, lvm.Exclusive)
		assert.ErrorIs(t, err, lvm.ErrLocked)
		_, err = c.a.Activate(t.Context(), disk, lvm.Off)
		require.NoError(t, err)
		_, err = c.b.Activate(t.Context(), disk, lvm.Exclusive)
		require.NoError(t, err, "origin and snapshots move together")
		there, err = c.b.Volume(t.Context(), v.Name)
		require.NoError(t, err)
		assert.Equal(t, lvm.Exclusive, there.Mode, lockType)
	}
}

func TestSnapshotCommandLine(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	_, err := c.a.Snapshot(t.Context(), snapshotOf)
	require.NoError(t, err)
	// 2 extents of 64 chunks: 128 of data, some of header and table.
	assert.Contains(t, strings.Join(c.hostA.Calls(), "\n"), " -y -s -c 64k --addtag one --addtag snapshot=0 -L 12582912b -n lv-one-42-0_s0 vg-one/lv-one-42-0")
	assert.Contains(t, c.hostA.Writers(), "lvcreate", "never killed")
}

func TestInvalidSnapshotIsReported(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	_, err := c.a.Snapshot(t.Context(), snapshotOf)
	require.NoError(t, err)
	c.store.Overflow(vg, snapshotOf.Name)
	v, err := c.a.Volume(t.Context(), snapshotOf.Name)
	require.NoError(t, err)
	assert.True(t, v.Invalid)
	require.NoError(t, c.a.Remove(t.Context(), v.Name), "it can still be removed")
}

// A lvcreate that failed half way, or did nothing, leaves no snapshot.
func TestSnapshotThatFailsLeavesNothing(t *testing.T) {
	for name, fault := range map[string]lvmfake.Fault{
		"failed after the effect": {Program: "lvcreate", Status: 5, Stderr: "  device-mapper: reload ioctl failed\n", Effect: true},
		"no effect":               {Program: "lvcreate", NoEffect: true},
	} {
		c := newCluster(lvmfake.LockDLM)
		before := c.create(t)
		c.hostA.Inject(fault)
		_, err := c.a.Snapshot(t.Context(), snapshotOf)
		require.Error(t, err, name)
		assert.Equal(t, []string{disk}, c.store.Names(vg), name)
		now, err := c.a.Volume(t.Context(), disk)
		require.NoError(t, err)
		assert.Equal(t, before, now, name)
	}
}
