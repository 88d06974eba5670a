package lvmtest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

var extendCases = []testCase{
	{"Extend", testExtend},
	{"ExtendPastANeighbour", testExtendPastANeighbour},
	{"ExtendInactive", testExtendInactive},
	{"ExtendToTheSameSize", testExtendToTheSameSize},
	{"ExtendToLess", testExtendToLess},
	{"ExtendTooFar", testExtendTooFar},
	{"ExtendBadSize", testExtendBadSize},
	{"ExtendUnknown", testExtendUnknown},
}

// wantExtended extends to a size that is not a multiple of an extent, and checks that
// nothing but the size is different.
func wantExtended(t *testing.T, f Fixture, before lvm.Volume, extents int64) lvm.Volume {
	t.Helper()
	extent := f.extent()
	after, err := f.Group.Extend(t.Context(), before.Name, (extents-1)*extent+1)
	require.NoError(t, err)
	want := before
	want.Size = extents * extent
	assert.Equal(t, want, after)
	if f.Devices && after.Mode != lvm.Off {
		device := openDevice(t, after)
		size, err := lvm.DeviceSize(device)
		require.NoError(t, err)
		assert.Equal(t, after.Size, size, "the device has the new size at once")
		require.NoError(t, device.Close())
	}
	return after
}

func testExtend(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 1, "one")
	check := fill(t, f, v)
	v = wantExtended(t, f, v, 4)
	check(v)
}

func testExtendPastANeighbour(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 2, "one")
	neighbour := create(t, f, "lv-one-43-0", 2)
	check, checkNeighbour := fill(t, f, v), fill(t, f, neighbour)
	v = wantExtended(t, f, v, 6)
	check(v)
	checkNeighbour(neighbour)
}

func testExtendInactive(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 2)
	check := fill(t, f, v)
	v = wantExtended(t, f, activate(t, f, lvm.Off), 5)
	assert.Equal(t, lvm.Off, v.Mode)
	check(activate(t, f, lvm.Exclusive))
}

func testExtendToTheSameSize(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 3)
	unchanged(t, f, func() { wantExtended(t, f, v, 3) })
}

func testExtendToLess(t *testing.T, f Fixture) {
	create(t, f, volumeName, 3)
	unchanged(t, f, func() {
		_, err := f.Group.Extend(t.Context(), volumeName, 2*f.extent())
		wantError(t, f, err, volumeName, lvm.ErrNotLarger)
	})
}

func testExtendTooFar(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 3)
	check := fill(t, f, v)
	free := info(t, f).Free
	unchanged(t, f, func() {
		for _, size := range []int64{v.Size + free + 1, 1 << 54, 1 << 60} {
			_, err := f.Group.Extend(t.Context(), volumeName, size)
			wantError(t, f, err, volumeName, lvm.ErrNoSpace)
		}
	})
	check(v)
}

func testExtendBadSize(t *testing.T, f Fixture) {
	create(t, f, volumeName, 3)
	unchanged(t, f, func() {
		for _, size := range []int64{0, -1, math.MinInt64} {
			_, err := f.Group.Extend(t.Context(), volumeName, size)
			wantError(t, f, err, volumeName, lvm.ErrBadSize, lvm.ErrNotLarger)
		}
	})
}

func testExtendUnknown(t *testing.T, f Fixture) {
	_, err := f.Group.Extend(t.Context(), volumeName, 1<<20)
	wantError(t, f, err, volumeName, lvm.ErrNotFound)
}
