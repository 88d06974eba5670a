package lvm2_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/lvm/lvm2/lvmfake"
)

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
	assert.Equal(t, []string{"lvchange", "--config", "devices{scan_lvs=0}", "-an", "vg-one/lv-one-42-0"}, failed.Argv)

	c = newCluster(lvmfake.LockNone)
	c.create(t)
	gone := meddler{c.hostA, "lvs", sync.OnceFunc(func() {
		_, err := c.hostB.Run(ctx, run.Cmd{Path: "lvremove", Args: []string{"-y", vg + "/" + disk}})
		assert.NoError(t, err)
	})}
	_, err = allowed(lvm2.New(vg, gone, lvm2.Options{})).Tag(ctx, disk, lvm.Tags{"x"}, nil)
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
		assert.Equal(t, program, c.hostA.Writers()[len(c.hostA.Writers())-1], "nothing is undone while the command may still run")
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
	require.ErrorIs(t, err, lvm2.ErrGroupBusy)
	require.ErrorContains(t, err, "tried 5 times")
	assert.Len(t, c.pauses.all, 4)
}

// Seen on a node with eight agents at once: lvmlockctl -i ends with status 158, without a
// word, while another one runs.
func TestLockctlKeepsOthersOut(t *testing.T) {
	c := newCluster(lvmfake.LockDLM)
	c.create(t)
	c.hostA.Inject(lvmfake.Fault{Program: "lvmlockctl", Calls: 10, Status: 158})
	_, err := c.a.Volume(t.Context(), disk)
	require.NoError(t, err)
	assert.Len(t, c.pauses.all, 10)
	c.hostA.Inject(lvmfake.Fault{Program: "lvmlockctl", Calls: -1, Status: 158})
	_, err = c.a.Volume(t.Context(), disk)
	require.ErrorContains(t, err, "tried 15 times")
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
	const bound = 10
	started, finish := make(chan struct{}, bound+1), make(chan struct{})
	runner := script(func(run.Cmd) (run.Result, error) {
		started <- struct{}{}
		<-finish
		return run.Result{Stdout: []byte("no version")}, nil
	})
	info := func(ctx context.Context) error {
		_, err := lvm2.New(vg, runner, lvm2.Options{}).Info(ctx)
		return err
	}
	var all errgroup.Group
	for range bound {
		all.Go(func() error { return info(context.Background()) })
	}
	for range bound {
		<-started
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	eleventh := make(chan error)
	go func() { eleventh <- info(ctx) }()
	select {
	case err := <-eleventh:
		require.ErrorContains(t, err, "waiting for other LVM commands")
	case <-started:
		t.Error("an eleventh command was started")
	}
	close(finish)
	require.ErrorContains(t, all.Wait(), "LVM version")
}

// childRole makes this test program the child of TestDeadlineDoesNotKillWriter.
const childRole = "LVM2_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(creatorRole); dir != "" {
		syscall.Exit(createSlowly(dir))
	}
	if dir := os.Getenv(childRole); dir != "" {
		touch(dir, "started")
		await(dir, "gate")
		touch(dir, "done")
		syscall.Exit(0) // os.Exit would print a warning when coverage is measured
	}
	os.Exit(m.Run())
}

func touch(dir, name string) {
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		panic(err)
	}
}

func await(dir, name string) {
	for {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestDeadlineDoesNotKillWriter runs a real child for lvremove: the context ends while
// it runs, and it still does its work.
func TestDeadlineDoesNotKillWriter(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	c := newCluster(lvmfake.LockNone)
	c.create(t)
	ctx, cancel := context.WithCancel(t.Context())
	group := allowed(lvm2.New(vg, script(func(cmd run.Cmd) (run.Result, error) {
		if cmd.Path != "lvremove" {
			return c.hostA.Run(ctx, cmd)
		}
		go func() { await(dir, "started"); cancel() }()
		cmd.Path, cmd.Env = self, []string{childRole + "=" + dir}
		return run.Exec{}.Run(ctx, cmd)
	}), lvm2.Options{}))
	require.ErrorIs(t, group.Remove(ctx, disk), lvm.ErrUnknownOutcome)
	assert.NoFileExists(t, filepath.Join(dir, "done"))
	touch(dir, "gate")
	await(dir, "done")
}
