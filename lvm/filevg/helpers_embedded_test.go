//go:build embedded

package filevg

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(churnVariable); dir != "" {
		churn(dir)
	}
	if os.Geteuid() != 0 {
		panic("these tests need root: they attach loop devices and mount")
	}
	os.Exit(m.Run())
}

// newGroup makes a group that is gone after the test, as are its loop devices.
func newGroup(t *testing.T, size int64) *Group {
	t.Helper()
	g, err := Create(filepath.Join(t.TempDir(), "vg-one"), size, testExtent)
	require.NoError(t, err)
	t.Cleanup(func() { discard(t, g) })
	return g
}

// discard destroys the group, unless the test did, and fails the test when a loop
// device outlives it.
func discard(t *testing.T, g *Group) {
	t.Helper()
	if err := g.Destroy(context.Background()); err != nil {
		assert.ErrorIs(t, err, lvm.ErrNoGroup)
	}
	assert.Empty(t, devicesOf(t, g))
}

func devicesOf(t *testing.T, g *Group) []loopDevice {
	t.Helper()
	devices, err := attached(sysBlock, g.path(pvFile))
	require.NoError(t, err)
	return devices
}

func newVolume(t *testing.T, g *Group, name string, extents int64) lvm.Volume {
	t.Helper()
	v, err := g.Create(t.Context(), lvm.CreateRequest{Name: name, Size: extents * testExtent})
	require.NoError(t, err)
	return v
}

// holdExclusively does what mkfs and mount do with a device.
func holdExclusively(t *testing.T, v lvm.Volume) (release func()) {
	t.Helper()
	return holdWith(t, v, unix.O_EXCL)
}

func holdWith(t *testing.T, v lvm.Volume, flags int) (release func()) {
	t.Helper()
	f, err := os.OpenFile(v.Path, os.O_RDONLY|flags, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return func() { require.NoError(t, f.Close()) }
}

func breakMetadata(t *testing.T, g *Group) (repair func()) {
	t.Helper()
	path := g.path(metadataFile)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, good[:len(good)/2], 0o600))
	restore := func() { require.NoError(t, os.WriteFile(path, good, 0o600)) }
	t.Cleanup(restore)
	return restore
}

func mkfs(t *testing.T, fs, path string) {
	t.Helper()
	force := map[string]string{"ext4": "-F", "xfs": "-f", "btrfs": "-f"}[fs]
	out, err := exec.Command("mkfs."+fs, "-q", force, path).CombinedOutput()
	require.NoError(t, err, string(out))
}

func deviceSize(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	size, err := lvm.DeviceSize(f)
	require.NoError(t, err)
	return size
}

// Another group of the same path, in another mount namespace or removed meanwhile, is
// not this one: its devices are neither taken nor detached.
func TestDevicesOfAnotherFileOfTheSameNameAreNotOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vg-one")
	g, err := Create(dir, 256<<20, 0)
	require.NoError(t, err)
	v, err := g.Create(context.Background(), lvm.CreateRequest{Name: "lv-one-1-0", Size: 8 << 20})
	require.NoError(t, err)
	pv := filepath.Join(dir, pvFile)
	require.NoError(t, os.Rename(pv, pv+".away"))
	require.NoError(t, os.WriteFile(pv, nil, 0o600))
	d, err := attached(sysBlock, pv+".away")
	require.NoError(t, err)
	require.Len(t, d, 1)
	same, err := over(pv, d[0])
	require.NoError(t, err)
	assert.False(t, same)
	require.NoError(t, os.Rename(pv+".away", pv))
	same, err = over(pv, d[0])
	require.NoError(t, err)
	assert.True(t, same)
	require.NoError(t, g.Remove(context.Background(), v.Name))
	require.NoError(t, g.Destroy(context.Background()))
}
