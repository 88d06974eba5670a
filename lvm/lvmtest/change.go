package lvmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

var changeCases = []testCase{
	{"Remove", testRemove},
	{"RemoveInactive", testRemoveInactive},
	{"RemoveUnknown", testRemoveUnknown},
	{"Rename", testRename},
	{"RenameInactive", testRenameInactive},
	{"RenameOntoExisting", testRenameOntoExisting},
	{"RenameUnknown", testRenameUnknown},
	{"RenameBadName", testRenameBadName},
}

func testRemove(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 1)
	create(t, f, "lv-one-42-1", 1)
	require.NoError(t, f.Group.Remove(t.Context(), volumeName))
	assert.Equal(t, []string{"lv-one-42-1"}, names(t, f))
	if f.Devices {
		assert.NoFileExists(t, v.Path)
	}
	again := create(t, f, volumeName, 1)
	assert.NotEqual(t, v.UUID, again.UUID, "a new volume of an old name is another volume")
}

func testRemoveInactive(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	activate(t, f, lvm.Off)
	require.NoError(t, f.Group.Remove(t.Context(), volumeName))
	assert.Empty(t, volumes(t, f))
}

func testRemoveUnknown(t *testing.T, f Fixture) {
	create(t, f, "lv-one-10-0", 1)
	unchanged(t, f, func() {
		wantError(t, f, f.Group.Remove(t.Context(), "lv-one-1-0"), "lv-one-1-0", lvm.ErrNotFound)
	})
}

func testRename(t *testing.T, f Fixture) {
	before := create(t, f, volumeName, 2, "one", "vm=42")
	activate(t, f, lvm.Shared)
	require.NoError(t, f.Group.Rename(t.Context(), volumeName, "lv-onedel-0123abcd"))
	after, err := f.Group.Volume(t.Context(), "lv-onedel-0123abcd")
	require.NoError(t, err)
	assert.Equal(t, []string{"lv-onedel-0123abcd"}, names(t, f))
	assert.NotEqual(t, before.Path, after.Path)
	if f.Devices {
		assert.NoFileExists(t, before.Path)
		assert.FileExists(t, resolved(t, after.Path))
	}
	want := before
	want.Name, want.Path, want.Mode = after.Name, after.Path, f.reached(lvm.Shared)
	assert.Equal(t, want, after, "everything but the name is as before")
}

func testRenameInactive(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	activate(t, f, lvm.Off)
	require.NoError(t, f.Group.Rename(t.Context(), volumeName, "lv-one-43-0"))
	v, err := f.Group.Volume(t.Context(), "lv-one-43-0")
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, v.Mode)
}

func testRenameOntoExisting(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	create(t, f, "lv-one-43-0", 1)
	unchanged(t, f, func() {
		wantError(t, f, f.Group.Rename(t.Context(), volumeName, "lv-one-43-0"), volumeName, lvm.ErrExists)
	})
}

func testRenameUnknown(t *testing.T, f Fixture) {
	wantError(t, f, f.Group.Rename(t.Context(), volumeName, "lv-one-43-0"), volumeName, lvm.ErrNotFound)
	assert.Empty(t, volumes(t, f))
}

func testRenameBadName(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	unchanged(t, f, func() {
		for _, name := range badNames {
			wantError(t, f, f.Group.Rename(t.Context(), volumeName, name), volumeName, lvm.ErrBadName)
		}
	})
}
