package lvm2_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

func TestCreateArguments(t *testing.T) {
	for _, c := range []struct{ lockType, version, want string }{
		{lvmfake.LockNone, "2.03.16(2) (2022-05-18)", "-ay --setautoactivation n"},
		{lvmfake.LockDLM, "2.03.16(2) (2022-05-18)", "-aey --setautoactivation n"},
		{lvmfake.LockSanlock, "2.03.11(2) (2021-01-08)", "-aey"},
		{lvmfake.LockCLVMD, "2.02.187(2) (2020-03-24)", "-aey"},
	} {
		cluster := newCluster(c.lockType)
		cluster.hostA.SetVersion(c.version)
		v := cluster.create(t)
		assert.Equal(t, int64(2*extent), v.Size)
		assert.Contains(t, cluster.hostA.Calls(), "lvcreate --config devices{scan_lvs=0} -y -Wn -Zn "+c.want+
			" --addtag building --addtag disk=0 --addtag ds=100 --addtag one --addtag vm=42 -L 5000192b -n lv-one-42-0 vg-one")
	}
}

func TestVersionIsAskedOnce(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.hostA.Inject(lvmfake.Fault{Program: "lvm", Status: 4, Stderr: "  cannot start\n"})
	_, err := c.a.Create(t.Context(), request())
	require.ErrorContains(t, err, "cannot start")
	c.create(t)
	require.NoError(t, c.a.Remove(t.Context(), disk))
	c.create(t)
	asked := 0
	for _, call := range c.hostA.Calls() {
		if call == "lvm version" {
			asked++
		}
	}
	assert.Equal(t, 2, asked, "once for the failure, once for good")
}

func TestVersionUnreadable(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.hostA.SetVersion("what?")
	_, err := c.a.Create(t.Context(), request())
	require.ErrorContains(t, err, "LVM version")
	assert.Empty(t, c.store.Names(vg))
	c.hostA.SetVersion("2.03.16(2) (2022-05-18)")
	c.create(t)
	assert.Contains(t, strings.Join(c.hostA.Calls(), "\n"), "--setautoactivation n", "asked again")
}

func TestOnlyChangesAreWriters(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	_, err := c.a.Extend(t.Context(), disk, 3*extent)
	require.NoError(t, err)
	_, err = c.a.Tag(t.Context(), disk, nil, lvm.Tags{lvm.TagBuilding})
	require.NoError(t, err)
	require.NoError(t, c.a.Rename(t.Context(), disk, "lv-one-43-0"))
	require.NoError(t, c.a.Remove(t.Context(), "lv-one-43-0"))
	assert.Equal(t, []string{"lvcreate", "lvextend", "lvchange", "lvrename", "lvchange", "lvremove"}, c.hostA.Writers())
}

func TestLocksBetweenTwoNodes(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	ctx := t.Context()
	for _, mode := range []lvm.Mode{lvm.Exclusive, lvm.Shared} {
		_, err := c.b.Activate(ctx, disk, mode)
		require.ErrorIs(t, err, lvm.ErrLocked)
	}
	require.ErrorIs(t, c.b.Remove(ctx, disk), lvm.ErrLocked)
	require.ErrorIs(t, c.b.Rename(ctx, disk, "lv-one-43-0"), lvm.ErrLocked)
	_, err := c.b.Extend(ctx, disk, 9*extent)
	require.ErrorIs(t, err, lvm.ErrLocked)
	v, err := c.b.Tag(ctx, disk, lvm.Tags{"parked"}, nil)
	require.NoError(t, err, "tags need no volume lock")
	assert.Equal(t, lvm.Off, v.Mode, "the mode is this node's")
	assert.Equal(t, []string{disk}, c.store.Names(vg))
}

// TestLiveMigration walks the sequence of a live migration under lvmlockd.
func TestLiveMigration(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	release := c.hostA.Open(vg, disk)
	ctx := t.Context()
	wantMode := func(g *lvm2.Group, mode lvm.Mode) {
		t.Helper()
		v, err := g.Activate(ctx, disk, mode)
		require.NoError(t, err)
		assert.Equal(t, mode, v.Mode)
	}
	wantMode(c.a, lvm.Shared)
	wantMode(c.b, lvm.Shared)
	_, err := c.b.Activate(ctx, disk, lvm.Exclusive)
	require.ErrorIs(t, err, lvm.ErrLocked, "the source still has it")
	release()
	wantMode(c.a, lvm.Off)
	wantMode(c.b, lvm.Exclusive)
}

func TestSharedIsTakenAloneForAChange(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	ctx := t.Context()
	share := func(g *lvm2.Group) {
		_, err := g.Activate(ctx, disk, lvm.Shared)
		require.NoError(t, err)
	}
	share(c.a)
	v, err := c.a.Extend(ctx, disk, 5*extent)
	require.NoError(t, err)
	assert.Equal(t, lvm.Shared, v.Mode, "and shared again")
	share(c.b)
	_, err = c.a.Extend(ctx, disk, 6*extent)
	require.ErrorIs(t, err, lvm.ErrLocked, "not while another node has it")
	_, err = c.b.Activate(ctx, disk, lvm.Off)
	require.NoError(t, err)
	c.hostA.Inject(lvmfake.Fault{Program: "lvrename", Status: 5, Stderr: "  Cannot rename\n"})
	require.ErrorContains(t, c.a.Rename(ctx, disk, "lv-one-43-0"), "Cannot rename")
	v, err = c.a.Volume(ctx, disk)
	require.NoError(t, err)
	assert.Equal(t, lvm.Shared, v.Mode, "shared again after a failure, too")
	short, cancel := context.WithCancel(ctx)
	c.hostA.Inject(lvmfake.Fault{Program: "lvrename", Hang: true, Hanging: cancel})
	require.ErrorIs(t, c.a.Rename(short, disk, "lv-one-43-0"), lvm.ErrUnknownOutcome)
}

func TestLocalGroupHasOneActiveMode(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	c.create(t)
	for wanted, got := range map[lvm.Mode]lvm.Mode{lvm.Shared: lvm.Exclusive, lvm.Exclusive: lvm.Exclusive, lvm.Off: lvm.Off} {
		v, err := c.a.Activate(t.Context(), disk, wanted)
		require.NoError(t, err)
		assert.Equal(t, got, v.Mode)
	}
	assert.NotContains(t, strings.Join(c.hostA.Calls(), "\n"), "lvmlockctl")
}

func TestSuccessWithoutEffectIsAnError(t *testing.T) {
	ctx := t.Context()
	for program, call := range map[string]func(*cluster) error{
		"lvremove": func(c *cluster) error { return c.a.Remove(ctx, disk) },
		"lvrename": func(c *cluster) error { return c.a.Rename(ctx, disk, "lv-one-43-0") },
		"lvextend": func(c *cluster) error { _, err := c.a.Extend(ctx, disk, 9*extent); return err },
		"lvchange": func(c *cluster) error { _, err := c.a.Activate(ctx, disk, lvm.Off); return err },
		"lvcreate": func(c *cluster) error {
			_, err := c.a.Create(ctx, lvm.CreateRequest{Name: "lv-one-43-0", Size: 1})
			return err
		},
	} {
		c := newCluster(lvmfake.LockDLM)
		c.create(t)
		c.hostA.Inject(lvmfake.Fault{Program: program, NoEffect: true})
		assert.ErrorIs(t, call(c), lvm2.ErrNoEffect, program)
	}
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	c.hostA.Inject(lvmfake.Fault{Program: "lvchange", NoEffect: true})
	_, err := c.a.Tag(ctx, disk, lvm.Tags{"x"}, nil)
	assert.ErrorIs(t, err, lvm2.ErrNoEffect)
}

func TestCreateLeavesNothingWhenTheResultIsWrong(t *testing.T) {
	for what, meddle := range map[string]func(c *cluster){
		"inactive": func(c *cluster) { c.hostA.Crash() },
	} {
		c := newCluster(lvmfake.LockDLM)
		group := lvm2.New(vg, meddler{c.hostA, "lvcreate", func() { meddle(c) }}, lvm2.Options{})
		_, err := group.Create(t.Context(), request())
		require.ErrorIs(t, err, lvm2.ErrNoEffect, what)
		assert.Empty(t, c.store.Names(vg), what)
	}
}

func TestCreateKeepsAVolumeThatMayBeSomebodyElses(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	group := lvm2.New(vg, meddler{c.hostA, "lvcreate", func() { c.store.SetTags(vg, disk, "other") }}, lvm2.Options{})
	_, err := group.Create(t.Context(), request())
	require.ErrorIs(t, err, lvm2.ErrNoEffect)
	require.ErrorContains(t, err, "by hand")
	assert.Equal(t, []string{disk}, c.store.Names(vg))
}

func TestCreateLeavesNothingAfterAFailure(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.hostA.Inject(lvmfake.Fault{Program: "lvcreate", Status: 5, Stderr: "  Failed to activate new LV.\n", Effect: true})
	_, err := c.a.Create(t.Context(), request())
	require.ErrorContains(t, err, "Failed to activate new LV.")
	assert.Empty(t, c.store.Names(vg))
}

func TestCreateTellsWhatItCouldNotUndo(t *testing.T) {
	for program, text := range map[string]string{"lvremove": "could not remove", "lvs": "could not look"} {
		c := newCluster(lvmfake.LockDLM)
		c.hostA.Inject(lvmfake.Fault{Program: "lvcreate", Status: 5, Stderr: "  first failure\n", Effect: true})
		skip := 0
		if program == "lvs" {
			skip = 1
		}
		c.hostA.Inject(lvmfake.Fault{Program: program, Status: 5, Stderr: "  second failure\n", Skip: skip, Calls: -1})
		_, err := c.a.Create(t.Context(), request())
		require.ErrorContains(t, err, "first failure")
		require.ErrorContains(t, err, "second failure")
		require.ErrorContains(t, err, text)
	}
}

// TestCreateRaceKeepsTheOther: a volume that appears between the check and lvcreate is
// somebody else's, whatever its tags.
func TestCreateRaceKeepsTheOther(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	group := allowed(lvm2.New(vg, meddler{c.hostA, "pvs", func() { c.createOnB(t) }}, lvm2.Options{}))
	_, err := group.Create(t.Context(), request())
	require.ErrorIs(t, err, lvm.ErrExists)
	assert.Equal(t, []string{disk}, c.store.Names(vg))
}

// createOnB goes past the group: a group of the same name waits for the change that is
// under way in this process.
func (c *cluster) createOnB(t *testing.T) {
	args := []string{"-y", "-Wn", "-Zn", "-ay", "-L", "4194304b", "-n", disk}
	for _, tag := range request().Tags {
		args = append(args, "--addtag", tag)
	}
	_, err := c.hostB.Run(t.Context(), run.Cmd{Path: "lvcreate", Args: append(args, vg)})
	require.NoError(t, err)
}

func TestNothingRunsOnAnOpenVolume(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	c.hostA.Open(vg, disk)
	c.hostA.ForgetCalls()
	require.ErrorIs(t, c.a.Remove(t.Context(), disk), lvm.ErrInUse)
	_, err := c.a.Activate(t.Context(), disk, lvm.Off)
	require.ErrorIs(t, err, lvm.ErrInUse)
	assert.Empty(t, c.hostA.Writers())
}

func TestRenameChecksThatItIsTheSameVolume(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	c.create(t)
	swapped := meddler{c.hostA, "lvrename", func() {
		_, err := c.hostB.Run(t.Context(), run.Cmd{Path: "lvremove", Args: []string{"-y", vg + "/lv-one-43-0"}})
		assert.NoError(t, err)
		_, err = c.hostB.Run(t.Context(), run.Cmd{Path: "lvcreate", Args: []string{"-L4M", "-n", "lv-one-43-0", vg}})
		assert.NoError(t, err)
	}}
	err := allowed(lvm2.New(vg, swapped, lvm2.Options{})).Rename(t.Context(), disk, "lv-one-43-0")
	require.ErrorIs(t, err, lvm2.ErrNoEffect)
}

// TestCreateCleansUpAfterItsContextEnded: what is left is removed all the same.
func TestCreateCleansUpAfterItsContextEnded(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	ctx, cancel := context.WithCancel(t.Context())
	c.hostA.Inject(lvmfake.Fault{Program: "lvcreate", Status: 5, Stderr: "  Failed to activate new LV.\n", Effect: true})
	_, err := lvm2.New(vg, meddler{c.hostA, "lvcreate", cancel}, lvm2.Options{}).Create(ctx, request())
	require.ErrorContains(t, err, "Failed to activate")
	assert.Empty(t, c.store.Names(vg))
}
