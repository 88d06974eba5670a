package mounts

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const mountinfo = `28 1 0:20 / / rw,relatime - overlay root rw
36 28 8:16 / /ds/0 rw,noatime - gfs2 /dev/sdb rw,rgrplvb
37 28 0:5 / /a\040b rw - tmpfs none rw
broken line
38 28 0:9 / /ds/0 ro - tmpfs none rw
`

func TestMounts(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "proc/self"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(mountinfo), 0o600))
	all, err := Read(root)
	require.NoError(t, err)
	require.Len(t, all, 4)
	assert.Equal(t, Mount{"/ds/0", "gfs2", "/dev/sdb", "8:16", []string{"rw", "noatime", "rgrplvb"}}, all[1])
	assert.Equal(t, "tmpfs", Of(all, "/ds/0/42").Type, "the last one at a place is seen")
	assert.Equal(t, "/a b", Of(all, "/a b/c").Point)
	assert.Equal(t, "/", Of(all, "/ds/01").Point)
	_, err = Read(t.TempDir())
	require.ErrorContains(t, err, "mounts:")
	here, err := Read("/")
	require.NoError(t, err)
	assert.Equal(t, "proc", Of(here, "/proc/self").Type)
}
