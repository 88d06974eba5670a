package tm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A verb's directory stays while the verb lives, and what a killed one has left goes.
func TestWorkDirectories(t *testing.T) {
	parent := t.TempDir()
	left := filepath.Join(parent, workPrefix+"1")
	require.NoError(t, os.MkdirAll(filepath.Join(left, "0"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(parent, workPrefix+"file"), nil, 0o600))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(parent, workPrefix+"link")))
	first, err := makeWorkDirectory(parent)
	require.NoError(t, err)
	assert.NoDirExists(t, left)
	second, err := makeWorkDirectory(parent)
	require.NoError(t, err)
	assert.DirExists(t, first.Name())
	require.NoError(t, first.remove())
	require.NoError(t, second.remove())
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "what is no directory")
	_, err = makeWorkDirectory(filepath.Join(parent, "none"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
