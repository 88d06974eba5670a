package filevg

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
)

// What needs no loop device.

func plainGroup(t *testing.T) *Group {
	t.Helper()
	g, err := Create(filepath.Join(t.TempDir(), "vg-one"), 16<<20, 1<<20)
	require.NoError(t, err)
	return g
}

func TestCreateGroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vg-one")
	_, err := Create(dir, 10<<20+5, 0)
	require.NoError(t, err)
	g, err := Open(dir)
	require.NoError(t, err)
	info, err := g.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, lvm.GroupInfo{Name: "vg-one", Size: 8 << 20, Free: 8 << 20, ExtentSize: 4 << 20, LockManager: "none"}, info)

	_, err = Create(dir, 10<<20, 0)
	require.ErrorIs(t, err, fs.ErrExist)
	var operation *lvm.Error
	require.ErrorAs(t, err, &operation)
	assert.Equal(t, "vg-one", operation.Group)
}

func TestCreateGroupRefused(t *testing.T) {
	for _, c := range []struct {
		name         string
		size, extent int64
		want         error
	}{
		{"vg one", 1 << 30, 0, lvm.ErrBadName},
		{"-vg", 1 << 30, 0, lvm.ErrBadName},
		{"vg", 0, 0, lvm.ErrBadSize},
		{"vg", -1, 0, lvm.ErrBadSize},
		{"vg", 4<<20 - 1, 0, lvm.ErrBadSize},
		{"vg", 1 << 62, 0, lvm.ErrBadSize},
		{"vg", 1 << 30, -4096, lvm.ErrBadSize},
		{"vg", 1 << 30, 1000, lvm.ErrBadSize},
	} {
		dir := filepath.Join(t.TempDir(), c.name)
		_, err := Create(dir, c.size, c.extent)
		require.ErrorIs(t, err, c.want, "%+v", c)
		assert.NoDirExists(t, dir)
	}
}

// A Create that was killed at any step leaves nothing that stops the next one.
func TestCreateGroupGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vg-one")
	g, err := Create(dir, 16<<20, 1<<20)
	require.NoError(t, err)
	require.NoError(t, os.Rename(g.path(metadataFile), g.path("."+metadataFile+"123")))
	_, err = Open(dir)
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	_, err = Create(dir, 16<<20, 1<<20)
	require.NoError(t, err)
	_, err = Open(dir)
	require.NoError(t, err)
	assert.NoFileExists(t, g.path("."+metadataFile+"123"))
}

// A pv with data in it is somebody's, also when its metadata is gone.
func TestCreateGroupKeepsData(t *testing.T) {
	g := plainGroup(t)
	require.NoError(t, os.Remove(g.path(metadataFile)))
	f, err := os.OpenFile(g.path(pvFile), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("data"), 5<<20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = Create(g.dir, 16<<20, 1<<20)
	assert.ErrorIs(t, err, fs.ErrExist)
}

func TestOpenGroupRefused(t *testing.T) {
	root := t.TempDir()
	_, err := Open(filepath.Join(root, "absent"))
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	_, err = Open(root)
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	assert.Empty(t, entries, "looking leaves nothing behind")
}

func TestDamageIsNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(g *Group) error
		want   error
		file   string
	}{
		{"empty metadata", func(g *Group) error { return os.Truncate(g.path(metadataFile), 0) }, ErrDamaged, metadataFile},
		{"newer metadata", func(g *Group) error {
			return os.WriteFile(g.path(metadataFile), []byte(`{"format":"`+metadataFormat+`","version":2}`), 0o600)
		}, ErrVersion, metadataFile},
		{"short pv", func(g *Group) error { return os.Truncate(g.path(pvFile), 1<<20) }, ErrDamaged, pvFile},
		{"no pv", func(g *Group) error { return os.Remove(g.path(pvFile)) }, ErrDamaged, pvFile},
		{"metadata cannot be read", func(g *Group) error {
			return os.Remove(g.path(metadataFile))
		}, lvm.ErrNoGroup, metadataFile},
		{"no dev", func(g *Group) error { return os.Remove(g.path(devDir)) }, fs.ErrNotExist, devDir},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := plainGroup(t)
			require.NoError(t, c.damage(g))
			_, err := g.Volumes(t.Context())
			require.ErrorIs(t, err, c.want)
			assert.ErrorContains(t, err, g.path(c.file))
			_, err = Open(g.dir)
			require.ErrorIs(t, err, c.want)
			_, err = g.Create(t.Context(), lvm.CreateRequest{Name: "lv-one-1-0", Size: 1})
			require.ErrorIs(t, err, c.want)
		})
	}
}

// The kernel names files without symlinks; a group reached through one is the same.
func TestGroupThroughSymlink(t *testing.T) {
	g := plainGroup(t)
	link := filepath.Join(t.TempDir(), "vg-one")
	require.NoError(t, os.Symlink(g.dir, link))
	again, err := Open(link)
	require.NoError(t, err)
	assert.Equal(t, g, again)
}

func TestList(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"vg-b", "vg-a"} {
		_, err := Create(filepath.Join(root, name), 16<<20, 0)
		require.NoError(t, err)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "something else"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "empty"), 0o755))
	names, err := List(root)
	require.NoError(t, err)
	assert.Equal(t, []string{"vg-a", "vg-b"}, names)
	_, err = List(filepath.Join(root, "absent"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestDestroyGroup(t *testing.T) {
	g := plainGroup(t)
	require.NoError(t, g.Destroy(t.Context()))
	assert.NoDirExists(t, g.dir)
	assert.ErrorIs(t, g.Destroy(t.Context()), lvm.ErrNoGroup)
	_, err := g.Info(t.Context())
	assert.ErrorIs(t, err, lvm.ErrNoGroup)
	_, err = Create(g.dir, 16<<20, 0)
	assert.NoError(t, err)
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	g := plainGroup(t)
	unlock, err := g.lock(t.Context(), unix.LOCK_EX)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	_, err = g.Info(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	_, err = g.Info(t.Context())
	require.NoError(t, err, "the one that gave up does not keep the lock")
}

func TestReportsShareTheLock(t *testing.T) {
	g := plainGroup(t)
	unlock, err := g.lock(t.Context(), unix.LOCK_SH)
	require.NoError(t, err)
	defer unlock()
	_, err = g.Info(t.Context())
	assert.NoError(t, err)
}

// Who waited for the lock of a group that was destroyed meanwhile must not go on.
func TestLockOfRemovedGroup(t *testing.T) {
	g := plainGroup(t)
	f, err := os.Open(g.path(lockFile))
	require.NoError(t, err)
	defer f.Close()
	assert.True(t, current(f))
	require.NoError(t, os.Remove(f.Name()))
	assert.False(t, current(f))
	require.NoError(t, os.WriteFile(f.Name(), nil, 0o600))
	assert.False(t, current(f), "a new file of that name is another lock")
}

func TestModeOfRecord(t *testing.T) {
	assert.Equal(t, lvm.Off, mode(false, true))
	assert.Equal(t, lvm.Exclusive, mode(true, false))
	assert.Equal(t, lvm.Shared, mode(true, true))
}
