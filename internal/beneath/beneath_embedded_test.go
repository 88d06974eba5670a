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
}

// What a crash leaves of a directory that was to be its owner's is finished by the next
// attempt; another's directory is not given away.
func TestMkdirAfterACrash(t *testing.T) {
	require.Zero(t, os.Getuid(), "this test needs root")
	d, path := open(t)
	for _, c := range []struct {
		name  string
		mode  os.FileMode
		owner int
		full  bool
		want  uint32
	}{
		{"unfinished", madeMode, 0, false, 9869},
		{"full", madeMode, 0, true, 0},
		{"others", madeMode, 1, false, 1},
		{"of root", 0o755, 0, false, 0},
	} {
		directory := path + "/" + c.name
		require.NoError(t, os.Mkdir(directory, c.mode))
		require.NoError(t, os.Chown(directory, c.owner, c.owner))
		if c.full {
			require.NoError(t, os.WriteFile(directory+"/file", nil, 0o600))
		}
		require.NoError(t, d.Mkdir(c.name, 0o750, 9869, 9870))
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(directory, &st))
		assert.Equal(t, c.want, st.Uid, c.name)
	}
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
