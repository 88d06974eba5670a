package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// A disk that is held back is nobody's until it is published.
func TestCreateHoldDigestPublish(t *testing.T) {
	n := newNode(t)
	q := n.create(ContentDisk, tarmode.RAW)
	q.Hold, q.FSType = true, "ext4"
	content := strings.Repeat("data", 1000)
	_, err := n.do(q, sendBytes([]byte(content)))
	require.NoError(t, err)
	assert.True(t, n.group.volumes[disk0].Tags.Has("building", "fs=ext4"))
	assert.NoFileExists(t, filepath.Join(n.base, "101/42/disk.0"))
	activate := n.request(OpActivate)
	activate.Activate = lvm.Exclusive
	_, err = n.do(activate, Transfer{})
	require.ErrorContains(t, err, "never completed")

	digest := n.request(OpDigest)
	digest.Hold, digest.Size = true, int64(len(content))
	res, err := n.do(digest, Transfer{})
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(content))
	assert.Equal(t, hex.EncodeToString(sum[:]), res.Digest)

	_, err = n.do(n.request(OpPublish), Transfer{})
	require.NoError(t, err)
	assert.False(t, n.group.volumes[disk0].Tags.Has("building"))
	assert.Equal(t, n.group.volumes[disk0].Path, n.link())
	_, err = n.do(n.request(OpPublish), Transfer{})
	assert.ErrorContains(t, err, "not being built")
	digest.Hold = false
	again, err := n.do(digest, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, res.Digest, again.Digest)
	n.group.open[disk0] = true
	_, err = n.do(digest, Transfer{})
	assert.ErrorIs(t, err, lvm.ErrInUse)
}

func TestDigestLeavesTheDiskAsItWas(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "x", "one", "vm=42", "disk=0", "ds=101", "parked")
	n.group.volumes[disk0].Mode = lvm.Off
	q := n.request(OpDigest)
	q.Size = extent
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, n.group.volumes[disk0].Mode)
	q.Size = 2 * extent
	_, err = n.do(q, Transfer{})
	assert.ErrorContains(t, err, "asked for", "a shorter disk is not the same")
}

func TestAdopt(t *testing.T) {
	n := snapshotted(t)
	q := n.request(OpActivate)
	q.Activate, q.Link, q.DS, q.Home = lvm.Exclusive, true, 102, filepath.Join(n.base, "102/42")
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	for _, name := range []string{disk0, snapshot0} {
		assert.True(t, n.group.volumes[name].Tags.Has("ds=102"))
		assert.False(t, n.group.volumes[name].Tags.Has("ds=101"))
	}
	target, err := os.Readlink(filepath.Join(n.base, "102/42/disk.0"))
	require.NoError(t, err)
	assert.Equal(t, n.group.volumes[disk0].Path, target)
}

func TestMoveHome(t *testing.T) {
	n := newNode(t)
	old, home := filepath.Join(n.base, "101/42"), filepath.Join(n.base, "102/42")
	require.NoError(t, os.MkdirAll(old, 0o755))
	require.NoError(t, os.MkdirAll(home, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(old, "checkpoint"), []byte("memory"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(old, "disk.1"), []byte("context"), 0o600))
	require.NoError(t, os.Symlink("/dev/vg-one/old", filepath.Join(old, "disk.0")))
	require.NoError(t, os.Symlink("/dev/vg-one/new", filepath.Join(home, "disk.0")))
	q := n.request(OpMoveHome)
	q.Disk, q.DS, q.Home, q.OldDS, q.OldHome, q.Group = AllDisks, 102, home, 101, old, ""
	for range 2 {
		_, err := n.do(q, Transfer{})
		require.NoError(t, err)
		assert.NoDirExists(t, old)
		for name, want := range map[string]string{"checkpoint": "memory", "disk.1": "context"} {
			content, err := os.ReadFile(filepath.Join(home, name))
			require.NoError(t, err)
			assert.Equal(t, want, string(content))
		}
		target, err := os.Readlink(filepath.Join(home, "disk.0"))
		require.NoError(t, err)
		assert.Equal(t, "/dev/vg-one/new", target)
	}
	for _, bad := range []string{home, "/etc", n.base + "/101/43", ""} {
		q.OldHome = bad
		_, err := n.do(q, Transfer{})
		assert.ErrorContains(t, err, "home", bad)
	}
}
