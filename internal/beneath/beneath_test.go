package beneath

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func open(t *testing.T) (*Dir, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "home")
	require.NoError(t, os.Mkdir(path, 0o755))
	d, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d, path
}

// sentinel is a directory beside the one that is worked in; nothing may change it.
func sentinel(t *testing.T, path string) string {
	t.Helper()
	outside := filepath.Join(filepath.Dir(path), "outside")
	require.NoError(t, os.MkdirAll(outside+"/sub", 0o755))
	require.NoError(t, os.WriteFile(outside+"/sub/precious", []byte("precious"), 0o600))
	t.Cleanup(func() {
		data, err := os.ReadFile(outside + "/sub/precious")
		require.NoError(t, err)
		assert.Equal(t, "precious", string(data))
		entries, err := os.ReadDir(outside + "/sub")
		require.NoError(t, err)
		assert.Len(t, entries, 1)
	})
	return outside
}

func TestClean(t *testing.T) {
	long := strings.Repeat("x", MaxComponent)
	for name, want := range map[string]string{
		"": "", ".": "", "./": "", "a": "a", "./a//b/.": "a/b", "a/b": "a/b", "...": "...",
		"..a/b..": "..a/b..", long: long, "a b\n": "a b\n",
	} {
		got, err := Clean(name)
		require.NoError(t, err, "%q", name)
		assert.Equal(t, want, got, "%q", name)
	}
	for _, name := range []string{
		"..", "/", "/a", "a/..", "../a", "a/../b", "./..", "a\x00b", "\x00", long + "x", "a/" + long + "x",
		strings.Repeat("a/", MaxName/2) + "a",
	} {
		_, err := Clean(name)
		assert.ErrorIs(t, err, ErrUnsafe, "%q", name)
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "a", "./a/../b", "/", "a//b/", "..", "a\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean, err := Clean(name)
		if err != nil {
			require.ErrorIs(t, err, ErrUnsafe)
			return
		}
		again, err := Clean(clean)
		require.NoError(t, err)
		require.Equal(t, clean, again)
		require.True(t, clean == "" || filepath.IsLocal(clean), "%q", clean)
		require.Equal(t, filepath.Join("/r", name), filepath.Join("/r", clean))
	})
}

func TestCheck(t *testing.T) {
	assert.NoError(t, Check("disk.0"))
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00", strings.Repeat("x", 256)} {
		assert.ErrorIs(t, Check(name), ErrUnsafe, "%q", name)
	}
}

func TestOpenDir(t *testing.T) {
	d, path := open(t)
	outside := sentinel(t, path)
	require.NoError(t, os.MkdirAll(path+"/a/b/c", 0o755))
	require.NoError(t, os.Symlink(outside, path+"/a/link"))
	require.NoError(t, os.Symlink("b", path+"/a/inner"))
	require.NoError(t, os.WriteFile(path+"/a/file", nil, 0o600))

	sub, err := d.OpenDir("a/b/c")
	require.NoError(t, err)
	assert.Equal(t, path+"/a/b/c", sub.Path())
	require.NoError(t, sub.Close())

	for _, name := range []string{"a/link", "a/link/sub", "a/inner/c", "..", "/", "", "a/../a", outside} {
		_, err := d.OpenDir(name)
		assert.ErrorIs(t, err, ErrUnsafe, "%q", name)
	}
	_, err = d.OpenDir("a/file")
	assert.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = d.OpenDir("a/none/x")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, path+"/a/none")
}

func TestOpenFails(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Open("/dev/null")
	assert.ErrorIs(t, err, syscall.ENOTDIR)
}

func TestOwner(t *testing.T) {
	d, _ := open(t)
	uid, gid, err := d.Owner()
	require.NoError(t, err)
	assert.Equal(t, []int{os.Getuid(), os.Getgid()}, []int{uid, gid})
}

func TestReplaceSymlink(t *testing.T) {
	d, path := open(t)
	for _, target := range []string{"/dev/vg-one/lv-one-42-0", "/dev/vg-one/lv-one-42-1"} {
		require.NoError(t, d.ReplaceSymlink("disk.0", target, os.Getuid(), os.Getgid()))
		got, err := d.Readlink("disk.0")
		require.NoError(t, err)
		assert.Equal(t, target, got)
	}
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary name is left")

	require.NoError(t, os.Mkdir(path+"/dir", 0o755))
	assert.ErrorIs(t, d.ReplaceSymlink("dir", "x", os.Getuid(), os.Getgid()), syscall.EISDIR)
	entries, err = os.ReadDir(path)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "no temporary name is left")
	assert.ErrorIs(t, d.ReplaceSymlink("../x", "y", 0, 0), ErrUnsafe)
	assert.ErrorIs(t, d.ReplaceSymlink("x", "", 0, 0), fs.ErrNotExist, "no empty target")
}

func TestReadlinkFails(t *testing.T) {
	d, _ := open(t)
	_, err := d.Readlink("none")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = d.Readlink("a/b")
	assert.ErrorIs(t, err, ErrUnsafe)
}

// Whoever owns the directory could put a hard link in the temporary link's place.
func TestChownSymlinkRefusesOthers(t *testing.T) {
	d, path := open(t)
	require.NoError(t, os.WriteFile(path+"/planted", nil, 0o600))
	assert.ErrorIs(t, d.chownSymlink("planted", os.Getuid(), os.Getgid()), ErrUnsafe)
	assert.ErrorIs(t, d.chownSymlink("none", 0, 0), fs.ErrNotExist)
}

func TestCreateFile(t *testing.T) {
	d, path := open(t)
	outside := sentinel(t, path)
	require.NoError(t, os.Symlink(outside+"/sub/precious", path+"/checkpoint"))

	f, commit, abort, err := d.CreateFile("checkpoint", 0o640, os.Getuid(), os.Getgid())
	require.NoError(t, err)
	_, err = f.WriteString("state")
	require.NoError(t, err)
	target, err := d.Readlink("checkpoint")
	require.NoError(t, err, "the old entry stands until the commit")
	assert.Equal(t, outside+"/sub/precious", target)
	require.NoError(t, commit())
	abort()

	st, err := os.Lstat(path + "/checkpoint")
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o640), st.Mode())
	data, err := os.ReadFile(path + "/checkpoint")
	require.NoError(t, err)
	assert.Equal(t, "state", string(data))
}

func TestCreateFileAborted(t *testing.T) {
	d, path := open(t)
	_, commit, abort, err := d.CreateFile("f", 0o600, os.Getuid(), os.Getgid())
	require.NoError(t, err)
	abort()
	abort()
	assert.Error(t, commit())
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestCreateFileFails(t *testing.T) {
	d, path := open(t)
	_, _, _, err := d.CreateFile("a/b", 0o600, 0, 0)
	require.ErrorIs(t, err, ErrUnsafe)

	require.NoError(t, os.Mkdir(path+"/dir", 0o755))
	_, commit, abort, err := d.CreateFile("dir", 0o600, os.Getuid(), os.Getgid())
	require.NoError(t, err)
	assert.Error(t, commit())
	abort()
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "the temporary file is gone")

	require.NoError(t, os.RemoveAll(path))
	_, _, _, err = d.CreateFile("f", 0o600, os.Getuid(), os.Getgid())
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestMkdir(t *testing.T) {
	d, path := open(t)
	outside := sentinel(t, path)
	require.NoError(t, d.Mkdir("sub", 0o2750, os.Getuid(), os.Getgid()))
	st, err := os.Stat(path + "/sub")
	require.NoError(t, err)
	assert.Equal(t, fs.ModeDir|fs.ModeSetgid|0o750, st.Mode())

	require.NoError(t, d.Mkdir("sub", 0o700, os.Getuid(), os.Getgid()))
	st, err = os.Stat(path + "/sub")
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o750), st.Mode().Perm(), "what exists stays as it is")

	require.NoError(t, os.Symlink(outside, path+"/link"))
	assert.ErrorIs(t, d.Mkdir("link", 0o755, 0, 0), ErrUnsafe)
	assert.ErrorIs(t, d.Mkdir("..", 0o755, 0, 0), ErrUnsafe)
	require.NoError(t, os.WriteFile(path+"/file", nil, 0o600))
	assert.ErrorIs(t, d.Mkdir("file", 0o755, 0, 0), syscall.ENOTDIR)
}

func TestRemove(t *testing.T) {
	d, path := open(t)
	outside := sentinel(t, path)
	require.NoError(t, os.Symlink(outside, path+"/link"))
	require.NoError(t, os.MkdirAll(path+"/dir/full", 0o755))
	require.NoError(t, os.Mkdir(path+"/empty", 0o755))
	assert.NoError(t, d.Remove("link"))
	assert.NoError(t, d.Remove("empty"))
	assert.ErrorIs(t, d.Remove("dir"), syscall.ENOTEMPTY)
	assert.ErrorIs(t, d.Remove("none"), fs.ErrNotExist)
	assert.ErrorIs(t, d.Remove("../outside"), ErrUnsafe)
}

func TestRemoveAll(t *testing.T) {
	d, path := open(t)
	outside := sentinel(t, path)
	require.NoError(t, os.MkdirAll(path+"/vm/a/b/c", 0o755))
	require.NoError(t, os.WriteFile(path+"/vm/a/b/file", nil, 0o400))
	require.NoError(t, os.Symlink(outside, path+"/vm/a/link"))
	require.NoError(t, unix.Mkfifo(path+"/vm/fifo", 0o600))
	require.NoError(t, os.Symlink(outside, path+"/link"))
	assert.NoError(t, d.RemoveAll("vm"))
	assert.NoError(t, d.RemoveAll("link"))
	assert.NoError(t, d.RemoveAll("none"))
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.Empty(t, entries)
	for _, name := range []string{"", ".", "..", "/", "../outside"} {
		assert.ErrorIs(t, d.RemoveAll(name), ErrUnsafe, "%q", name)
	}
}

func TestSameMount(t *testing.T) {
	d, path := open(t)
	require.NoError(t, os.Mkdir(path+"/sub", 0o755))
	sub, err := d.OpenDir("sub")
	require.NoError(t, err)
	defer sub.Close()
	proc, err := Open("/proc")
	require.NoError(t, err)
	defer proc.Close()
	same, err := SameMount(d.Fd(), sub.Fd())
	require.NoError(t, err)
	assert.True(t, same)
	same, err = SameMount(d.Fd(), proc.Fd())
	require.NoError(t, err)
	assert.False(t, same)
	_, err = SameMount(-1, d.Fd())
	assert.Error(t, err)
}
