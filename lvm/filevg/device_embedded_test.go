//go:build embedded

package filevg

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
)

// writePV fills extents of pv with one byte, behind the volumes' backs.
func writePV(t *testing.T, g *Group, start, count int64, b byte) {
	t.Helper()
	f, err := os.OpenFile(g.path(pvFile), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte{b}, int(count*testExtent)), start*testExtent)
	require.NoError(t, err)
}

func readPV(t *testing.T, g *Group, start, count int64) []byte {
	t.Helper()
	f, err := os.Open(g.path(pvFile))
	require.NoError(t, err)
	defer f.Close()
	data := make([]byte, count*testExtent)
	_, err = f.ReadAt(data, start*testExtent)
	require.NoError(t, err)
	return data
}

func readVolume(t *testing.T, v lvm.Volume) []byte {
	t.Helper()
	data, err := os.ReadFile(v.Path)
	require.NoError(t, err)
	return data
}

func filled(b byte, extents int) []byte { return bytes.Repeat([]byte{b}, extents*testExtent) }

func equalBytes(t *testing.T, want, got []byte, what string) {
	t.Helper()
	assert.True(t, bytes.Equal(want, got), what)
}

// A volume that moves takes its holes along: its old content is all that can be read,
// and nothing of what the target held; the rest of the target stays dirty.
func TestMoveOntoDirtyExtents(t *testing.T) {
	g := newGroup(t, 16*testExtent)
	v := newVolume(t, g, "lv-one-1-0", 3)
	newVolume(t, g, "lv-one-2-0", 1)
	writePV(t, g, 4, 12, 'X')
	f, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(filled('d', 1), testExtent) // a hole before, a hole behind
	require.NoError(t, err)
	require.NoError(t, f.Close())
	before := readVolume(t, v)

	v, err = g.Extend(t.Context(), v.Name, 5*testExtent)
	require.NoError(t, err)
	after := readVolume(t, v)
	equalBytes(t, before, after[:len(before)], "the content moved with the volume")
	equalBytes(t, filled('X', 2), after[len(before):], "the new space is dirty")
	equalBytes(t, before, readPV(t, g, 0, 3), "the old extents keep their bytes")
	next := newVolume(t, g, "lv-one-3-0", 3)
	equalBytes(t, before, readVolume(t, next), "and show them to the next volume")
}

func TestExtendOfOpenVolumeThatWouldHaveToMove(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	v := newVolume(t, g, "lv-one-1-0", 2)
	newVolume(t, g, "lv-one-2-0", 1)
	release := holdExclusively(t, v)
	_, err := g.Extend(t.Context(), v.Name, 4*testExtent)
	require.ErrorIs(t, err, lvm.ErrInUse)
	assert.ErrorContains(t, err, "cannot move")
	_, err = g.Extend(t.Context(), v.Name, 6*testExtent)
	require.ErrorIs(t, err, lvm.ErrNoSpace)
	release()
	_, err = g.Extend(t.Context(), v.Name, 4*testExtent)
	require.NoError(t, err)
}

// The kernel marks a loop device that is open for removal at its last close. That
// must not happen to a volume: it would be gone at some later time.
func TestPlainOpenerKeepsVolumeActive(t *testing.T) {
	g := newGroup(t, 4*testExtent)
	v := newVolume(t, g, "lv-one-1-0", 1)
	release := holdWith(t, v, 0)
	_, err := g.Activate(t.Context(), v.Name, lvm.Off)
	require.ErrorIs(t, err, lvm.ErrInUse)
	release()
	now, err := g.Volume(t.Context(), v.Name)
	require.NoError(t, err)
	assert.Equal(t, lvm.Exclusive, now.Mode)
	require.NoError(t, g.Remove(t.Context(), v.Name))
}

// After a reboot the symlinks are still there, and the numbers in them another's.
func TestStaleSymlinkLeadsNowhere(t *testing.T) {
	g, other := newGroup(t, 4*testExtent), newGroup(t, 4*testExtent)
	v, foreign := newVolume(t, g, "lv-one-1-0", 1), newVolume(t, other, "lv-one-9-0", 2)
	device, err := os.Readlink(foreign.Path)
	require.NoError(t, err)
	require.NoError(t, detach(g.path(pvFile), devicesOf(t, g)[0]))
	require.NoError(t, os.Remove(v.Path))
	require.NoError(t, os.Symlink(device, v.Path))

	now, err := g.Volume(t.Context(), v.Name)
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, now.Mode)
	assert.NoFileExists(t, v.Path)
	now, err = g.Activate(t.Context(), v.Name, lvm.Exclusive)
	require.NoError(t, err)
	assert.EqualValues(t, testExtent, deviceSize(t, now.Path))
	assert.EqualValues(t, 2*testExtent, deviceSize(t, foreign.Path))
}

func TestStrayDeviceIsDetached(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	newVolume(t, g, "lv-one-1-0", 2)
	for _, r := range []byteRange{{0, 2 * testExtent}, {3 * testExtent, testExtent}, {0, 0}} {
		_, err := attach(g.path(pvFile), r)
		require.NoError(t, err)
	}
	_, err := Open(g.dir)
	require.NoError(t, err)
	assert.Len(t, devicesOf(t, g), 1)
}

func TestStrayDeviceThatIsOpenStopsEverything(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	d, err := attach(g.path(pvFile), byteRange{testExtent, testExtent})
	require.NoError(t, err)
	release := holdExclusively(t, lvm.Volume{Path: d.path()})
	_, err = g.Create(t.Context(), lvm.CreateRequest{Name: "lv-one-1-0", Size: 4 * testExtent})
	require.ErrorIs(t, err, lvm.ErrInUse)
	assert.ErrorContains(t, err, "losetup -d "+d.path())
	release()
	newVolume(t, g, "lv-one-1-0", 4)
}

func TestKilledExtendIsFinished(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	v := newVolume(t, g, "lv-one-1-0", 4)
	require.NoError(t, resize(g.path(pvFile), devicesOf(t, g)[0], testExtent))
	assert.EqualValues(t, testExtent, deviceSize(t, v.Path))
	_, err := Open(g.dir)
	require.NoError(t, err)
	assert.EqualValues(t, 4*testExtent, deviceSize(t, v.Path))
}

// A device that is another's by now is left alone, whatever is to be done with it.
func TestReusedNumberIsNotTouched(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	newVolume(t, g, "lv-one-1-0", 4)
	d := devicesOf(t, g)[0]
	wrong := loopDevice{d.number, byteRange{testExtent, testExtent}}
	assert.ErrorContains(t, detach(g.path(pvFile), wrong), "any more")
	assert.ErrorContains(t, resize(g.path(pvFile), wrong, testExtent), "any more")
	assert.ErrorContains(t, detach(g.path(metadataFile), d), "any more")
	assert.Equal(t, []loopDevice{d}, devicesOf(t, g))
}

// Kernels before 5.8 have no LOOP_CONFIGURE.
func TestConfigureInSteps(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	require.NoError(t, err)
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	require.NoError(t, err)
	d := loopDevice{number, byteRange{testExtent, 2 * testExtent}}
	f, err := os.OpenFile(d.path(), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	pv, err := os.OpenFile(g.path(pvFile), os.O_RDWR, 0)
	require.NoError(t, err)
	defer pv.Close()
	require.NoError(t, configureInSteps(f, pv, loopInfo(d.byteRange)))
	require.NoError(t, f.Close())
	assert.Equal(t, []loopDevice{d}, devicesOf(t, g))
	require.NoError(t, detach(g.path(pvFile), d))
}

// immutable makes every change in the directory fail, even root's.
func immutable(t *testing.T, dir string) (release func()) {
	t.Helper()
	chattr := func(flag string) {
		out, err := exec.Command("chattr", flag, dir).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	chattr("+i")
	t.Cleanup(func() { chattr("-i") })
	return func() { chattr("-i") }
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	release := immutable(t, g.path(devDir))
	_, err := g.Create(t.Context(), lvm.CreateRequest{Name: "lv-one-1-0", Size: 1})
	require.Error(t, err)
	assert.Empty(t, devicesOf(t, g))
	volumes, err := g.Volumes(t.Context())
	require.NoError(t, err)
	assert.Empty(t, volumes)
	release()
	newVolume(t, g, "lv-one-1-0", 1)
}

func TestFailedChangeChangesNothing(t *testing.T) {
	g := newGroup(t, 8*testExtent)
	v := newVolume(t, g, "lv-one-1-0", 2)
	newVolume(t, g, "lv-one-2-0", 1)
	check := stamp(t, v)
	release := immutable(t, g.dir)
	ctx, name := t.Context(), v.Name
	for op, run := range map[string]func() error{
		"remove":   func() error { return g.Remove(ctx, name) },
		"rename":   func() error { return g.Rename(ctx, name, "lv-one-3-0") },
		"move":     func() error { _, err := g.Extend(ctx, name, 4*testExtent); return err },
		"extend":   func() error { _, err := g.Extend(ctx, "lv-one-2-0", 2*testExtent); return err },
		"activate": func() error { _, err := g.Activate(ctx, name, lvm.Shared); return err },
		"tag":      func() error { _, err := g.Tag(ctx, name, lvm.Tags{"one"}, nil); return err },
		"destroy":  func() error { return g.Destroy(ctx) },
	} {
		assert.Error(t, run(), op)
		now, err := g.Volume(ctx, name)
		require.NoError(t, err, op)
		assert.Equal(t, v, now, op)
		check(now)
	}
	release()
	require.NoError(t, g.Remove(ctx, name))
}

func TestHugeGroup(t *testing.T) {
	g, err := Create(filepath.Join(t.TempDir(), "vg-huge"), 2<<40, 0)
	require.NoError(t, err)
	t.Cleanup(func() { discard(t, g) })
	v, err := g.Create(t.Context(), lvm.CreateRequest{Name: "lv-one-1-0", Size: 800 << 30})
	require.NoError(t, err)
	_, err = g.Create(t.Context(), lvm.CreateRequest{Name: "lv-one-2-0", Size: 1})
	require.NoError(t, err)
	f, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	require.NoError(t, err)
	report, err := lvm.Zero(t.Context(), f, 0, v.Size, lvm.ZeroAuto, nil)
	require.NoError(t, err)
	assert.True(t, report.Offloaded)
	require.NoError(t, f.Close())
	_, err = g.Extend(t.Context(), v.Name, 1<<40)
	require.NoError(t, err, "it moves, but there is nothing to copy")
	var st unix.Stat_t
	require.NoError(t, unix.Stat(g.path(pvFile), &st))
	assert.Less(t, st.Blocks*512, int64(64<<20), "no space is used by size alone")
}
