package lvmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

var reportCases = []testCase{
	{"EmptyGroup", testEmptyGroup},
	{"InfoCountsExtents", testInfoCountsExtents},
	{"ReportIsSorted", testReportIsSorted},
	{"FindByTags", testFindByTags},
	{"NotFound", testNotFound},
	{"NotFoundNeedsCleanReport", testNotFoundNeedsCleanReport},
}

func testEmptyGroup(t *testing.T, f Fixture) {
	i, all, err := f.Group.Report(t.Context())
	require.NoError(t, err)
	assert.Empty(t, all)
	assert.Empty(t, volumes(t, f))
	assert.Equal(t, info(t, f), i)
	assert.Equal(t, f.Group.Name(), i.Name)
	assert.NotEmpty(t, i.LockManager)
	assert.Positive(t, i.ExtentSize)
	assert.Zero(t, i.Size%i.ExtentSize)
	assert.GreaterOrEqual(t, i.Free, 32*i.ExtentSize)
	assert.LessOrEqual(t, i.Free, i.Size)
}

func testInfoCountsExtents(t *testing.T, f Fixture) {
	before := info(t, f)
	create(t, f, volumeName, 5)
	after := info(t, f)
	assert.Equal(t, before.Free-5*before.ExtentSize, after.Free)
	assert.Equal(t, before.Size, after.Size)
	require.NoError(t, f.Group.Remove(t.Context(), volumeName))
	assert.Equal(t, before, info(t, f))
}

func testReportIsSorted(t *testing.T, f Fixture) {
	for _, name := range []string{"lv-one-9-0", "lv-one-10-0", "lv-one-1-0"} {
		create(t, f, name, 1)
	}
	assert.Equal(t, []string{"lv-one-1-0", "lv-one-10-0", "lv-one-9-0"}, names(t, f))
	for _, v := range volumes(t, f) {
		alone, err := f.Group.Volume(t.Context(), v.Name)
		require.NoError(t, err)
		assert.Equal(t, v, alone, "one report for all shows what the report for one shows")
	}
	whole, all, err := f.Group.Report(t.Context())
	require.NoError(t, err)
	assert.Equal(t, info(t, f), whole)
	assert.Equal(t, volumes(t, f), all)
}

func testFindByTags(t *testing.T, f Fixture) {
	create(t, f, "lv-one-1-0", 1, lvm.DiskTags(1, 0, 100)...)
	create(t, f, "lv-one-10-0", 1, lvm.DiskTags(10, 0, 100)...)
	create(t, f, "other", 1)
	found := []string{}
	for _, v := range volumes(t, f) {
		if v.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, 1)) {
			found = append(found, v.Name)
		}
	}
	assert.Equal(t, []string{"lv-one-1-0"}, found)
}

func testNotFound(t *testing.T, f Fixture) {
	create(t, f, "lv-one-10-0", 1)
	_, err := f.Group.Volume(t.Context(), "lv-one-1-0")
	wantError(t, f, err, "lv-one-1-0", lvm.ErrNotFound)
}

func testNotFoundNeedsCleanReport(t *testing.T, f Fixture) {
	if f.Break == nil {
		return
	}
	repair := f.Break(t)
	_, err := f.Group.Volume(t.Context(), volumeName)
	require.Error(t, err)
	assert.NotErrorIs(t, err, lvm.ErrNotFound)
	_, err = f.Group.Volumes(t.Context())
	require.Error(t, err)
	err = f.Group.Remove(t.Context(), volumeName)
	require.Error(t, err)
	assert.NotErrorIs(t, err, lvm.ErrNotFound)
	repair()
	_, err = f.Group.Volume(t.Context(), volumeName)
	wantError(t, f, err, volumeName, lvm.ErrNotFound)
}
