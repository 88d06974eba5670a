package lvm2_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

func newCLVMD() *cluster {
	c := newCluster(lvmfake.LockCLVMD)
	c.hostA.SetVersion("2.02.187(2) (2020-03-24)")
	c.hostB.SetVersion("2.02.187(2) (2020-03-24)")
	return c
}

func TestCLVMDKeepsTheOtherNodeOut(t *testing.T) {
	c := newCLVMD()
	assert.Equal(t, lvm.Exclusive, c.create(t).Mode)
	ctx := t.Context()
	v, err := c.b.Volume(ctx, disk)
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, v.Mode, "active on the other node only")
	_, err = c.hostB.Run(ctx, runLine("lvchange --config devices{scan_lvs=0} -aey vg-one/"+disk))
	require.NoError(t, err, "clvmd reports success")
	_, err = c.b.Activate(ctx, disk, lvm.Exclusive)
	require.ErrorIs(t, err, lvm.ErrLocked, "the report tells")
	require.ErrorContains(t, err, "active exclusively on another node (clvmd does not tell which")
	_, err = c.b.Activate(ctx, disk, lvm.Shared)
	require.ErrorIs(t, err, lvm.ErrLocked)
	require.ErrorIs(t, c.b.Remove(ctx, disk), lvm.ErrLocked)
	require.ErrorIs(t, c.b.Rename(ctx, disk, "lv-one-43-0"), lvm.ErrLocked)
	_, err = c.b.Extend(ctx, disk, 9*extent)
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.Equal(t, []string{disk}, c.store.Names(vg))
	v, err = c.a.Volume(ctx, disk)
	require.NoError(t, err)
	assert.Equal(t, lvm.Exclusive, v.Mode)
}

// TestCLVMDOffMeansThisNode: LVM's own -an would take the volume from all nodes.
func TestCLVMDOffMeansThisNode(t *testing.T) {
	c := newCLVMD()
	c.create(t)
	ctx := t.Context()
	for _, group := range []*lvm2.Group{c.a, c.b} {
		v, err := group.Activate(ctx, disk, lvm.Shared)
		require.NoError(t, err)
		assert.Equal(t, lvm.Shared, v.Mode)
	}
	_, err := c.a.Activate(ctx, disk, lvm.Exclusive)
	require.ErrorIs(t, err, lvm.ErrLocked, "the other node has it shared")
	_, err = c.a.Activate(ctx, disk, lvm.Off)
	require.NoError(t, err)
	v, err := c.b.Volume(ctx, disk)
	require.NoError(t, err)
	assert.Equal(t, lvm.Shared, v.Mode)
	require.ErrorIs(t, c.a.Remove(ctx, disk), lvm.ErrLocked)
}

// TestCLVMDDoesNotWeakenALockInUse: a live migration of a volume that is active
// exclusively is refused, before anything has changed.
func TestCLVMDDoesNotWeakenALockInUse(t *testing.T) {
	c := newCLVMD()
	c.create(t)
	c.hostA.Open(vg, disk)
	c.hostA.ForgetCalls()
	_, err := c.a.Activate(t.Context(), disk, lvm.Shared)
	require.ErrorIs(t, err, lvm2.ErrNotShareable)
	assert.Empty(t, c.hostA.Writers())
	v, err := c.a.Volume(t.Context(), disk)
	require.NoError(t, err)
	assert.Equal(t, lvm.Exclusive, v.Mode)
}

func TestCLVMDDown(t *testing.T) {
	c := newCLVMD()
	c.create(t)
	c.hostA.SetLocking(lvmfake.LockdDown)
	c.hostA.ForgetCalls()
	_, err := c.a.Volumes(t.Context())
	require.ErrorIs(t, err, lvm2.ErrNoLockManager)
	require.ErrorContains(t, err, "clvmd on this node")
	require.ErrorIs(t, c.a.Remove(t.Context(), disk), lvm2.ErrNoLockManager)
	assert.Empty(t, c.hostA.Writers())
}

// TestCLVMDHangsWithAnyNode: what hangs ends with its context, and a change that hangs
// has an unknown outcome.
func TestCLVMDHangsWithAnyNode(t *testing.T) {
	c := newCLVMD()
	c.create(t)
	ctx, cancel := context.WithCancel(t.Context())
	frozen := meddler{c.hostA, "lvs", func() { c.hostB.Freeze(); cancel() }}
	_, err := lvm2.New(vg, frozen, lvm2.Options{}).Activate(ctx, disk, lvm.Off)
	require.ErrorIs(t, err, context.Canceled)
	c.hostB.Thaw()

	ctx, cancel = context.WithCancel(t.Context())
	c.hostA.Inject(lvmfake.Fault{Program: "lvchange", Hang: true, Hanging: cancel})
	_, err = c.a.Activate(ctx, disk, lvm.Off)
	require.ErrorIs(t, err, lvm.ErrUnknownOutcome)
	c.hostB.Freeze()
	c.hostB.Crash()
	_, err = c.a.Volumes(t.Context())
	require.NoError(t, err, "after fencing the others go on")
}
