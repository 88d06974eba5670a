package lvmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// Tests of volumes that somebody has open.
var openCases = []testCase{
	{"OpenIsReported", held(testOpenIsReported)},
	{"OpenStaysActive", held(testOpenStaysActive)},
	{"OpenIsNotRemoved", held(testOpenIsNotRemoved)},
	{"OpenCanBeRenamed", held(testOpenCanBeRenamed)},
	{"OpenCanBeTagged", held(testOpenCanBeTagged)},
	{"OpenCanBeExtended", held(testOpenCanBeExtended)},
}

// held leaves the test out where nothing can be held open.
func held(test func(*testing.T, Fixture, lvm.Volume)) func(*testing.T, Fixture) {
	return func(t *testing.T, f Fixture) {
		if f.Hold == nil {
			return
		}
		test(t, f, create(t, f, volumeName, 8, "one"))
	}
}

func testOpenIsReported(t *testing.T, f Fixture, v lvm.Volume) {
	other := create(t, f, "lv-one-43-0", 1)
	release := f.Hold(t, v)
	v.Open = true
	assert.Equal(t, []lvm.Volume{v, other}, volumes(t, f))
	release()
	v.Open = false
	assert.Equal(t, []lvm.Volume{v, other}, volumes(t, f))
}

func testOpenStaysActive(t *testing.T, f Fixture, v lvm.Volume) {
	release := f.Hold(t, v)
	unchanged(t, f, func() {
		_, err := f.Group.Activate(t.Context(), volumeName, lvm.Off)
		wantError(t, f, err, volumeName, lvm.ErrInUse)
	})
	release()
	activate(t, f, lvm.Off)
}

func testOpenIsNotRemoved(t *testing.T, f Fixture, v lvm.Volume) {
	check := fill(t, f, v)
	release := f.Hold(t, v)
	unchanged(t, f, func() {
		wantError(t, f, f.Group.Remove(t.Context(), volumeName), volumeName, lvm.ErrInUse)
	})
	release()
	check(v)
	require.NoError(t, f.Group.Remove(t.Context(), volumeName))
}

func testOpenCanBeRenamed(t *testing.T, f Fixture, v lvm.Volume) {
	release := f.Hold(t, v)
	require.NoError(t, f.Group.Rename(t.Context(), volumeName, "lv-one-43-0"))
	now, err := f.Group.Volume(t.Context(), "lv-one-43-0")
	require.NoError(t, err)
	assert.True(t, now.Open)
	assert.Equal(t, v.UUID, now.UUID)
	release()
}

func testOpenCanBeTagged(t *testing.T, f Fixture, v lvm.Volume) {
	release := f.Hold(t, v)
	now, err := f.Group.Tag(t.Context(), volumeName, lvm.Tags{"two"}, lvm.Tags{"one"})
	require.NoError(t, err)
	assert.Equal(t, lvm.Tags{"two"}, now.Tags)
	assert.True(t, now.Open)
	release()
}

func testOpenCanBeExtended(t *testing.T, f Fixture, v lvm.Volume) {
	release := f.Hold(t, v)
	v.Open = true
	now, err := f.Group.Extend(t.Context(), volumeName, 2*v.Size)
	require.NoError(t, err)
	assert.Equal(t, 2*v.Size, now.Size)
	release()
}
