package cxmrc

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

func TestDiskSize(t *testing.T) {
	const gib = int64(1 << 30)
	for name, test := range map[string]struct {
		in     DiskSizeInput
		bytes  int64
		origin string
	}{
		"enlarged by the user": {
			DiskSizeInput{Disk: 3072, Original: 1024, Template: "8G", Default: 8 * gib}, 3 * gib, "DISK/SIZE, enlarged by the user"},
		"the template's size": {
			DiskSizeInput{Disk: 1024, Original: 1024, Template: "8G", Default: gib}, 8 * gib, "SIZE in the image's template"},
		"the template's size, original unknown": {
			DiskSizeInput{Disk: 1024, Template: "1.5g", Default: gib}, 3 * gib / 2, "SIZE in the image's template"},
		"a template's size without a unit": {DiskSizeInput{Template: "512"}, gib / 2, "SIZE in the image's template"},
		"what OpenNebula says":             {DiskSizeInput{Disk: 2048, Original: 2048, Default: 8 * gib}, 2 * gib, "DISK/SIZE"},
		"3.8 says nothing":                 {DiskSizeInput{Default: 8 * gib}, 8 * gib, "DEFAULT_LV_SIZE"},
		"content larger than asked for": {
			DiskSizeInput{Template: "1G", Content: 2 * gib}, 2 * gib, "the image's content (SIZE in the image's template is too small)"},
		"content that fits": {DiskSizeInput{Disk: 2048, Content: 2 * gib}, 2 * gib, "DISK/SIZE"},
	} {
		t.Run(name, func(t *testing.T) {
			bytes, origin, err := DiskSize(test.in)
			require.NoError(t, err)
			assert.Equal(t, test.bytes, bytes)
			assert.Equal(t, test.origin, origin)
		})
	}
	for name, in := range map[string]DiskSizeInput{
		"nothing known": {}, "a bad template": {Template: "8G -n x", Disk: 5}, "negative": {Disk: -1}, "too large": {Disk: 1 << 43},
		"enlarged too much": {Disk: 1 << 43, Original: 1},
	} {
		_, _, err := DiskSize(in)
		assert.ErrorIs(t, err, lvm.ErrBadSize, name)
	}
}

func TestFSType(t *testing.T) {
	for _, test := range []struct{ disk, image, byDefault, want string }{
		{"xfs", "ext3", "ext4", "xfs"},
		{"", "ext3", "ext4", "ext3"},
		{"", "save_as", "ext4", "ext4"},
		{"none", "", "ext4", "ext4"},
		{"NONE", "SAVE_AS", "btrfs", "btrfs"},
		{"save_as", "vfat", "ext4", "vfat"},
	} {
		got, err := FSType(test.disk, test.image, test.byDefault, nil)
		require.NoError(t, err)
		assert.Equal(t, test.want, got)
	}
	for _, bad := range []string{"ext5", "ext4 -F", "EXT4", "-t", "raw"} {
		_, err := FSType(bad, "ext3", "ext4", nil)
		require.ErrorIs(t, err, ErrFSType)
		assert.ErrorContains(t, err, `"`+bad+`"`)
	}
	_, err := FSType("", "", "", nil)
	require.ErrorIs(t, err, ErrFSType)
	_, err = FSType("xfs", "", "ext4", []string{"ext4"})
	require.ErrorIs(t, err, ErrFSType)
	_, err = FSType("zfs", "", "ext4", []string{"zfs"})
	assert.ErrorIs(t, err, ErrFSType, "what cannot be made cannot be allowed")
}
