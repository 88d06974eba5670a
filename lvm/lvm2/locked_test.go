package lvm2_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

// TestErrLockedNamesTheHolder, whichever node is asked, and whoever is dlm's master.
func TestErrLockedNamesTheHolder(t *testing.T) {
	for _, c := range []struct {
		lockType   string
		aHas, bHas lvm.Mode
		onA, onB   string // what is said when the volume is wanted exclusively
	}{
		{lvmfake.LockDLM, lvm.Exclusive, lvm.Off, "", "active on a:"},
		{lvmfake.LockDLM, lvm.Off, lvm.Exclusive, "active exclusively on b:", ""},
		{lvmfake.LockDLM, lvm.Off, lvm.Shared, "active shared on b:", ""},
		{lvmfake.LockDLM, lvm.Shared, lvm.Shared, "active shared on b:", "active on a:"},
		{lvmfake.LockSanlock, lvm.Exclusive, lvm.Off, "", "active exclusively on a:"},
		{lvmfake.LockSanlock, lvm.Off, lvm.Exclusive, "active exclusively on b:", ""},
		{lvmfake.LockSanlock, lvm.Shared, lvm.Shared, "active shared on b:", "active shared on a:"},
	} {
		cluster := newCluster(c.lockType)
		cluster.create(t)
		for i, group := range []*lvm2.Group{cluster.a, cluster.b} {
			for _, mode := range []lvm.Mode{lvm.Off, []lvm.Mode{c.aHas, c.bHas}[i]} {
				_, err := group.Activate(t.Context(), disk, mode)
				require.NoError(t, err)
			}
		}
		for group, want := range map[*lvm2.Group]string{cluster.a: c.onA, cluster.b: c.onB} {
			if _, err := group.Activate(t.Context(), disk, lvm.Exclusive); want != "" {
				require.ErrorIs(t, err, lvm.ErrLocked)
				assert.ErrorContains(t, err, "volume is locked by another node: "+want, c)
			}
		}
	}
}

// TestErrLockedStaysWhenNobodyTells: the lookup never changes what the error is.
func TestErrLockedStaysWhenNobodyTells(t *testing.T) {
	for lockType, program := range map[string]string{lvmfake.LockDLM: "dlm_tool", lvmfake.LockSanlock: "sanlock"} {
		for what, fault := range map[string]lvmfake.Fault{
			"fails":   {Status: 1, Stderr: "cannot connect\n"},
			"silent":  {NoEffect: true},
			"cut off": {CutShort: true},
		} {
			c := newCluster(lockType)
			c.create(t)
			fault.Program, fault.Calls = program, -1
			c.hostB.Inject(fault)
			_, err := c.b.Activate(t.Context(), disk, lvm.Exclusive)
			require.ErrorIs(t, err, lvm.ErrLocked, "%s %s", program, what)
			assert.NotErrorIs(t, err, lvm2.ErrNoLockManager)
			assert.Regexp(t, "is not known|no node has it any more|active (exclusively )?on", err.Error())
		}
	}
}

// TestErrLockedNamesTheMaster: with more than two nodes the one that manages the lock
// must be asked.
func TestErrLockedNamesTheMaster(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	third := lvm2.New(vg, c.store.Host("c"), lvm2.Options{})
	c.create(t)
	_, err := third.Activate(t.Context(), disk, lvm.Exclusive)
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.ErrorContains(t, err, "managed by a: dlm_tool lockdump -M lvm_vg-one there")
}

// TestErrLockedOfADeadHolder: its lease is not renewed, but it has not expired yet.
func TestErrLockedOfADeadHolder(t *testing.T) {
	c := newCluster(lvmfake.LockSanlock)
	c.create(t)
	c.hostA.Freeze()
	_, err := c.b.Activate(t.Context(), disk, lvm.Exclusive)
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.ErrorContains(t, err, "active exclusively on a (it does not renew its lease")
	c.hostA.Crash()
	_, err = c.b.Activate(t.Context(), disk, lvm.Exclusive)
	require.NoError(t, err)
}
