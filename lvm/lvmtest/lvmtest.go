// Package lvmtest is the conformance suite of [lvm.Group]: what every implementation
// promises, run on every implementation. A new one cannot land without it.
//
// An implementation without block devices (a stateful fake of LVM's programs) runs the
// same suite; what needs a device to read from is left out by [Fixture.Devices].
package lvmtest

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// Fixture is one implementation at work.
type Fixture struct {
	// Group is empty, has at least 32 free extents and belongs to the test alone.
	Group lvm.Group
	// Devices: an active volume's Path can be opened, read and written.
	Devices bool
	// Dirty: a new volume of the size of the one just removed shows its old bytes.
	// Needs Devices.
	Dirty bool
	// Alone: there is no lock manager, so nobody to share a volume with. One that is
	// activated shared is active exclusively.
	Alone bool
	// Hold keeps the volume's device open, as a mount or a VM would, until release is
	// called. Nil where nothing can be held open; those tests are left out.
	Hold func(t *testing.T, v lvm.Volume) (release func())
	// Break makes the group's report unreadable until repair is called. Nil where
	// that cannot be done; those tests are left out.
	Break func(t *testing.T) (repair func())

	extent func() int64 // size of the group's extents, asked for once
}

// Run runs the suite. open is called once for every test, with the test's t: it makes
// a fresh group and registers its removal with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			f := open(t)
			f.extent = sync.OnceValue(func() int64 { return info(t, f).ExtentSize })
			c.test(t, f)
		})
	}
}

type testCase struct {
	name string
	test func(*testing.T, Fixture)
}

func cases() []testCase {
	return slices.Concat(reportCases, createCases, changeCases, extendCases, activateCases, tagCases, openCases, contentCases, snapshotCases)
}

// volumeName is the volume that most tests work on.
const volumeName = "lv-one-42-0"

func info(t *testing.T, f Fixture) lvm.GroupInfo {
	t.Helper()
	info, err := f.Group.Info(t.Context())
	require.NoError(t, err)
	return info
}

func volumes(t *testing.T, f Fixture) []lvm.Volume {
	t.Helper()
	volumes, err := f.Group.Volumes(t.Context())
	require.NoError(t, err)
	return volumes
}

func names(t *testing.T, f Fixture) []string {
	t.Helper()
	names := []string{}
	for _, v := range volumes(t, f) {
		names = append(names, v.Name)
	}
	return names
}

// create makes a volume of some extents.
func create(t *testing.T, f Fixture, name string, extents int64, tags ...string) lvm.Volume {
	t.Helper()
	v, err := f.Group.Create(t.Context(), lvm.CreateRequest{
		Name: name, Size: extents * f.extent(), Tags: lvm.NewTags(tags...),
	})
	require.NoError(t, err)
	return v
}

// reached is the mode of a volume that was brought into mode.
func (f Fixture) reached(mode lvm.Mode) lvm.Mode {
	if f.Alone && mode == lvm.Shared {
		return lvm.Exclusive
	}
	return mode
}

// activate brings the one volume into a mode.
func activate(t *testing.T, f Fixture, mode lvm.Mode) lvm.Volume {
	t.Helper()
	v, err := f.Group.Activate(t.Context(), volumeName, mode)
	require.NoError(t, err)
	require.Equal(t, f.reached(mode), v.Mode)
	return v
}

// wantError checks the form of an error: an *lvm.Error that names group and volume
// and wraps one of the sentinels.
func wantError(t *testing.T, f Fixture, err error, volume string, sentinels ...error) {
	t.Helper()
	var operation *lvm.Error
	require.ErrorAs(t, err, &operation)
	assert.NotEmpty(t, operation.Op)
	assert.Equal(t, f.Group.Name(), operation.Group)
	assert.Equal(t, volume, operation.Volume)
	matches := func(sentinel error) bool { return errors.Is(err, sentinel) }
	assert.True(t, slices.ContainsFunc(sentinels, matches), "%v is none of %v", err, sentinels)
}

// unchanged runs something that must fail, and compares the reports before and after.
func unchanged(t *testing.T, f Fixture, run func()) {
	t.Helper()
	report := func() (lvm.GroupInfo, []lvm.Volume) {
		info, volumes, err := f.Group.Report(t.Context())
		require.NoError(t, err)
		return info, volumes
	}
	infoBefore, volumesBefore := report()
	run()
	infoAfter, volumesAfter := report()
	assert.Equal(t, volumesBefore, volumesAfter, "volumes after an operation that failed")
	assert.Equal(t, infoBefore, infoAfter, "group after an operation that failed")
}

// openDevice opens an active volume until the test ends or the file is closed.
func openDevice(t *testing.T, v lvm.Volume) *os.File {
	t.Helper()
	device, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = device.Close() })
	return device
}
