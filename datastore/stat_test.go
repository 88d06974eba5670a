package datastore

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// qcow2Of is the header of a QCOW2 file of that size.
func qcow2Of(size uint64, backing uint64) []byte {
	head := make([]byte, 512)
	copy(head, "QFI\xfb")
	binary.BigEndian.PutUint32(head[4:], 3)
	binary.BigEndian.PutUint64(head[8:], backing)
	binary.BigEndian.PutUint32(head[20:], 16)
	binary.BigEndian.PutUint64(head[24:], size)
	binary.BigEndian.PutUint32(head[100:], 104)
	return head
}

func TestStat(t *testing.T) {
	disk := make([]byte, 5<<20+1) // 6 MiB, rounded up
	copy(disk, "boot")
	b := newBench(t)
	both := append(b.packed("zstd", disk[:2<<20]), b.packed("zstd", disk[2<<20:])...)
	streams := append(b.packed("xz", disk[:2<<20]), append(make([]byte, 8), b.packed("xz", disk[2<<20:])...)...)
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"raw": {disk, "6\n"}, "gzip": {b.packed("gzip", disk), "6\n"}, "bzip2": {b.packed("bzip2", disk), "6\n"}, "zstd": {b.packed("zstd", disk), "6\n"},
		"zstd, two frames": {both, "6\n"}, "xz": {b.packed("xz", disk), "6\n"}, "xz, two streams": {streams, "6\n"},
		"qcow2": {qcow2Of(8<<30, 0), "8192\n"}, "qcow2, compressed": {b.packed("gzip", qcow2Of(8<<30, 0)), "8192\n"},
		"archive": {b.tgz(), "8192\n"}, "empty": {nil, "0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			require.NoError(t, b.do("stat", image{"PATH": b.file("x", c.content)}, nil))
			assert.Equal(t, c.want, b.stdout.String())
			s := &server{content: c.content, ranges: true}
			listening := httptest.NewServer(s)
			t.Cleanup(listening.Close)
			if c.content != nil {
				require.NoError(t, b.do("stat", image{"PATH": listening.URL}, nil))
				assert.Equal(t, c.want, b.stdout.String())
			}
		})
	}
	plain, err := gzip.NewReader(bytes.NewReader(b.tgz()))
	require.NoError(t, err)
	tar, err := io.ReadAll(plain)
	require.NoError(t, err)
	for asked, want := range map[string]string{"3G": "3072\n", "700": "700\n", "": "8192\n"} {
		for name, archive := range map[string][]byte{"tgz": b.tgz(), "tar": tar} {
			b := newBench(t)
			require.NoError(t, b.do("stat", image{"PATH": b.file("x", archive), "SIZE": asked}, nil))
			assert.Equal(t, want, b.stdout.String(), "%s, SIZE %q", name, asked)
		}
	}
	require.ErrorIs(t, b.do("stat", image{"PATH": b.file("x", b.tgz()), "SIZE": "8X"}, nil), lvm.ErrBadSize)
	require.Error(t, b.do("stat", image{"PATH": b.file("x", qcow2Of(8<<30, 512))}, nil), "a backing file")
	require.NoError(t, b.do("stat", image{"PATH": b.file("x", qcow2Of(8<<30, 0))}, nil))
}

// The size comes from the format's own words: of the content nothing is read.
func TestSizeIsNotCounted(t *testing.T) {
	disk := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	b := newBench(t)
	encoder, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	for kind, content := range map[tarmode.Compression][]byte{tarmode.Zstd: encoder.EncodeAll(disk, nil), tarmode.Xz: b.packed("xz", disk)} {
		got, ok := formatSize(bytes.NewReader(content), int64(len(content)), kind, 1000)
		assert.True(t, ok, kind)
		assert.EqualValues(t, len(disk), got, kind)
	}
}

func FuzzFormatSize(f *testing.F) {
	f.Add([]byte("\x28\xb5\x2f\xfd\x20\x04\x21\x00\x00data"), true)
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x00\x00\x00\x00\x1c\xdf\x44\x21\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04YZ"), false)
	f.Fuzz(func(t *testing.T, content []byte, frames bool) {
		kind := tarmode.Xz
		if frames {
			kind = tarmode.Zstd
		}
		if n, ok := formatSize(bytes.NewReader(content), int64(len(content)), kind, 1000); ok && n < 0 {
			t.Fatal(n)
		}
	})
}

// hole is a file of zeros.
type hole struct{ reads int }

func (h *hole) ReadAt(p []byte, _ int64) (int, error) {
	h.reads++
	clear(p)
	return len(p), nil
}

// A hole looks like padding between the streams of an xz file, and may be as long as it likes.
func TestSizeOfAHole(t *testing.T) {
	h := &hole{}
	_, ok := xzSize(h, 1<<50)
	assert.False(t, ok)
	assert.LessOrEqual(t, h.reads, maxPadding+1)
}
