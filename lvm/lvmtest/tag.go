package lvmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

var tagCases = []testCase{
	{"Tag", testTag},
	{"TagInactive", testTagInactive},
	{"TagBadTag", testTagBadTag},
	{"TagUnknown", testTagUnknown},
	{"TagGroup", testTagGroup},
	{"TagGroupBadTag", testTagGroupBadTag},
}

func testTag(t *testing.T, f Fixture) {
	before := create(t, f, volumeName, 1, "one", "building")
	for _, c := range []struct {
		name     string
		add, del lvm.Tags
		want     lvm.Tags
	}{
		{"nothing", nil, nil, lvm.Tags{"building", "one"}},
		{"add", lvm.Tags{"vm=42", "fs=ext4"}, nil, lvm.Tags{"building", "fs=ext4", "one", "vm=42"}},
		{"add again", lvm.Tags{"vm=42"}, nil, lvm.Tags{"building", "fs=ext4", "one", "vm=42"}},
		{"remove", nil, lvm.Tags{"building"}, lvm.Tags{"fs=ext4", "one", "vm=42"}},
		{"remove again", nil, lvm.Tags{"building"}, lvm.Tags{"fs=ext4", "one", "vm=42"}},
		{"both", lvm.Tags{"vm=43"}, lvm.Tags{"vm=42", "unknown"}, lvm.Tags{"fs=ext4", "one", "vm=43"}},
		{"one that is added and removed", lvm.Tags{"vm=44"}, lvm.Tags{"vm=44"}, lvm.Tags{"fs=ext4", "one", "vm=43"}},
		{"all characters", lvm.Tags{"A_z+0.9-/=!:&#"}, lvm.Tags{"fs=ext4", "one"}, lvm.Tags{"A_z+0.9-/=!:&#", "vm=43"}},
		{"remove all", nil, lvm.Tags{"vm=43", "A_z+0.9-/=!:&#"}, nil},
	} {
		v, err := f.Group.Tag(t.Context(), volumeName, c.add, c.del)
		require.NoError(t, err, c.name)
		assert.ElementsMatch(t, c.want, v.Tags, c.name)
		assert.IsIncreasing(t, append([]string{""}, v.Tags...), c.name)
		assert.Equal(t, []lvm.Volume{v}, volumes(t, f), c.name)
		v.Tags = before.Tags
		assert.Equal(t, before, v, "%s: nothing but the tags", c.name)
	}
}

func testTagInactive(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1)
	activate(t, f, lvm.Off)
	v, err := f.Group.Tag(t.Context(), volumeName, lvm.Tags{"parked"}, nil)
	require.NoError(t, err)
	assert.Equal(t, lvm.Tags{"parked"}, v.Tags)
	assert.Equal(t, lvm.Off, v.Mode)
}

func testTagBadTag(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1, "one")
	unchanged(t, f, func() {
		_, err := f.Group.Tag(t.Context(), volumeName, lvm.Tags{"good", "not good"}, lvm.Tags{"one"})
		wantError(t, f, err, volumeName, lvm.ErrBadTag)
	})
}

func testTagUnknown(t *testing.T, f Fixture) {
	_, err := f.Group.Tag(t.Context(), volumeName, lvm.Tags{"one"}, nil)
	wantError(t, f, err, volumeName, lvm.ErrNotFound)
}

func testTagGroup(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 1, "one")
	before := info(t, f)
	for _, c := range []struct {
		name           string
		add, del, want lvm.Tags
	}{
		{"nothing", nil, nil, before.Tags},
		{"add", lvm.Tags{lvm.TagClean}, nil, before.Tags.With(lvm.TagClean)},
		{"add again", lvm.Tags{lvm.TagClean}, nil, before.Tags.With(lvm.TagClean)},
		{"both", lvm.Tags{"other"}, lvm.Tags{lvm.TagClean, "unknown"}, before.Tags.With("other")},
		{"remove", nil, lvm.Tags{"other"}, before.Tags},
		{"remove again", nil, lvm.Tags{"other"}, before.Tags},
	} {
		after, err := f.Group.TagGroup(t.Context(), c.add, c.del)
		require.NoError(t, err, c.name)
		assert.ElementsMatch(t, c.want, after.Tags, c.name)
		now := info(t, f)
		assert.ElementsMatch(t, c.want, now.Tags, c.name)
		now.Tags = before.Tags
		assert.Equal(t, before, now, "%s: nothing but the tags", c.name)
		assert.Equal(t, []lvm.Volume{v}, volumes(t, f), c.name)
	}
}

func testTagGroupBadTag(t *testing.T, f Fixture) {
	unchanged(t, f, func() {
		_, err := f.Group.TagGroup(t.Context(), lvm.Tags{"not good"}, nil)
		wantError(t, f, err, "", lvm.ErrBadTag)
	})
}
