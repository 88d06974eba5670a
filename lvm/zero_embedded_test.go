//go:build embedded

package lvm_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
	"one-clvm/lvm/filevg"
)

// dirtyVolume is an active volume with dirt in every byte, and the pv it lies in. It
// is the second one of its group and has dirty neighbours.
func dirtyVolume(t *testing.T, size int64) (device *os.File, pv string) {
	t.Helper()
	const extent = 64 << 10
	g, err := filevg.Create(filepath.Join(t.TempDir(), "vg-one"), size+2*extent, extent)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Destroy(context.Background())) })
	pv = filepath.Join(filepath.Dir(mustVolume(t, g, "before", extent).Path), "..", "pv")
	v := mustVolume(t, g, "lv-one-1-0", size)
	require.NoError(t, os.WriteFile(pv, bytes.Repeat([]byte{dirt}, int(size+2*extent)), 0o600))
	return openRW(t, v.Path), pv
}

func mustVolume(t *testing.T, g *filevg.Group, name string, size int64) lvm.Volume {
	t.Helper()
	v, err := g.Create(t.Context(), lvm.CreateRequest{Name: name, Size: size})
	require.NoError(t, err)
	return v
}

func openRW(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// The whole volume is wiped to the last extent, and nothing but the volume.
func TestNewDiskHasNoOldBytes(t *testing.T) {
	for _, mode := range zeroModes {
		device, pv := dirtyVolume(t, 9<<20)
		size, err := lvm.DeviceSize(device)
		require.NoError(t, err)
		report, err := lvm.Zero(t.Context(), device, 0, size, mode, nil)
		require.NoError(t, err)
		assert.Equal(t, lvm.ZeroReport{Offloaded: mode == lvm.ZeroAuto, Bytes: size}, report)
		wantOnlyZeroed(t, pv, int(size)+128<<10, 64<<10, size)
		require.NoError(t, lvm.VerifyZero(device, 0, size, lvm.AllSamples))
	}
}

func TestZeroPartOfDevice(t *testing.T) {
	for _, mode := range zeroModes {
		device, pv := dirtyVolume(t, 1<<20)
		_, err := lvm.Zero(t.Context(), device, 512, 5*512, mode, nil)
		require.NoError(t, err)
		wantOnlyZeroed(t, pv, 1<<20+128<<10, 64<<10+512, 5*512)
		for _, r := range [][2]int64{{1, 512}, {512, 100}} {
			_, err = lvm.Zero(t.Context(), device, r[0], r[1], mode, nil)
			require.ErrorContains(t, err, "blocks of 512")
		}
	}
}

// What is in the page cache says nothing about the medium.
func TestVerifyReadsTheMedium(t *testing.T) {
	device, pv := dirtyVolume(t, 1<<20)
	_, err := lvm.Zero(t.Context(), device, 0, 1<<20, lvm.ZeroAuto, nil)
	require.NoError(t, err)
	cached := make([]byte, 1<<20)
	_, err = device.ReadAt(cached, 0)
	require.NoError(t, err)
	_, err = openRW(t, pv).WriteAt([]byte{dirt}, 64<<10+8192)
	require.NoError(t, err)
	assert.ErrorIs(t, lvm.VerifyZero(device, 0, 1<<20, lvm.AllSamples), lvm.ErrNotZero)
}

// mounted is a directory with a new file system of the type.
func mounted(t *testing.T, fs, options string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("none", dir, fs, 0, options))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// loopOver is a loop device over a new file of the size.
func loopOver(t *testing.T, file string, size int64) string {
	t.Helper()
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, size))
	out, err := exec.Command("losetup", "--find", "--show", file).Output()
	require.NoError(t, err)
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { assert.NoError(t, exec.Command("losetup", "--detach", device).Run()) })
	return device
}

// ramfs cannot make holes, so neither can a loop device over it.
func TestZeroWithoutOffload(t *testing.T) {
	const size = 6 << 20
	path := loopOver(t, filepath.Join(mounted(t, "ramfs", ""), "disk"), size)
	device := openRW(t, path)
	defer device.Close()
	_, err := device.WriteAt(bytes.Repeat([]byte{dirt}, size), 0)
	require.NoError(t, err)
	report, err := lvm.Zero(t.Context(), device, 0, size, lvm.ZeroAuto, nil)
	require.NoError(t, err)
	assert.False(t, report.Offloaded)
	assert.ErrorIs(t, report.OffloadError, unix.EOPNOTSUPP)
	assert.EqualValues(t, size, report.Bytes)
	require.NoError(t, lvm.VerifyZero(device, 0, size, lvm.AllSamples))
}

// A device that fails is not a device that ends, not even when it says ENOSPC.
func TestZeroReportsIOErrors(t *testing.T) {
	full := mounted(t, "tmpfs", "size=1m")
	device := openRW(t, loopOver(t, filepath.Join(full, "disk"), 16<<20))
	defer device.Close()
	_, err := lvm.Zero(t.Context(), device, 0, 16<<20, lvm.ZeroWrite, nil)
	require.Error(t, err)
	assert.NotErrorIs(t, err, lvm.ErrPastEnd)
	assert.NotErrorIs(t, err, lvm.ErrNotZero)
	assert.ErrorContains(t, err, device.Name())
}
