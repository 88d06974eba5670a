//go:build lab

package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/image"
	"one-clvm/lab/profile"
)

func TestBootsWhereTheSnapshotCannotBeResumed(t *testing.T) {
	t.Parallel()
	made, err := image.Make(t.Context(), profile.Single, os.Stderr)
	require.NoError(t, err)
	c, err := newCluster(profile.Single, made)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop()) })
	good, err := c.snapshot(t.Context(), os.Stderr)
	require.NoError(t, err)
	bad := t.TempDir()
	entries, err := os.ReadDir(good)
	require.NoError(t, err)
	for _, entry := range entries {
		require.NoError(t, os.Symlink(filepath.Join(good, entry.Name()), filepath.Join(bad, entry.Name())))
	}
	state, err := os.ReadFile(stateFile(good, "node1"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(stateFile(bad, "node1")))
	require.NoError(t, os.WriteFile(stateFile(bad, "node1"), state[:len(state)/2], 0o600))

	var said bytes.Buffer
	require.NoError(t, c.resumeFrom(t.Context(), bad, &said))
	assert.Contains(t, said.String(), "WARNING: the snapshot "+bad+" cannot be resumed here, booting instead: ")
	out, err := c.Nodes[0].Output(t.Context(), "vgs", "--noheadings", "-o", "vg_name")
	require.NoError(t, err)
	assert.Equal(t, "  "+Group+"\n", out)
}
