package tm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
)

func TestMarkOfASavedImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	q := agent.Request{VM: 42, Disk: 1}
	require.NoError(t, forgetSaved(path), "no file")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, forgetSaved(path), "no mark")
	assert.False(t, wasSaved(path, q))
	require.NoError(t, markSaved(f, q))
	assert.True(t, wasSaved(path, q))
	assert.False(t, wasSaved(path, agent.Request{VM: 42, Disk: 11}))
	require.NoError(t, forgetSaved(path))
	assert.False(t, wasSaved(path, q))
}
