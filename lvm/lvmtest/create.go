package lvmtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"one-clvm/lvm"
)

var createCases = []testCase{
	{"CreateShowsEverything", testCreateShowsEverything},
	{"CreateRoundsUp", testCreateRoundsUp},
	{"CreateExists", testCreateExists},
	{"CreateNoSpace", testCreateNoSpace},
	{"CreateTakesTheLastExtent", testCreateTakesTheLastExtent},
	{"CreateBadSize", testCreateBadSize},
	{"CreateBadName", testCreateBadName},
	{"CreateBadTag", testCreateBadTag},
	{"CreateInParallel", testCreateInParallel},
	{"CreateSameNameInParallel", testCreateSameNameInParallel},
	{"CancelledBeforeStart", testCancelledBeforeStart},
}

func testCreateShowsEverything(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 2, "one", "vm=42", "building")
	assert.Equal(t, f.Group.Name(), v.Group)
	assert.Equal(t, volumeName, v.Name)
	assert.NotEmpty(t, v.UUID)
	assert.Equal(t, 2*f.extent(), v.Size)
	assert.Equal(t, lvm.Tags{"building", "one", "vm=42"}, v.Tags)
	assert.Equal(t, lvm.Exclusive, v.Mode)
	assert.False(t, v.Open)
	assert.NotEmpty(t, v.Path)
	assert.Equal(t, []lvm.Volume{v}, volumes(t, f))
	other := create(t, f, "lv-one-42-1", 1)
	assert.NotEqual(t, v.UUID, other.UUID)
	assert.Empty(t, other.Tags)
}

func testCreateRoundsUp(t *testing.T, f Fixture) {
	extent := f.extent()
	for i, c := range []struct{ size, want int64 }{
		{1, extent}, {512, extent}, {extent - 1, extent}, {extent, extent}, {extent + 1, 2 * extent}, {2*extent + 777, 3 * extent},
	} {
		name := fmt.Sprintf("lv-one-42-%d", i)
		v, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: name, Size: c.size})
		require.NoError(t, err)
		assert.Equal(t, c.want, v.Size, "asked for %d", c.size)
	}
}

func testCreateExists(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1, "one")
	unchanged(t, f, func() {
		_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: 1, Tags: lvm.Tags{"two"}})
		wantError(t, f, err, volumeName, lvm.ErrExists)
	})
}

func testCreateNoSpace(t *testing.T, f Fixture) {
	create(t, f, "lv-one-1-0", 2)
	free := info(t, f).Free
	total := info(t, f).Size
	unchanged(t, f, func() {
		for _, size := range []int64{free + 1, 2 * total, 1 << 60} {
			_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: size})
			wantError(t, f, err, volumeName, lvm.ErrNoSpace)
		}
	})
}

func testCreateTakesTheLastExtent(t *testing.T, f Fixture) {
	_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: info(t, f).Free})
	require.NoError(t, err)
	assert.Zero(t, info(t, f).Free)
	unchanged(t, f, func() {
		_, err = f.Group.Create(t.Context(), lvm.CreateRequest{Name: "lv-one-42-1", Size: 1})
		wantError(t, f, err, "lv-one-42-1", lvm.ErrNoSpace)
	})
}

func testCreateBadSize(t *testing.T, f Fixture) {
	extent := f.extent()
	unchanged(t, f, func() {
		for _, size := range []int64{0, -1, -extent, math.MinInt64} {
			_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: size})
			wantError(t, f, err, volumeName, lvm.ErrBadSize)
		}
		// The largest number must not wrap around when it is rounded up.
		_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: math.MaxInt64})
		wantError(t, f, err, volumeName, lvm.ErrBadSize, lvm.ErrNoSpace)
	})
}

// badNames break LVM's rules, or would leave the volume group's name space.
var badNames = []string{
	"", ".", "..", "-a", "a b", "a/b", "../a", "a\n", "a\x00", "ä", "snapshot1", "pvmove0", "a_tdata", strings.Repeat("a", 200),
}

func testCreateBadName(t *testing.T, f Fixture) {
	unchanged(t, f, func() {
		for _, name := range badNames {
			_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: name, Size: 1})
			wantError(t, f, err, name, lvm.ErrBadName)
		}
	})
}

func testCreateBadTag(t *testing.T, f Fixture) {
	unchanged(t, f, func() {
		for _, tag := range []string{"", "-x", "a b", "a,b", "a@b", "ä", strings.Repeat("a", 1025)} {
			_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: 1, Tags: lvm.Tags{"one", tag}})
			wantError(t, f, err, volumeName, lvm.ErrBadTag)
		}
	})
}

const parallel = 12

func testCreateInParallel(t *testing.T, f Fixture) {
	var group errgroup.Group
	want := []string{}
	for i := range parallel {
		name := fmt.Sprintf("lv-one-%d-0", i)
		want = append(want, name)
		group.Go(func() error {
			_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: name, Size: 1, Tags: lvm.DiskTags(i, 0, 100)})
			return err
		})
	}
	require.NoError(t, group.Wait())
	slices.Sort(want)
	assert.Equal(t, want, names(t, f))
}

func testCreateSameNameInParallel(t *testing.T, f Fixture) {
	var group errgroup.Group
	var won atomic.Int32
	for i := range parallel {
		group.Go(func() error {
			_, err := f.Group.Create(t.Context(), lvm.CreateRequest{Name: volumeName, Size: 1, Tags: lvm.Tags{fmt.Sprintf("op=%d", i)}})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, lvm.ErrExists) {
				return err
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	assert.EqualValues(t, 1, won.Load())
	assert.Equal(t, []string{volumeName}, names(t, f))
}

func testCancelledBeforeStart(t *testing.T, f Fixture) {
	create(t, f, volumeName, 1, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	operations := map[string]func() error{
		"create": func() error {
			_, err := f.Group.Create(ctx, lvm.CreateRequest{Name: "lv-one-42-1", Size: 1})
			return err
		},
		"remove":   func() error { return f.Group.Remove(ctx, volumeName) },
		"rename":   func() error { return f.Group.Rename(ctx, volumeName, "lv-one-42-1") },
		"extend":   func() error { _, err := f.Group.Extend(ctx, volumeName, 1<<30); return err },
		"activate": func() error { _, err := f.Group.Activate(ctx, volumeName, lvm.Off); return err },
		"tag":      func() error { _, err := f.Group.Tag(ctx, volumeName, lvm.Tags{"two"}, nil); return err },
		"info":     func() error { _, err := f.Group.Info(ctx); return err },
		"volumes":  func() error { _, err := f.Group.Volumes(ctx); return err },
		"volume":   func() error { _, err := f.Group.Volume(ctx, volumeName); return err },
	}
	unchanged(t, f, func() {
		for op, run := range operations {
			err := run()
			var operation *lvm.Error
			assert.ErrorAs(t, err, &operation, op)
			assert.ErrorIs(t, err, context.Canceled, op)
		}
	})
}
