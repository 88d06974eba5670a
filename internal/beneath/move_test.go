package beneath

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// twoDirs opens two directories; of the second, on another file system where there is one.
func twoDirs(t *testing.T, second string) (from, to *Dir) {
	t.Helper()
	from, err := Open(t.TempDir())
	require.NoError(t, err)
	to, err = Open(second)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, from.Close()); assert.NoError(t, to.Close()) })
	return from, to
}

func TestMoveTo(t *testing.T) {
	from, to := twoDirs(t, t.TempDir())
	require.NoError(t, os.WriteFile(from.join("a"), []byte("new"), 0o640))
	require.NoError(t, os.WriteFile(to.join("a"), []byte("old"), 0o600))
	require.NoError(t, os.Mkdir(from.join("d"), 0o755))
	names, err := from.Names()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"a", "d"}, names)
	for _, name := range names {
		require.NoError(t, from.MoveTo(t.Context(), to, name))
	}
	content, err := os.ReadFile(to.join("a"))
	require.NoError(t, err)
	assert.Equal(t, "new", string(content))
	assert.DirExists(t, to.join("d"))
	names, err = from.Names()
	require.NoError(t, err)
	assert.Empty(t, names)
	assert.ErrorIs(t, from.MoveTo(t.Context(), to, "a"), os.ErrNotExist)
	assert.ErrorIs(t, from.MoveTo(t.Context(), to, "../a"), ErrUnsafe)
}

func TestCopyToAnotherFileSystem(t *testing.T) {
	from, to := twoDirs(t, t.TempDir())
	require.NoError(t, os.WriteFile(from.join("checkpoint"), []byte("memory"), 0o640))
	require.NoError(t, from.copyTo(t.Context(), to, "checkpoint"))
	content, err := os.ReadFile(to.join("checkpoint"))
	require.NoError(t, err)
	assert.Equal(t, "memory", string(content))
	info, err := os.Stat(to.join("checkpoint"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	assert.NoFileExists(t, from.join("checkpoint"))

	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	require.NoError(t, os.Link(secret, from.join("linked")))
	require.NoError(t, os.Symlink(secret, from.join("symlink")))
	require.NoError(t, os.Mkdir(from.join("d"), 0o755))
	for _, name := range []string{"linked", "symlink", "d"} {
		assert.Error(t, from.copyTo(t.Context(), to, name), name)
		assert.NoFileExists(t, to.join(name))
	}
}
