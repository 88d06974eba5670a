package filevg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeLoop lays a device out as the kernel does; no attributes at all for a free one.
func fakeLoop(t *testing.T, root, name string, attributes map[string]string) {
	t.Helper()
	dir := filepath.Join(root, name, "loop")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for file, text := range attributes {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o600))
	}
}

func TestAttached(t *testing.T) {
	root := t.TempDir()
	fakeLoop(t, root, "loop0", nil)
	fakeLoop(t, root, "loop1", map[string]string{"backing_file": "/vg/pv", "offset": "4096", "sizelimit": "8192"})
	fakeLoop(t, root, "loop2", map[string]string{"backing_file": "/vg/pv2", "offset": "0", "sizelimit": "0"})
	fakeLoop(t, root, "loop12", map[string]string{"backing_file": "/vg/pv (deleted)", "offset": "0", "sizelimit": "0"})
	fakeLoop(t, root, "loop3p1", map[string]string{"backing_file": "/vg/pv", "offset": "0", "sizelimit": "0"})
	fakeLoop(t, root, "loop4", map[string]string{"backing_file": "/vg/pv", "offset": "0"}) // detached between two reads
	fakeLoop(t, root, "sda", nil)
	devices, err := attached(root, "/vg/pv")
	require.NoError(t, err)
	assert.Equal(t, []loopDevice{{1, byteRange{4096, 8192}}}, devices)
}

func TestAttachedNeedsACleanList(t *testing.T) {
	root := t.TempDir()
	fakeLoop(t, root, "loop1", map[string]string{"backing_file": "/vg/pv", "offset": "many", "sizelimit": "0"})
	_, err := attached(root, "/vg/pv")
	assert.ErrorContains(t, err, "offset")
	_, err = attached(filepath.Join(root, "absent"), "/vg/pv")
	assert.Error(t, err)
}

func TestMountedDevices(t *testing.T) {
	devices, err := mountedDevices(strings.NewReader(`22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 22 7:3 / /mnt/a rw,relatime - vfat /vg/dev/lv-one-1-0 rw

short
`))
	require.NoError(t, err)
	assert.Equal(t, map[string]bool{"254:0": true, "7:3": true}, devices)
}
