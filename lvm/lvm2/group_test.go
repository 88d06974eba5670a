package lvm2_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
	"one-clvm/lvm/lvmtest"
)

const (
	vg     = "vg-one"
	disk   = "lv-one-42-0"
	extent = 4 << 20
)

// cluster is two nodes on one SAN.
type cluster struct {
	store        *lvmfake.Store
	hostA, hostB *lvmfake.Host
	a, b         *lvm2.Group
	pauses       *pauses
}

// pauses records what a group would have slept.
type pauses struct {
	mutex sync.Mutex
	all   []time.Duration
}

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.all = append(p.all, d)
	return ctx.Err()
}

func newCluster(lockType string) *cluster {
	store := lvmfake.NewStore(lvmfake.GroupSpec{Name: vg, LockType: lockType, Extents: 100})
	c := &cluster{store: store, hostA: store.Host("a"), hostB: store.Host("b"), pauses: &pauses{}}
	c.a = lvm2.New(vg, c.hostA, lvm2.Options{Sleep: c.pauses.sleep})
	c.b = lvm2.New(vg, c.hostB, lvm2.Options{Sleep: c.pauses.sleep})
	return c
}

func (c *cluster) create(t *testing.T) lvm.Volume {
	t.Helper()
	v, err := c.a.Create(t.Context(), request())
	require.NoError(t, err)
	return v
}

func request() lvm.CreateRequest {
	return lvm.CreateRequest{Name: disk, Size: 5000000, Tags: lvm.DiskTags(42, 0, 100).With(lvm.TagBuilding)}
}

func TestConformance(t *testing.T) {
	for _, lockType := range []string{lvmfake.LockDLM, lvmfake.LockSanlock} {
		t.Run(lockType, func(t *testing.T) {
			lvmtest.Run(t, func(*testing.T) lvmtest.Fixture {
				c := newCluster(lockType)
				return lvmtest.Fixture{
					Group: c.a,
					Hold:  func(_ *testing.T, v lvm.Volume) func() { return c.hostA.Open(v.Group, v.Name) },
					Break: func(*testing.T) func() {
						c.hostA.Inject(lvmfake.Fault{Program: "lvs", Calls: -1, Status: 5, Stderr: "  Input/output error\n"})
						return c.hostA.Heal
					},
				}
			})
		})
	}
}

func TestInfoTellsTheLockManager(t *testing.T) {
	for lockType, manager := range map[string]string{
		lvmfake.LockNone: "none", lvmfake.LockDLM: "dlm", lvmfake.LockSanlock: "sanlock", lvmfake.LockCLVMD: "clvmd",
	} {
		info, err := newCluster(lockType).a.Info(t.Context())
		require.NoError(t, err)
		assert.Equal(t, lvm.GroupInfo{Name: vg, Size: 100 * extent, Free: 100 * extent, ExtentSize: extent, LockManager: manager}, info)
	}
}

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
		assert.Contains(t, cluster.hostA.Calls(), "lvcreate -y -Wn -Zn "+c.want+
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
}

func TestNothingRunsForBadArguments(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	bad := lvm2.New("-vg", c.hostA, lvm2.Options{})
	ctx := t.Context()
	for what, call := range map[string]func() error{
		"group of info":    func() error { _, err := bad.Info(ctx); return err },
		"group of volumes": func() error { _, err := bad.Volumes(ctx); return err },
		"group of volume":  func() error { _, err := bad.Volume(ctx, disk); return err },
		"group of remove":  func() error { return bad.Remove(ctx, disk) },
		"volume":           func() error { _, err := c.a.Volume(ctx, "--help"); return err },
		"create":           func() error { _, err := c.a.Create(ctx, lvm.CreateRequest{Name: "a b", Size: 1}); return err },
		"size":             func() error { _, err := c.a.Create(ctx, lvm.CreateRequest{Name: disk}); return err },
		"tag": func() error {
			_, err := c.a.Create(ctx, lvm.CreateRequest{Name: disk, Size: 1, Tags: lvm.Tags{"-x"}})
			return err
		},
		"rename":   func() error { return c.a.Rename(ctx, disk, "x/y") },
		"extend":   func() error { _, err := c.a.Extend(ctx, disk, -1); return err },
		"activate": func() error { _, err := c.a.Activate(ctx, disk, 7); return err },
		"deltag":   func() error { _, err := c.a.Tag(ctx, disk, nil, lvm.Tags{""}); return err },
	} {
		var operation *lvm.Error
		require.ErrorAs(t, call(), &operation, what)
	}
	assert.Empty(t, c.hostA.Calls())
	assert.Equal(t, vg, c.a.Name())
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

func TestReadNamesTheGroup(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	c.create(t)
	c.hostA.ForgetCalls()
	_, err := c.a.Volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, c.hostA.Calls(), 1, "one report a poll")
	assert.Regexp(t, "^lvs --reportformat json --units b --nosuffix -o [a-z_,]+ vg-one$", c.hostA.Calls()[0])
}

func TestWarningsBeforeTheReport(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	c.hostA.SetNoise("  WARNING: Device /dev/sdc {multipath leg} not initialized in udev database.\n")
	c.create(t)
}

func TestNotFoundNeedsCleanReport(t *testing.T) {
	for what, fault := range map[string]lvmfake.Fault{
		"status 5":          {Program: "lvs", Status: 5, Stderr: "  /dev/mapper/mpatha: Checksum error at offset 4608\n"},
		"empty, status 5":   {Program: "lvs", Status: 5, Stderr: "  Failed to find logical volume \"vg-one/lv-one-42-1\"\n"},
		"cut short":         {Program: "lvs", CutShort: true},
		"nothing, status 0": {Program: "lvs", NoEffect: true},
		"not started":       {Program: "lvs", Status: 2, Stderr: "  No such command\n"},
	} {
		t.Run(what, func(t *testing.T) {
			c := newCluster(lvmfake.LockNone)
			c.create(t)
			fault.Calls = -1
			c.hostA.Inject(fault)
			_, err := c.a.Volume(t.Context(), "lv-one-42-1")
			require.Error(t, err)
			require.NotErrorIs(t, err, lvm.ErrNotFound)
			err = c.a.Remove(t.Context(), "lv-one-42-1")
			require.NotErrorIs(t, err, lvm.ErrNotFound)
			c.hostA.Heal()
			_, err = c.a.Volume(t.Context(), "lv-one-42-1")
			require.ErrorIs(t, err, lvm.ErrNotFound)
		})
	}
}

// TestEmptyReportOfAnInvisibleGroup: an empty list with status 0 is what a shared group
// looks like without lvmlockd. It does not prove that a volume is gone.
func TestEmptyReportOfAnInvisibleGroup(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	empty := func(section string) string { return `  {"report": [{"` + section + `": []}]}` }
	group := lvm2.New(vg, script(func(cmd run.Cmd) (run.Result, error) {
		return run.Result{Stdout: []byte(empty(map[string]string{"lvs": "lv", "vgs": "vg"}[cmd.Path]))}, nil
	}), lvm2.Options{})
	_, err := group.Volume(t.Context(), disk)
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	require.NotErrorIs(t, err, lvm.ErrNotFound)
	_, err = c.a.Volume(t.Context(), disk)
	require.ErrorIs(t, err, lvm.ErrNotFound, "an empty group that is visible")
}

type script func(run.Cmd) (run.Result, error)

func (s script) Run(_ context.Context, c run.Cmd) (run.Result, error) { return s(c) }

func TestNoGroup(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	other := lvm2.New("vg-other", c.hostA, lvm2.Options{})
	_, err := other.Info(t.Context())
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	_, err = other.Volumes(t.Context())
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	_, err = other.Create(t.Context(), request())
	require.ErrorIs(t, err, lvm.ErrNoGroup)
}

func TestRefusesSharedGroupWithoutLockManager(t *testing.T) {
	for _, state := range []lvmfake.Locking{lvmfake.LockdNotStarted, lvmfake.LockdDown, lvmfake.LockdNotConfigured} {
		c := newCluster(lvmfake.LockDLM)
		c.create(t)
		c.hostA.SetLocking(state)
		c.hostA.ForgetCalls()
		ctx := t.Context()
		for _, call := range []func() error{
			func() error {
				_, err := c.a.Create(ctx, lvm.CreateRequest{Name: "lv-one-43-0", Size: 1})
				return err
			},
			func() error { return c.a.Remove(ctx, disk) },
			func() error { return c.a.Rename(ctx, disk, "lv-one-43-0") },
			func() error { _, err := c.a.Extend(ctx, disk, 1<<30); return err },
			func() error { _, err := c.a.Activate(ctx, disk, lvm.Exclusive); return err },
			func() error { _, err := c.a.Tag(ctx, disk, lvm.Tags{"x"}, nil); return err },
			func() error { _, err := c.a.Volumes(ctx); return err },
		} {
			assert.ErrorIs(t, call(), lvm2.ErrNoLockManager, "state %d", state)
		}
		assert.Empty(t, c.hostA.Writers())
	}
}

// TestEmptyGroupWithoutLockManager: an empty group has no volume whose lock could be
// asked for; LVM itself refuses the change then.
func TestEmptyGroupWithoutLockManager(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.hostA.SetLocking(lvmfake.LockdDown)
	_, err := c.a.Create(t.Context(), request())
	require.ErrorIs(t, err, lvm2.ErrNoLockManager)
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

func TestCLVMD(t *testing.T) {
	c := newCluster(lvmfake.LockCLVMD)
	assert.Equal(t, lvm.Exclusive, c.create(t).Mode)
	ctx := t.Context()
	v, err := c.b.Volume(ctx, disk)
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, v.Mode, "active on the other node only")
	_, err = c.b.Activate(ctx, disk, lvm.Exclusive)
	require.ErrorIs(t, err, lvm.ErrLocked)
	_, err = c.a.Activate(ctx, disk, lvm.Shared)
	require.ErrorIs(t, err, lvm2.ErrNoEffect, "clvmd does not weaken a lock by itself")
	for _, mode := range []lvm.Mode{lvm.Off, lvm.Shared} {
		v, err = c.a.Activate(ctx, disk, mode)
		require.NoError(t, err)
		assert.Equal(t, mode, v.Mode)
	}
	v, err = c.b.Activate(ctx, disk, lvm.Shared)
	require.NoError(t, err)
	assert.Equal(t, lvm.Shared, v.Mode)
	_, err = c.a.Activate(ctx, disk, lvm.Off)
	require.NoError(t, err)
	v, err = c.b.Volume(ctx, disk)
	require.NoError(t, err)
	assert.Equal(t, lvm.Shared, v.Mode, "off means this node, not all")
	require.ErrorIs(t, c.a.Remove(ctx, disk), lvm.ErrLocked)
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

// meddler is a host on which something else happens right after a program ended.
type meddler struct {
	*lvmfake.Host
	program string
	after   func()
}

func (m meddler) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	result, err := m.Host.Run(ctx, c)
	if c.Path == m.program {
		m.after()
	}
	return result, err
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
	group := lvm2.New(vg, meddler{c.hostA, "lvm", func() { c.createOnB(t) }}, lvm2.Options{})
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

func TestHintsAreBorneOutByTheReport(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		program, text string
		call          func(*cluster) error
		not           error
	}{
		{"lvcreate", `  Logical Volume "lv-one-43-0" already exists in volume group "vg-one"`, func(c *cluster) error {
			_, err := c.a.Create(ctx, lvm.CreateRequest{Name: "lv-one-43-0", Size: 1})
			return err
		}, lvm.ErrExists},
		{"lvremove", "  Logical volume vg-one/lv-one-42-0 in use.", func(c *cluster) error { return c.a.Remove(ctx, disk) }, lvm.ErrInUse},
		{"lvextend", "  Logical volume lv-one-42-0 not found in volume group vg-one.", func(c *cluster) error { _, err := c.a.Extend(ctx, disk, 9*extent); return err }, lvm.ErrNotFound},
		{"lvrename", `  Logical Volume "lv-one-43-0" already exists in volume group "vg-one"`, func(c *cluster) error { return c.a.Rename(ctx, disk, "lv-one-43-0") }, lvm.ErrExists},
	} {
		cluster := newCluster(lvmfake.LockDLM)
		cluster.create(t)
		cluster.hostA.Inject(lvmfake.Fault{Program: c.program, Status: 5, Stderr: c.text + "\n"})
		err := c.call(cluster)
		require.ErrorContains(t, err, strings.TrimSpace(c.text))
		assert.NotErrorIs(t, err, c.not, c.program)
	}
}

func TestHintIsBorneOut(t *testing.T) {
	ctx := t.Context()
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	opened := meddler{c.hostA, "lvs", func() { c.hostA.Open(vg, disk) }} // opened right after the first report
	_, err := lvm2.New(vg, opened, lvm2.Options{}).Activate(ctx, disk, lvm.Off)
	require.ErrorIs(t, err, lvm.ErrInUse)
	var failed *run.Error
	require.True(t, errors.As(err, &failed), "the command can be repeated by hand")
	assert.Equal(t, []string{"lvchange", "-an", "vg-one/lv-one-42-0"}, failed.Argv)

	c = newCluster(lvmfake.LockNone)
	c.create(t)
	gone := meddler{c.hostA, "lvs", sync.OnceFunc(func() {
		_, err := c.hostB.Run(ctx, run.Cmd{Path: "lvremove", Args: []string{"-y", vg + "/" + disk}})
		assert.NoError(t, err)
	})}
	_, err = lvm2.New(vg, gone, lvm2.Options{}).Tag(ctx, disk, lvm.Tags{"x"}, nil)
	require.ErrorIs(t, err, lvm.ErrNotFound)
}

func TestFailureWhoseReportFailsToo(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	c.hostA.Inject(lvmfake.Fault{Program: "lvremove", Status: 5, Stderr: "  Logical volume vg-one/lv-one-42-0 in use.\n"})
	c.hostA.Inject(lvmfake.Fault{Program: "lvs", Skip: 1, Status: 5, Stderr: "  Input/output error\n"})
	err := c.a.Remove(t.Context(), disk)
	require.ErrorContains(t, err, "in use.")
	require.ErrorContains(t, err, "Input/output error")
	require.NotErrorIs(t, err, lvm.ErrInUse)
}

func TestUnknownOutcome(t *testing.T) {
	ctx := t.Context()
	calls := map[string]func(context.Context, *lvm2.Group) error{
		"lvcreate": func(ctx context.Context, g *lvm2.Group) error {
			_, err := g.Create(ctx, lvm.CreateRequest{Name: "lv-one-43-0", Size: 1})
			return err
		},
		"lvremove": func(ctx context.Context, g *lvm2.Group) error { return g.Remove(ctx, disk) },
		"lvrename": func(ctx context.Context, g *lvm2.Group) error { return g.Rename(ctx, disk, "lv-one-43-0") },
		"lvextend": func(ctx context.Context, g *lvm2.Group) error { _, err := g.Extend(ctx, disk, 9*extent); return err },
		"lvchange": func(ctx context.Context, g *lvm2.Group) error {
			_, err := g.Tag(ctx, disk, lvm.Tags{"x"}, nil)
			return err
		},
	}
	for program, call := range calls {
		c := newCluster(lvmfake.LockDLM)
		c.create(t)
		short, cancel := context.WithCancel(ctx)
		c.hostA.Inject(lvmfake.Fault{Program: program, Hang: true, Hanging: cancel, Effect: true})
		err := call(short, c.a)
		require.ErrorIs(t, err, lvm.ErrUnknownOutcome, program)
		require.ErrorIs(t, err, run.ErrStillRunning)
		require.ErrorIs(t, err, context.Canceled)
		assert.Contains(t, err.Error(), program)
	}
}

// TestUnverifiedIsUnknown: the command succeeded, the report after it did not.
func TestUnverifiedIsUnknown(t *testing.T) {
	for name, call := range map[string]func(*cluster) error{
		"remove": func(c *cluster) error { return c.a.Remove(t.Context(), disk) },
		"extend": func(c *cluster) error { _, err := c.a.Extend(t.Context(), disk, 9*extent); return err },
	} {
		c := newCluster(lvmfake.LockDLM)
		c.create(t)
		c.hostA.Inject(lvmfake.Fault{Program: "lvs", Skip: 1, Status: 5, Stderr: "  Input/output error\n"})
		require.ErrorIs(t, call(c), lvm.ErrUnknownOutcome, name)
	}
}

func TestTransientFailuresAreTriedAgain(t *testing.T) {
	for _, text := range []string{
		"  VG vg-one lock failed: held by other host.\n  Cannot access VG vg-one due to failed lock.\n",
		"  VG vg-one lock failed: lock start in progress\n",
		"  /dev/mapper/mpatha: Checksum error at offset 4608\n",
	} {
		c := newCluster(lvmfake.LockDLM)
		c.hostA.Inject(lvmfake.Fault{Program: "lvcreate", Calls: 4, Status: 5, Stderr: text})
		c.create(t)
		require.Len(t, c.pauses.all, 4)
		for i, pause := range c.pauses.all {
			least := 250 * time.Millisecond << i
			assert.GreaterOrEqual(t, pause, least)
			assert.Less(t, pause, 2*least)
		}
	}
}

func TestTransientFailureEndsAfterFiveTries(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	c.hostA.Inject(lvmfake.Fault{Program: "lvchange", Calls: -1, Status: 5, Stderr: "  VG vg-one lock failed: held by other host.\n"})
	_, err := c.a.Tag(t.Context(), disk, lvm.Tags{"x"}, nil)
	require.ErrorIs(t, err, lvm.ErrLocked)
	require.ErrorContains(t, err, "tried 5 times")
	assert.Len(t, c.pauses.all, 4)
}

func TestOtherFailuresAreNotTriedAgain(t *testing.T) {
	for _, fault := range []lvmfake.Fault{
		{Status: 5, Stderr: "  LV locked by other host: vg-one/lv-one-42-0\n"},
		{Status: 5, Stderr: "  Input/output error\n"},
	} {
		c := newCluster(lvmfake.LockDLM)
		c.create(t)
		fault.Program, fault.Calls = "lvchange", -1
		c.hostA.Inject(fault)
		_, err := c.a.Activate(t.Context(), disk, lvm.Off)
		require.Error(t, err)
		assert.Empty(t, c.pauses.all)
	}
}

func TestRetryEndsWithTheContext(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.hostA.Inject(lvmfake.Fault{Program: "vgs", Calls: -1, Status: 5, Stderr: "  Checksum error\n"})
	ctx, cancel := context.WithCancel(t.Context())
	group := lvm2.New(vg, meddler{c.hostA, "vgs", cancel}, lvm2.Options{}) // the real sleep
	_, err := group.Info(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "Checksum error")
	require.ErrorContains(t, err, "tried 1 times")
}

func TestRealSleep(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.hostA.Inject(lvmfake.Fault{Program: "vgs", Status: 5, Stderr: "  Checksum error\n"})
	_, err := lvm2.New(vg, c.hostA, lvm2.Options{}).Info(t.Context())
	require.NoError(t, err)
}

func TestOneWriterForAGroup(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	started, finish := make(chan struct{}), make(chan struct{})
	blocked := meddler{c.hostA, "lvcreate", func() { close(started); <-finish }}
	first := make(chan error)
	go func() {
		_, err := lvm2.New(vg, blocked, lvm2.Options{}).Create(t.Context(), request())
		first <- err
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.b.Remove(ctx, disk)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "waiting for another change")
	_, err = c.b.Volumes(t.Context())
	require.NoError(t, err, "reading does not wait")
	close(finish)
	require.NoError(t, <-first)
}

func TestChildrenAreBounded(t *testing.T) {
	var mutex sync.Mutex
	running, most := 0, 0
	full, finish := make(chan struct{}), make(chan struct{})
	reached := sync.OnceFunc(func() { close(full) })
	runner := script(func(run.Cmd) (run.Result, error) {
		mutex.Lock()
		running++
		if most = max(most, running); running == 10 {
			reached()
		}
		mutex.Unlock()
		<-finish
		mutex.Lock()
		running--
		mutex.Unlock()
		return run.Result{}, nil
	})
	var all sync.WaitGroup
	for range 30 {
		all.Add(1)
		go func() {
			defer all.Done()
			_, err := lvm2.New(vg, runner, lvm2.Options{}).Info(context.Background())
			assert.ErrorContains(t, err, "no JSON")
		}()
	}
	<-full
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := lvm2.New(vg, runner, lvm2.Options{}).Info(ctx)
	require.ErrorContains(t, err, "waiting for other LVM commands")
	close(finish)
	all.Wait()
	assert.Equal(t, 10, most)
}

// TestDeadlineDoesNotKillWriter runs a real child: it is told to end only after the
// deadline has passed, and still does its work.
func TestDeadlineDoesNotKillWriter(t *testing.T) {
	dir := t.TempDir()
	gate, done := filepath.Join(dir, "gate"), filepath.Join(dir, "done")
	c := newCluster(lvmfake.LockNone)
	c.create(t)
	ctx, cancel := context.WithCancel(t.Context())
	group := lvm2.New(vg, script(func(cmd run.Cmd) (run.Result, error) {
		if cmd.Path != "lvremove" {
			return c.hostA.Run(ctx, cmd)
		}
		time.AfterFunc(50*time.Millisecond, cancel)
		cmd.Path, cmd.Args = "perl", []string{"-e", fmt.Sprintf(`$|=1; until (-e %q) { select(undef,undef,undef,0.01) } print "removed\n" x 9999; open(F, ">", %q)`, gate, done)}
		return run.Exec{}.Run(ctx, cmd)
	}), lvm2.Options{})
	require.ErrorIs(t, group.Remove(ctx, disk), lvm.ErrUnknownOutcome)
	assert.NoFileExists(t, done)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	require.Eventually(t, func() bool { _, err := os.Stat(done); return err == nil }, time.Minute, 10*time.Millisecond)
}
