package lvm2_test

import (
	"context"
	"strings"
	"testing"
	"time"

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
			if want == "" {
				continue
			}
			_, err := group.Activate(t.Context(), disk, lvm.Exclusive)
			require.ErrorIs(t, err, lvm.ErrLocked)
			assert.ErrorContains(t, err, "volume is locked by another node: "+want, c)
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

// TestWaitingIsTold: what LVM waits for is told while it waits, and in the error when it
// was given up.
func TestWaitingIsTold(t *testing.T) {
	for lockType, want := range map[string]string{
		lvmfake.LockDLM:     "the lock manager waits until b is fenced",
		lvmfake.LockSanlock: "lvmlockctl -i shows the lock",
	} {
		c := newCluster(lockType)
		c.create(t)
		if lockType == lvmfake.LockSanlock {
			c.hostA.Inject(lvmfake.Fault{Program: "dlm_tool", Status: 2, Stderr: "not installed\n", Calls: -1})
		}
		c.hostB.Freeze()
		c.hostA.Inject(lvmfake.Fault{Program: "lvchange", Hang: true})
		ctx, cancel := context.WithCancel(t.Context())
		told := make(chan string, 10)
		g := lvm2.New(vg, c.hostA, lvm2.Options{SlowAfter: time.Millisecond})
		g.OnWait(func(reason string) {
			if strings.HasPrefix(reason, "lvchange") {
				told <- reason
				cancel()
			}
		})
		_, err := g.Activate(ctx, disk, lvm.Off)
		require.ErrorIs(t, err, lvm.ErrUnknownOutcome)
		assert.ErrorContains(t, err, want)
		assert.Contains(t, <-told, want)
	}
}
