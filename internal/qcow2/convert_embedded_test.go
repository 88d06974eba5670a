//go:build embedded

package qcow2

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
)

const size = 64 << 20

// disk makes a QCOW2 file of a raw disk with data at its beginning, middle and end.
func disk(t *testing.T, more ...string) (file *os.File, raw []byte) {
	t.Helper()
	dir := t.TempDir()
	raw = make([]byte, size)
	for _, at := range []int{0, 20<<20 + 123, size - 4096} {
		copy(raw[at:], bytes.Repeat([]byte("data"), 1024))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raw"), raw, 0o600))
	qemuImg(t, dir, append([]string{"convert", "-f", "raw", "-O", "qcow2"}, append(more, "raw", "disk.qcow2")...)...)
	return open(t, filepath.Join(dir, "disk.qcow2")), raw
}

func qemuImg(t *testing.T, dir string, args ...string) {
	t.Helper()
	_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "qemu-img", Args: args, Dir: dir})
	require.NoError(t, err)
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestConvert(t *testing.T) {
	for name, options := range map[string][]string{
		"plain": nil, "compressed": {"-c"}, "zstd": {"-c", "-o", "compression_type=zstd"}, "version 2": {"-o", "compat=0.10"},
	} {
		from, raw := disk(t, options...)
		fd, err := unix.Open(t.TempDir(), unix.O_TMPFILE|unix.O_RDWR, 0o600)
		require.NoError(t, err)
		to := os.NewFile(uintptr(fd), "without a name")
		last := int64(-1)
		h, err := Convert(t.Context(), run.Exec{}, from, to, size, func(n int64) { last = n })
		require.NoError(t, err, name)
		assert.Equal(t, int64(size), h.Size)
		assert.Equal(t, int64(size), last)
		have := make([]byte, size)
		_, err = to.ReadAt(have, 0)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(raw, have), name)
		var st unix.Stat_t
		require.NoError(t, unix.Fstat(fd, &st))
		assert.Less(t, st.Blocks*512, int64(1<<20), "%s: holes stay holes", name)
		require.NoError(t, to.Close())
	}
}

// What is made of a raw disk is the same disk, though it begins like a QCOW2 file.
func TestMake(t *testing.T) {
	dir := t.TempDir()
	raw := make([]byte, size)
	copy(raw, Magic)
	copy(raw[size-4096:], bytes.Repeat([]byte("data"), 1024))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raw"), raw, 0o600))
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	require.NoError(t, err)
	made := os.NewFile(uintptr(fd), "without a name")
	last := int64(-1)
	require.NoError(t, Make(t.Context(), run.Exec{}, open(t, filepath.Join(dir, "raw")), made, size, func(n int64) { last = n }))
	assert.Equal(t, int64(size), last)
	st, err := made.Stat()
	require.NoError(t, err)
	assert.Less(t, st.Size(), int64(4<<20), "only data")
	to, err := os.Create(filepath.Join(dir, "back"))
	require.NoError(t, err)
	h, err := Convert(t.Context(), run.Exec{}, made, to, size, func(int64) {})
	require.NoError(t, err)
	assert.Equal(t, Header{Version: 3, Size: size}, h)
	have, err := os.ReadFile(to.Name())
	require.NoError(t, err)
	assert.True(t, bytes.Equal(raw, have))
}

// What a disk names is not read, whatever it is.
func TestOtherFilesAreNotRead(t *testing.T) {
	from, _ := disk(t)
	dir := filepath.Dir(from.Name())
	qemuImg(t, dir, "create", "-f", "qcow2", "-b", "raw", "-F", "raw", "overlay.qcow2")
	qemuImg(t, dir, "create", "-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "external.qcow2", "64M")
	for _, name := range []string{"overlay.qcow2", "external.qcow2"} {
		to, err := os.Create(filepath.Join(dir, "out"))
		require.NoError(t, err)
		_, err = Convert(t.Context(), run.Exec{}, open(t, filepath.Join(dir, name)), to, size, func(int64) {})
		require.ErrorIs(t, err, ErrRefused, name)
		require.NoError(t, to.Close())
	}
}
