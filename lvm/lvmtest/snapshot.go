package lvmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

var snapshotCases = []testCase{
	{"Snapshot", testSnapshot},
	{"SnapshotNeedsAnExclusiveOrigin", testSnapshotNeedsAnExclusiveOrigin},
	{"SnapshotRefuses", testSnapshotRefuses},
	{"SnapshotNoSpace", testSnapshotNoSpace},
	{"SnapshotIsActiveWithItsOrigin", testSnapshotIsActiveWithItsOrigin},
	{"SnapshotRename", testSnapshotRename},
	{"SnapshotRemove", testSnapshotRemove},
	{"SnapshotAndExtend", testSnapshotAndExtend},
	{"SnapshotInUse", held(testSnapshotInUse)},
	{"SnapshotKeepsTheContent", testSnapshotKeepsTheContent},
}

const snapshotName = volumeName + "_s0"

func snapshot(t *testing.T, f Fixture, name string, tags ...string) lvm.Volume {
	t.Helper()
	v, err := f.Group.Snapshot(t.Context(), lvm.SnapshotRequest{Name: name, Origin: volumeName, Tags: lvm.NewTags(tags...)})
	require.NoError(t, err)
	return v
}

func testSnapshot(t *testing.T, f Fixture) {
	origin := create(t, f, volumeName, 3, "one", "vm=42")
	before := info(t, f)
	v := snapshot(t, f, snapshotName, "one", "snapshot=0")
	assert.Equal(t, snapshotName, v.Name)
	assert.Equal(t, volumeName, v.Origin)
	assert.Equal(t, origin.Size, v.Size, "the content's, not that of the space for changes")
	assert.Equal(t, lvm.NewTags("one", "snapshot=0"), v.Tags, "its own tags")
	assert.Equal(t, lvm.Exclusive, v.Mode)
	assert.False(t, v.Invalid)
	assert.NotEqual(t, origin.UUID, v.UUID)
	assert.LessOrEqual(t, info(t, f).Free, before.Free-origin.Size, "space for every block of the origin")
	assert.Equal(t, []lvm.Volume{origin, v}, volumes(t, f), "the origin is as it was")
	other := snapshot(t, f, volumeName+"_s1")
	assert.Equal(t, []lvm.Volume{origin, v, other}, volumes(t, f))
	small, err := f.Group.Snapshot(t.Context(), lvm.SnapshotRequest{Name: volumeName + "_s2", Origin: volumeName, Space: 1})
	require.NoError(t, err)
	assert.Equal(t, origin.Size, small.Size)
}

func testSnapshotNeedsAnExclusiveOrigin(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	for _, mode := range []lvm.Mode{lvm.Off, lvm.Shared} {
		if activate(t, f, mode).Mode != mode {
			continue // nobody to share it with
		}
		unchanged(t, f, func() {
			_, err := f.Group.Snapshot(t.Context(), lvm.SnapshotRequest{Name: snapshotName, Origin: volumeName})
			wantError(t, f, err, snapshotName, lvm.ErrNotExclusive)
		})
	}
}

func testSnapshotRefuses(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	create(t, f, "lv-one-43-0", 1)
	snapshot(t, f, snapshotName)
	for _, c := range []struct {
		req  lvm.SnapshotRequest
		want error
	}{
		{lvm.SnapshotRequest{Name: "lv-one-43-0", Origin: volumeName}, lvm.ErrExists},
		{lvm.SnapshotRequest{Name: snapshotName, Origin: volumeName}, lvm.ErrExists},
		{lvm.SnapshotRequest{Name: "lv-one-44-0_s0", Origin: "lv-one-44-0"}, lvm.ErrNotFound},
		{lvm.SnapshotRequest{Name: volumeName + "_s1", Origin: snapshotName}, lvm.ErrSnapshots},
		{lvm.SnapshotRequest{Name: volumeName + "_s1", Origin: volumeName, Tags: lvm.Tags{"a b"}}, lvm.ErrBadTag},
		{lvm.SnapshotRequest{Name: volumeName + "_s1", Origin: volumeName, Space: -1}, lvm.ErrBadSize},
		{lvm.SnapshotRequest{Name: "-a", Origin: volumeName}, lvm.ErrBadName},
	} {
		unchanged(t, f, func() {
			_, err := f.Group.Snapshot(t.Context(), c.req)
			wantError(t, f, err, c.req.Name, c.want)
		})
	}
}

func testSnapshotNoSpace(t *testing.T, f Fixture) {
	_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: info(t, f).Free * 2 / 3})
	require.NoError(t, err)
	unchanged(t, f, func() {
		_, err = f.Group.Snapshot(t.Context(), lvm.SnapshotRequest{Name: snapshotName, Origin: volumeName})
		wantError(t, f, err, snapshotName, lvm.ErrNoSpace)
	})
}

func testSnapshotIsActiveWithItsOrigin(t *testing.T, f Fixture) {
	create(t, f, volumeName, 2)
	snapshot(t, f, snapshotName)
	for _, mode := range []lvm.Mode{lvm.Off, lvm.Exclusive} {
		activate(t, f, mode)
		v, err := f.Group.Volume(t.Context(), snapshotName)
		require.NoError(t, err)
		assert.Equal(t, mode, v.Mode)
		unchanged(t, f, func() {
			for _, of := range modes {
				_, err := f.Group.Activate(t.Context(), snapshotName, of)
				wantError(t, f, err, snapshotName, lvm.ErrSnapshots)
			}
			_, err := f.Group.Activate(t.Context(), volumeName, lvm.Shared)
			wantError(t, f, err, volumeName, lvm.ErrSnapshots)
		})
	}
}

func testSnapshotRename(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	v := snapshot(t, f, snapshotName, "one")
	require.NoError(t, f.Group.Rename(t.Context(), snapshotName, "lv-onedel-0123abcd"))
	require.NoError(t, f.Group.Rename(t.Context(), volumeName, "lv-one-43-0"))
	now, err := f.Group.Volume(t.Context(), "lv-onedel-0123abcd")
	require.NoError(t, err)
	assert.Equal(t, v.UUID, now.UUID)
	assert.Equal(t, "lv-one-43-0", now.Origin)
	now, err = f.Group.Tag(t.Context(), now.Name, lvm.Tags{"quarantine"}, nil)
	require.NoError(t, err)
	assert.Equal(t, lvm.Tags{"one", "quarantine"}, now.Tags)
}

func testSnapshotRemove(t *testing.T, f Fixture) {
	for _, mode := range []lvm.Mode{lvm.Exclusive, lvm.Off} {
		origin := create(t, f, volumeName, 2)
		before := info(t, f)
		snapshot(t, f, snapshotName)
		origin = activateTo(t, f, origin, mode)
		unchanged(t, f, func() {
			wantError(t, f, f.Group.Remove(t.Context(), volumeName), volumeName, lvm.ErrSnapshots)
		})
		require.NoError(t, f.Group.Remove(t.Context(), snapshotName))
		assert.Equal(t, []lvm.Volume{origin}, volumes(t, f), "the origin is as it was")
		assert.Equal(t, before.Free, info(t, f).Free)
		require.NoError(t, f.Group.Remove(t.Context(), volumeName))
	}
}

func activateTo(t *testing.T, f Fixture, want lvm.Volume, mode lvm.Mode) lvm.Volume {
	t.Helper()
	want.Mode = activate(t, f, mode).Mode
	return want
}

func testSnapshotAndExtend(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 2)
	snapshot(t, f, snapshotName)
	check := fill(t, f, v)
	unchanged(t, f, func() {
		_, err := f.Group.Extend(t.Context(), snapshotName, 2*v.Size)
		wantError(t, f, err, snapshotName, lvm.ErrSnapshots)
	})
	for _, mode := range []lvm.Mode{lvm.Exclusive, lvm.Off} {
		v = activateTo(t, f, v, mode)
		v = wantExtended(t, f, v, v.Size/f.extent()+1)
	}
	check(activate(t, f, lvm.Exclusive))
	s, err := f.Group.Volume(t.Context(), snapshotName)
	require.NoError(t, err)
	assert.Equal(t, 2*f.extent(), s.Size, "the snapshot stays as large as its content")
}

func testSnapshotInUse(t *testing.T, f Fixture, v lvm.Volume) {
	s := snapshot(t, f, snapshotName)
	release := f.Hold(t, s)
	unchanged(t, f, func() {
		_, err := f.Group.Activate(t.Context(), volumeName, lvm.Off)
		wantError(t, f, err, volumeName, lvm.ErrInUse)
		wantError(t, f, f.Group.Remove(t.Context(), snapshotName), snapshotName, lvm.ErrInUse)
	})
	release()
	release = f.Hold(t, v)
	unchanged(t, f, func() {
		_, err := f.Group.Extend(t.Context(), volumeName, 2*v.Size)
		wantError(t, f, err, volumeName, lvm.ErrSnapshots)
	})
	release()
	activate(t, f, lvm.Off)
}

func testSnapshotKeepsTheContent(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 2)
	check := fill(t, f, v)
	s := snapshot(t, f, snapshotName)
	fill(t, f, lvm.Volume{UUID: "another text", Path: v.Path, Size: v.Size})
	check(s)
	activate(t, f, lvm.Off)
	activate(t, f, lvm.Exclusive)
	check(s)
	require.NoError(t, f.Group.Remove(t.Context(), snapshotName))
}
