package lvmtest

import (
	"bytes"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// Tests of what is in a volume.
var contentCases = []testCase{
	{"ContentSurvives", testContentSurvives},
	{"NewVolumeShowsOldBytes", testNewVolumeShowsOldBytes},
	{"NeighboursAreApart", testNeighboursAreApart},
}

// pattern is text that looks like nothing else, the same for the same volume.
func pattern(uuid string) []byte {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(uuid)) // cannot fail
	text := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte(hash.Sum(make([]byte, 24)))).Read(text) // cannot fail
	return text
}

// fill writes a pattern to the beginning and the end of an active volume. check looks
// for it later, in a volume that may be larger by then. Without devices it does nothing.
func fill(t *testing.T, f Fixture, v lvm.Volume) (check func(lvm.Volume)) {
	t.Helper()
	if !f.Devices {
		return func(lvm.Volume) {}
	}
	text := pattern(v.UUID)
	places := []int64{0, v.Size - int64(len(text))}
	device := openDevice(t, v)
	for _, at := range places {
		_, err := device.WriteAt(text, at)
		require.NoError(t, err)
	}
	require.NoError(t, device.Sync())
	require.NoError(t, device.Close())
	return func(now lvm.Volume) {
		t.Helper()
		for _, at := range places {
			assert.True(t, bytes.Equal(text, read(t, now, at, len(text))), "%s at %d", now.Name, at)
		}
	}
}

func read(t *testing.T, v lvm.Volume, at int64, length int) []byte {
	t.Helper()
	device := openDevice(t, v)
	defer device.Close()
	data, err := io.ReadAll(io.NewSectionReader(device, at, int64(length)))
	require.NoError(t, err)
	require.Len(t, data, length)
	return data
}

// resolved is what the device path leads to.
func resolved(t *testing.T, path string) string {
	t.Helper()
	target, err := filepath.EvalSymlinks(path)
	require.NoError(t, err)
	st, err := os.Stat(target)
	require.NoError(t, err)
	assert.NotZero(t, st.Mode()&os.ModeDevice, "%s is a device", target)
	return target
}

func testContentSurvives(t *testing.T, f Fixture) {
	v := create(t, f, volumeName, 2)
	check := fill(t, f, v)
	activate(t, f, lvm.Off)
	check(activate(t, f, lvm.Shared))
	require.NoError(t, f.Group.Rename(t.Context(), volumeName, "lv-one-43-0"))
	now, err := f.Group.Volume(t.Context(), "lv-one-43-0")
	require.NoError(t, err)
	check(now)
}

// New volumes have the bytes of removed ones: an implementation whose volumes start
// as zeros would hide every forgotten wipe.
func testNewVolumeShowsOldBytes(t *testing.T, f Fixture) {
	if !f.Dirty {
		return
	}
	check := fill(t, f, create(t, f, volumeName, 3))
	require.NoError(t, f.Group.Remove(t.Context(), volumeName))
	check(create(t, f, "lv-one-43-0", 3))
}

func testNeighboursAreApart(t *testing.T, f Fixture) {
	all := []lvm.Volume{create(t, f, "lv-one-1-0", 1), create(t, f, "lv-one-1-1", 2), create(t, f, "lv-one-1-2", 1)}
	checks := []func(lvm.Volume){}
	for _, v := range all {
		checks = append(checks, fill(t, f, v))
	}
	for i, v := range all {
		checks[i](v)
	}
}
