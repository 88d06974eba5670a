package archive

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sparseOne is a member of version 1.0: a map as it stands in the archive, and data.
func sparseOne(realSize int64, lines, data string) []byte {
	out := extendedHeader("GNU.sparse.major", "1", "GNU.sparse.minor", "0",
		"GNU.sparse.name", "real", "GNU.sparse.realsize", fmt.Sprint(realSize))
	lines += strings.Repeat("\x00", int(padding(int64(len(lines)))))
	content := lines + data
	out = append(out, member("GNUSparseFile.0/real", '0', int64(len(content)), nil)...)
	out = append(out, content...)
	return append(out, zeroBlock[:padding(int64(len(content)))]...)
}

func TestSparseMaps(t *testing.T) {
	old := func(extents []Extent, size int64) func(*block) {
		return func(b *block) {
			asGNU(b)
			for i, e := range extents {
				at := oldMapAt + i*oldExtentSize
				putOctal(b[at:at+12], e.Offset)
				putOctal(b[at+12:at+24], e.Length)
			}
			putOctal(b[oldRealSizeAt:oldRealSizeAt+12], size)
		}
	}
	ten := []byte("0123456789")
	data := append(bytes.Clone(ten), zeroBlock[10:]...)
	want := []Extent{{0, 4}, {512, 6}}
	for _, c := range []struct {
		name  string
		want  []Extent
		parts [][]byte
	}{
		{"1.0", want, [][]byte{sparseOne(1000, "3\n0\n4\n512\n6\n1000\n0\n", string(ten))}},
		{"1.0 without closing extent", want, [][]byte{sparseOne(1000, "2\n0\n4\n512\n6\n", string(ten))}},
		{"1.0 hole", []Extent{}, [][]byte{sparseOne(1000, "1\n1000\n0\n", "")}},
		{"1.0 empty map", []Extent{}, [][]byte{sparseOne(1000, "0\n", "")}},
		{"0.1", want, [][]byte{
			extendedHeader("GNU.sparse.size", "1000", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,4,512,6", "GNU.sparse.name", "real"),
			member("fake", '0', 10, nil), data}},
		{"0.0", want, [][]byte{
			extendedHeader("GNU.sparse.size", "1000", "GNU.sparse.numblocks", "2", "GNU.sparse.offset", "0", "GNU.sparse.numbytes", "4",
				"GNU.sparse.offset", "512", "GNU.sparse.numbytes", "6", "path", "real"),
			member("fake", '0', 10, nil), data}},
		{"0.0 hole", []Extent{}, [][]byte{extendedHeader("GNU.sparse.size", "1000", "GNU.sparse.numblocks", "0"), member("real", '0', 0, nil)}},
		{"old", want, [][]byte{member("real", 'S', 10, old(want, 1000)), data}},
		{"old hole", []Extent{}, [][]byte{member("real", 'S', 0, old([]Extent{{1000, 0}}, 1000))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(join(append(c.parts, member("next", '0', 0, nil))...))
			h, err := r.Next()
			require.NoError(t, err)
			assert.Equal(t, "real", h.Name)
			assert.Equal(t, int64(1000), h.Size)
			assert.Equal(t, c.want, h.Sparse)
			content, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.Equal(t, h.Stored(), int64(len(content)))
			if len(content) > 0 {
				assert.Equal(t, ten, content)
			}
			h, err = r.Next()
			require.NoError(t, err)
			assert.Equal(t, "next", h.Name)
		})
	}
}

func TestBadSparseMaps(t *testing.T) {
	zeroOne := func(extents, size string) []byte {
		return append(extendedHeader("GNU.sparse.size", size, "GNU.sparse.map", extents), member("a", '0', 10, nil)...)
	}
	for _, c := range []struct {
		name string
		part []byte
		text string
	}{
		{"overlap", zeroOne("0,5,4,5", "100"), "extent"},
		{"descending", zeroOne("20,5,4,5", "100"), "extent"},
		{"beyond the end", zeroOne("0,5,96,5", "100"), "extent"},
		{"starts beyond the end", zeroOne("0,10,101,0", "100"), "extent"},
		{"overflow", zeroOne("5,9223372036854775807", "100"), "extent"},
		{"more than stored", zeroOne("0,5,6,6", "100"), "stored"},
		{"less than stored", zeroOne("0,5", "100"), "stored"},
		{"odd numbers", zeroOne("0,5,6", "100"), "number"},
		{"no numbers", zeroOne("0,a", "100"), "number"},
		{"without size", append(extendedHeader("GNU.sparse.map", "0,10"), member("a", '0', 10, nil)...), "size"},
		{"length before offset", extendedHeader("GNU.sparse.numbytes", "1"), "offset"},
		{"bad length", extendedHeader("GNU.sparse.offset", "1", "GNU.sparse.numbytes", "x"), "number"},
		{"map is missing", sparseOne(100, "", ""), "longer than the member"},
		{"map is cut", sparseOne(100, "2\n0\n"+strings.Repeat("0", 508), ""), "long"},
		{"no count", sparseOne(100, "x\n", ""), "number"},
		{"no offset", sparseOne(100, "1\n\n", ""), "number"},
		{"no length", sparseOne(100, "1\n1\nx\n", ""), "number"},
		{"too many", sparseOne(100, "1048577\n", ""), "1048577"},
		{"promise", sparseOne(100, "1048576\n"+strings.Repeat("0\n0\n", 126), ""), "longer than the member"},
		{"long number", sparseOne(100, strings.Repeat("0", 30)+"\n", ""), "long"},
		{"old offset", member("a", 'S', 0, func(b *block) { asGNU(b); b[oldMapAt] = 'x' }), "offset"},
		{"old length", member("a", 'S', 0, func(b *block) { asGNU(b); b[oldMapAt] = '0'; b[oldMapAt+12] = 'x' }), "length"},
		{"old size", member("a", 'S', 0, func(b *block) { asGNU(b); b[oldRealSizeAt] = 'x' }), "size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewReader(join(c.part)).Next()
			require.ErrorIs(t, err, ErrCorrupt)
			assert.ErrorContains(t, err, c.text)
		})
	}
}

// endless gives an old sparse member whose map never ends.
type endless struct{ head, block []byte }

func (e *endless) Read(p []byte) (int, error) {
	if len(e.head) > 0 {
		n := copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	return copy(p, e.block[:min(len(p), blockSize)]), nil
}

func TestEndlessOldMap(t *testing.T) {
	head := member("a", 'S', 0, func(b *block) { asGNU(b); b[oldExtendedAt] = 1 })
	more := make([]byte, blockSize)
	for at := 0; at < moreExtents*oldExtentSize; at += oldExtentSize {
		more[at], more[at+12] = '0', '0'
	}
	more[moreExtendedAt] = 1
	_, err := NewReader(&endless{head, more}).Next()
	require.ErrorIs(t, err, ErrCorrupt)
	assert.ErrorContains(t, err, "1048576")
}

func TestManyExtents(t *testing.T) {
	extents := make([]Extent, maxExtents-1)
	for i := range extents {
		extents[i] = Extent{int64(i) * 1024, 512}
	}
	h := &Header{Name: "many", Type: File, Size: int64(len(extents)) * 1024, Sparse: extents}
	var out bytes.Buffer
	w := NewWriter(&out)
	require.NoError(t, w.WriteHeader(h))
	r := NewReader(io.MultiReader(&out, io.LimitReader(zeros{}, h.Stored()+2*blockSize)))
	got, err := r.Next()
	require.NoError(t, err)
	assert.True(t, slices.Equal(extents, got.Sparse))
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
}

// zeros have no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
