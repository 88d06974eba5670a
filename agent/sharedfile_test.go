package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sharing is a node with an ISO in one of its SHARED_DIRS.
func sharing(t *testing.T) (n *node, iso string) {
	n = newNode(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	n.server.Config.SharedDirs = []string{"/nonexistent", dir}
	iso = filepath.Join(dir, "boot.iso")
	require.NoError(t, os.WriteFile(iso, make([]byte, 3<<20), 0o644))
	return n, iso
}

func (n *node) ofFile(op Op, path string) Request {
	q := n.request(op)
	q.Path = path
	return q
}

func TestLinkSharedFile(t *testing.T) {
	n, iso := sharing(t)
	n.group.put(t, disk0, "of an earlier attempt", "one", "vm=42", "disk=0", "ds=101", "building")
	for range 2 {
		_, err := n.do(n.ofFile(OpLinkFile, iso), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, iso, n.link())
		assert.Empty(t, n.group.names())
	}
	for range 2 {
		_, err := n.do(n.request(OpRemove), Transfer{})
		require.NoError(t, err)
		assert.NoFileExists(t, filepath.Join(n.base, "101/42/disk.0"))
		assert.FileExists(t, iso, "the file is nobody's but the administrator's")
	}
	res, err := n.do(Request{Op: OpStatFile, Operation: "0123456789ab", Path: iso}, Transfer{})
	require.NoError(t, err)
	assert.EqualValues(t, 3<<20, res.Size)
}

func TestSharedFileRefuses(t *testing.T) {
	n, iso := sharing(t)
	dir := filepath.Dir(iso)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("key"), 0o600))
	require.NoError(t, os.Symlink(secret, dir+"/link"))
	require.NoError(t, os.Symlink(filepath.Dir(secret), dir+"/way"))
	require.NoError(t, os.WriteFile(dir+"/empty", nil, 0o600))
	require.NoError(t, os.Mkdir(dir+"X", 0o700))
	t.Cleanup(func() { _ = os.RemoveAll(dir + "X") })
	for path, want := range map[string]string{
		"": "path", secret: "SHARED_DIRS", dir: "SHARED_DIRS", dir + "X/file": "SHARED_DIRS", dir + "/../x": "path", dir + "//boot.iso": "path",
		dir + "/a b": "path", dir + "/none": "no such file", dir + "/link": "too many levels", dir + "/way/secret": "without links", dir + "/empty": "with a content",
	} {
		for _, op := range []Op{OpLinkFile, OpStatFile} {
			_, err := n.do(n.ofFile(op, path), Transfer{})
			require.ErrorContains(t, err, want, "%s %q", op, path)
		}
		assert.NoFileExists(t, filepath.Join(n.base, "101/42/disk.0"))
	}
	_, err := n.do(n.ofFile(OpPark, iso), Transfer{})
	require.ErrorContains(t, err, "takes no path")
}
