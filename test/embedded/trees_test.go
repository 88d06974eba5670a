//go:build embedded

package embedded

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/tarmode"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// smallTree is a root file system of a few files, with times in whole seconds: all that
// mke2fs -d keeps of them.
func smallTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	for name, text := range map[string]string{"etc/hostname": "guest\n", "etc/fstab": "# empty\n", "usr/bin/program": "\x7fELF", "root/.profile": ""} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Lchown(path, 1000, 33))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "usr/bin/large"), randomBytes(t, 3<<20), 0o4755))
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, time.Unix(1_700_000_000, 0), time.Unix(1_700_000_000, 0)))
	}))
	return root
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

// pack packs a tree into an image's file with the suite's own code.
func (s *site) pack(tree string, image fakeoned.Image) {
	s.Helper()
	mode, err := tarmode.ParseMode(image.Template["MODE"])
	require.NoError(s, err)
	_, err = debian.Pack(s.Context(), tree, image.Source, mode)
	require.NoError(s, err)
}

// sameTree mounts a disk and compares it with a tree.
func (s *site) sameTree(tree string, disk int, fstype string) {
	s.Helper()
	s.mounted(disk, fstype, func(directory string) { s.sameFiles(tree, directory) })
}

func (s *site) sameFiles(want, have string) {
	s.Helper()
	differences, err := debian.Differences(s.Context(), want, have)
	require.NoError(s, err)
	assert.Empty(s, differences)
}

// mounted calls look with a disk mounted, for reading and writing: nothing but the kernel
// judges whether the file system is clean.
func (s *site) mounted(disk int, fstype string, look func(directory string)) {
	s.Helper()
	directory, unmount, err := testbed.Mount(device(disk), fstype, true)
	require.NoError(s, err)
	defer func() { assert.NoError(s, unmount()) }()
	look(directory)
}

// checked has the file system's own program look for damage.
func (s *site) checked(disk int, fstype string) {
	s.Helper()
	real, err := filepath.EvalSymlinks(device(disk))
	require.NoError(s, err)
	switch fstype {
	case "xfs":
		s.root("xfs_repair", "-n", real)
	case "btrfs":
		s.root("btrfs", "check", "--readonly", real)
	default:
		s.root("e2fsck", "-fn", real)
	}
}

// blkid is one value of a disk's signature.
func (s *site) blkid(disk int, tag string) string {
	s.Helper()
	return strings.TrimSpace(s.root("blkid", "-p", "-s", tag, "-o", "value", device(disk)))
}

// size that a file system of the type needs at least, and its number of MiB.
func sizeFor(fstype string) (text string, mib int64) {
	switch fstype {
	case "xfs":
		return "300M", 300
	case "btrfs":
		return "256M", 256
	}
	return "64M", 64
}
