//go:build embedded

package beneath

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOwnersOfNewEntries(t *testing.T) {
	require.Zero(t, os.Getuid(), "this test needs root")
	d, path := open(t)
	require.NoError(t, d.ReplaceSymlink("link", "x", 9869, 9870))
	require.NoError(t, d.Mkdir("dir", 0o755, 9869, 9870))
	_, commit, _, err := d.CreateFile("file", 0o600, 9869, 9870)
	require.NoError(t, err)
	require.NoError(t, commit())
	for _, name := range []string{"link", "dir", "file"} {
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(path+"/"+name, &st))
		assert.Equal(t, []uint32{9869, 9870}, []uint32{st.Uid, st.Gid}, name)
	}
	require.NoError(t, os.Chown(path+"/dir", 1, 1))
	fd, err := OpenDirAt(d.Fd(), "dir")
	require.NoError(t, err)
	defer unix.Close(fd)
	assert.ErrorIs(t, adopt(fd, 0o755, 9869, 9870), ErrUnsafe, "somebody else's directory is not given away")
}

func TestRemoveAllStopsAtMountPoints(t *testing.T) {
	require.Zero(t, os.Getuid(), "this test needs root")
	d, path := open(t)
	outside := sentinel(t, path)
	require.NoError(t, os.MkdirAll(path+"/vm/mounted", 0o755))
	require.NoError(t, unix.Mount(outside, path+"/vm/mounted", "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(path+"/vm/mounted", unix.MNT_DETACH)) })
	assert.ErrorIs(t, d.RemoveAll("vm"), syscall.EBUSY)

	root, err := d.OpenDir("vm")
	require.NoError(t, err)
	defer root.Close()
	sub, err := root.OpenDir("mounted")
	require.NoError(t, err)
	defer sub.Close()
	same, err := SameMount(root.Fd(), sub.Fd())
	require.NoError(t, err)
	assert.False(t, same, "a bind mount of the same device is another mount")
}
