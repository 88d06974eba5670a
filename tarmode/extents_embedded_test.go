//go:build embedded

package tarmode

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// loopDevice makes a block device of a file.
func loopDevice(t *testing.T, backing *os.File) *os.File {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", backing.Name()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	name := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		out, err := exec.Command("losetup", "--detach", name).CombinedOutput()
		assert.NoError(t, err, "%s", out)
	})
	device, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { device.Close() })
	return device
}

// TestBlockDevices copies from one block device to another.
func TestBlockDevices(t *testing.T) {
	const size = 16 << 20
	content := sample(1 << 20)
	from := disk(t, size, map[int64][]byte{3 << 20: content, size - 512: []byte("end")})
	to := disk(t, size, nil)
	source, target := loopDevice(t, from), loopDevice(t, to)

	var stream bytes.Buffer
	sent, err := SendExtents(t.Context(), &stream, source, size, nil)
	require.NoError(t, err)
	assert.Equal(t, int64(1<<20+zeroUnit), sent)
	got, written, err := ReceiveExtents(t.Context(), &stream, target, size, nil)
	require.NoError(t, err)
	assert.Equal(t, [2]int64{size, 1<<20 + zeroUnit}, [2]int64{got, written})
	require.NoError(t, target.Sync())
	assert.True(t, bytes.Equal(contentOf(t, from), contentOf(t, to)))

	_, err = SendExtents(t.Context(), &stream, source, size+1, nil)
	require.ErrorIs(t, err, ErrTruncated, "the device is smaller")
}
