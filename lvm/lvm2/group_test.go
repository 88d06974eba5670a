package lvm2_test

import (
	"context"
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
	c.a = allowed(lvm2.New(vg, c.hostA, lvm2.Options{Sleep: c.pauses.sleep}))
	c.b = allowed(lvm2.New(vg, c.hostB, lvm2.Options{Sleep: c.pauses.sleep}))
	return c
}

// allowed is a group that may be changed without a lock manager.
func allowed(g *lvm2.Group) *lvm2.Group {
	g.Permit(func(context.Context, []lvm.PhysicalVolume) error { return nil })
	return g
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
	for _, lockType := range []string{lvmfake.LockNone, lvmfake.LockDLM, lvmfake.LockSanlock, lvmfake.LockCLVMD} {
		t.Run(lockType, func(t *testing.T) {
			lvmtest.Run(t, func(*testing.T) lvmtest.Fixture {
				c := newCluster(lockType)
				if lockType == lvmfake.LockCLVMD {
					c = newCLVMD()
				}
				return lvmtest.Fixture{
					Group: c.a,
					Alone: lockType == lvmfake.LockNone,
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

func TestReadNamesTheGroup(t *testing.T) {
	c := newCluster(lvmfake.LockNone)
	c.create(t)
	c.hostA.ForgetCalls()
	_, err := c.a.Volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, c.hostA.Calls(), 1, "one report a poll")
	assert.Regexp(t, "^lvs --config devices\\{scan_lvs=0\\} --reportformat json --units b --nosuffix -o [a-z_,]+ vg-one$", c.hostA.Calls()[0])
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
		if cmd.Path == "lvm" {
			return c.hostA.Run(t.Context(), cmd)
		}
		return run.Result{Stdout: []byte(empty(map[string]string{"lvs": "lv", "vgs": "vg"}[cmd.Path]))}, nil
	}), lvm2.Options{})
	_, err := group.Volume(t.Context(), disk)
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	require.NotErrorIs(t, err, lvm.ErrNotFound)
	_, err = c.a.Volume(t.Context(), disk)
	require.ErrorIs(t, err, lvm.ErrNotFound, "an empty group that is visible")
}

// runLine is a command line without quoting.
func runLine(line string) run.Cmd {
	words := strings.Fields(line)
	return run.Cmd{Path: words[0], Args: words[1:]}
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
