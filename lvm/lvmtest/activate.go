package lvmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

var activateCases = []testCase{
	{"EveryModeToEveryMode", testEveryModeToEveryMode},
	{"ActivateUnknown", testActivateUnknown},
	{"ActivateUnknownMode", testActivateUnknownMode},
	{"DeviceExistsWhileActive", testDeviceExistsWhileActive},
}

var modes = []lvm.Mode{lvm.Off, lvm.Exclusive, lvm.Shared}

func testEveryModeToEveryMode(t *testing.T, f Fixture) {
	want := create(t, f, volumeName, 1, "one")
	// A walk that makes every step from one mode to another, and from each to itself, once.
	for _, to := range []lvm.Mode{
		lvm.Exclusive, lvm.Off, lvm.Off, lvm.Shared, lvm.Shared, lvm.Exclusive, lvm.Shared, lvm.Off, lvm.Exclusive,
	} {
		from := want.Mode
		want.Mode = f.reached(to)
		assert.Equal(t, want, activate(t, f, to), "from %s to %s", from, to)
		assert.Equal(t, []lvm.Volume{want}, volumes(t, f), "from %s to %s", from, to)
	}
}

func testActivateUnknown(t *testing.T, f Fixture) {
	for _, mode := range modes {
		_, err := f.Group.Activate(t.Context(), volumeName, mode)
		wantError(t, f, err, volumeName, lvm.ErrNotFound)
	}
}

func testActivateUnknownMode(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	unchanged(t, f, func() {
		_, err := f.Group.Activate(t.Context(), volumeName, lvm.Mode(7))
		var operation *lvm.Error
		require.ErrorAs(t, err, &operation)
		assert.ErrorContains(t, err, "mode(7)")
	})
}

func testDeviceExistsWhileActive(t *testing.T, f Fixture) {
	if !f.Devices {
		return
	}
	v := create(t, f, volumeName, 3)
	device := openDevice(t, v)
	size, err := lvm.DeviceSize(device)
	require.NoError(t, err)
	assert.Equal(t, v.Size, size)
	require.NoError(t, device.Close())
	activate(t, f, lvm.Off)
	assert.NoFileExists(t, v.Path)
	activate(t, f, lvm.Shared)
	assert.FileExists(t, resolved(t, v.Path))
}
