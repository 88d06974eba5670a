package archive

import (
	stdtar "archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// written is the archive of members without content.
func written(t *testing.T, members ...*Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, h := range members {
		require.NoError(t, w.WriteHeader(h))
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	acl, err := parseACL("u::rw,u:1:r,g::-,m::r,o::-")
	require.NoError(t, err)
	long := strings.Repeat("verylong/", 40)
	for _, h := range []*Header{
		{Name: "f", Type: File, Mode: 0o4711, UID: 1, GID: 2, ModTime: time.Unix(1e9, 0)},
		{Name: "f", Type: File, ModTime: time.Unix(1e9, 120_000_000)},
		{Name: "f", Type: File, ModTime: time.Unix(-2, 750_000_000)},
		{Name: "f", Type: File, ModTime: time.Unix(-2, 0)},
		{Name: "f", Type: File, ModTime: time.Unix(maxOctalSize+1, 1)},
		{Name: "f", Type: File, UID: maxOctalID, GID: maxOctalID + 1, ModTime: time.Unix(0, 0)},
		{Name: "f", Type: File, UID: maxID, GID: maxID, ModTime: time.Unix(0, 0)},
		{Name: "d/", Type: Dir, Mode: 0o1777, ModTime: time.Unix(1, 0)},
		{Name: long, Type: Dir, ModTime: time.Unix(1, 0)},
		{Name: long + "f", Type: File, ModTime: time.Unix(1, 0)},
		{Name: long + "gr\xfcn", Type: File, ModTime: time.Unix(1, 0)},
		{Name: strings.Repeat("p", 155) + "/" + strings.Repeat("n", 100), Type: FIFO, ModTime: time.Unix(1, 0)},
		{Name: strings.Repeat("p", 156) + "/" + strings.Repeat("n", 100), Type: FIFO, ModTime: time.Unix(1, 0)},
		{Name: "/" + strings.Repeat("n", 100), Type: FIFO, ModTime: time.Unix(1, 0)},
		{Name: "l", Linkname: long, Type: Symlink, Mode: 0o777, ModTime: time.Unix(1, 0)},
		{Name: "l", Linkname: strings.Repeat("l", 100), Type: Hard, ModTime: time.Unix(1, 0)},
		{Name: "c", Type: Char, Major: 4, Minor: 64, ModTime: time.Unix(1, 0)},
		{Name: "b", Type: Block, Major: maxOctalID, Minor: maxOctalID, ModTime: time.Unix(1, 0)},
		{Name: "s", Type: File, Size: 1 << 40, Sparse: []Extent{}, ModTime: time.Unix(1, 0)},
		{Name: "x", Type: File, Mode: 0o640, ModTime: time.Unix(1, 0), Xattrs: map[string][]byte{
			"user.a=%": {0, 1, '\n'}, "user.empty": {}, aclAccess: acl, selinux: []byte("label\x00"), "security.capability": {1},
		}},
	} {
		t.Run(h.Name[:1], func(t *testing.T) {
			got, err := NewReader(bytes.NewReader(written(t, h))).Next()
			require.NoError(t, err)
			assert.True(t, h.ModTime.Equal(got.ModTime), "%v", got.ModTime)
			got.ModTime = h.ModTime
			assert.Equal(t, h, got)
		})
	}
}

func TestRecordsOfAMember(t *testing.T) {
	acl, err := parseACL("u::rw,g::r,o::-,m::r,u:1000:r")
	require.NoError(t, err)
	out := written(t, &Header{
		Name: "d/s", Type: File, Size: 4096, Sparse: []Extent{}, UID: 3000000, ModTime: time.Unix(5, 1),
		Xattrs: map[string][]byte{"user.b": []byte("2"), "user.a": []byte("1"), aclAccess: acl, aclDefault: acl, selinux: []byte("l\x00")},
	})
	require.Equal(t, byte('x'), out[typeAt])
	size, err := parseOctal((*block)(out).size())
	require.NoError(t, err)
	assert.Equal(t, strings.Join([]string{
		"22 GNU.sparse.major=1", "22 GNU.sparse.minor=0", "23 GNU.sparse.name=d/s", "28 GNU.sparse.realsize=4096",
		"26 RHT.security.selinux=l",
		"77 SCHILY.acl.access=user::rw-,user:1000:r--,group::r--,mask::r--,other::---",
		"78 SCHILY.acl.default=user::rw-,user:1000:r--,group::r--,mask::r--,other::---",
		"25 SCHILY.xattr.user.a=1", "25 SCHILY.xattr.user.b=2",
		"21 mtime=5.000000001", "15 uid=3000000", "",
	}, "\n"), string(out[blockSize:blockSize+size]))
}

func TestPlainHeaderWhereItFits(t *testing.T) {
	out := written(t, &Header{Name: "etc/fstab", Type: File, Mode: 0o644, ModTime: time.Unix(1e9, 0)})
	assert.Equal(t, byte('0'), out[typeAt])
	assert.Len(t, out, recordSize)
	h, err := stdtar.NewReader(bytes.NewReader(out)).Next()
	require.NoError(t, err)
	assert.Equal(t, stdtar.FormatUSTAR, h.Format)
}

func TestNoTime(t *testing.T) {
	h, err := NewReader(bytes.NewReader(written(t, &Header{Name: "a", Type: File}))).Next()
	require.NoError(t, err)
	assert.Zero(t, h.ModTime.Unix())
}

func TestLargeFile(t *testing.T) {
	var head bytes.Buffer
	w := NewWriter(&head)
	const size = 9 << 30
	require.NoError(t, w.WriteHeader(&Header{Name: "large", Type: File, Size: size, ModTime: time.Unix(1, 0)}))
	require.NoError(t, w.out.Flush())
	h, err := NewReader(&head).Next()
	require.NoError(t, err)
	assert.Equal(t, int64(size), h.Size)
}

func TestHeadersRefused(t *testing.T) {
	for _, c := range []struct {
		text string
		h    Header
	}{
		{"empty", Header{Type: File}},
		{"NUL", Header{Name: "a\x00b", Type: File}},
		{"NUL", Header{Name: "a", Linkname: "\x00", Type: Symlink}},
		{"type", Header{Name: "a"}},
		{"type", Header{Name: "a", Type: 'S'}},
		{"slash", Header{Name: "a/", Type: File}},
		{"target", Header{Name: "a", Type: Hard}},
		{"owner", Header{Name: "a", Type: File, UID: -1}},
		{"owner", Header{Name: "a", Type: File, GID: 1 << 32}},
		{"device", Header{Name: "a", Type: Char, Major: 1 << 31}},
		{"size", Header{Name: "a", Type: File, Size: -1}},
		{"sparse map", Header{Name: "a", Type: File, Size: 10, Sparse: []Extent{{5, 6}}}},
		{"sparse map", Header{Name: "a", Type: File, Size: 4096, Sparse: []Extent{{512, 512}, {0, 512}}}},
		{"sparse map", Header{Name: "a", Type: File, Size: 4096, Sparse: []Extent{{0, 0}}}},
		{"multiple of 512", Header{Name: "a", Type: File, Size: 4096, Sparse: []Extent{{0, 100}, {512, 100}}}},
		{"extents", Header{Name: "a", Type: File, Size: 4096, Sparse: make([]Extent, maxExtents)}},
		{"bad name", Header{Name: "a", Type: File, Xattrs: map[string][]byte{"": nil}}},
		{"SCHILY.acl.access", Header{Name: "a", Type: File, Xattrs: map[string][]byte{aclAccess: []byte("x")}}},
		{"SCHILY.acl.default", Header{Name: "a", Type: File, Xattrs: map[string][]byte{aclDefault: []byte("x")}}},
		{"limit", Header{Name: "a", Type: File, Xattrs: map[string][]byte{"user.a": make([]byte, maxRecords)}}},
	} {
		w := NewWriter(io.Discard)
		err := w.WriteHeader(&c.h)
		require.ErrorContains(t, err, c.text)
		assert.Equal(t, err, w.Close(), "there is no writing on")
		_, again := w.Write(nil)
		assert.Equal(t, err, again)
	}
}

func TestMisuse(t *testing.T) {
	two := &Header{Name: "a", Type: File, Size: 2}
	steps := map[string]func(w *Writer) error{
		"too much":          func(w *Writer) error { _, err := w.Write([]byte("abc")); return err },
		"too little":        func(w *Writer) error { return w.WriteHeader(two) },
		"too little at end": func(w *Writer) error { return w.Close() },
		"global inside":     func(w *Writer) error { return w.WriteGlobal(map[string]string{"a": "b"}) },
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			w := NewWriter(io.Discard)
			require.NoError(t, w.WriteHeader(two))
			require.ErrorIs(t, step(w), ErrWriterUse)
		})
	}
	w := NewWriter(io.Discard)
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	require.ErrorIs(t, w.WriteHeader(two), ErrWriterUse)
	for _, key := range []string{"", "a=b", "a\x00"} {
		require.ErrorContains(t, NewWriter(io.Discard).WriteGlobal(map[string]string{key: "x"}), "key")
	}
}

func TestGlobalRecordsAreSorted(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	require.NoError(t, w.WriteGlobal(map[string]string{"b": "2", "a": "1", "ONECLVM.fs.uuid": strings.Repeat("u", 80)}))
	require.NoError(t, w.Close())
	assert.True(t, bytes.HasPrefix(out.Bytes()[blockSize:], []byte("101 ONECLVM.fs.uuid=")), "%q", out.Bytes()[blockSize:][:40])
	assert.Contains(t, out.String(), "u\n6 a=1\n6 b=2\n\x00")
}

// failing takes so many bytes.
type failing struct{ left int }

var errFull = errors.New("no space left on device")

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

func TestErrorOfTheTarget(t *testing.T) {
	for _, room := range []int{0, 64 << 10, 200 << 10} {
		w := NewWriter(&failing{room})
		var err error
		for i := 0; i < 1000 && err == nil; i++ {
			err = w.WriteHeader(&Header{Name: fmt.Sprint("f", i), Type: File, Size: 100, ModTime: time.Unix(1, 1)})
			if err == nil {
				_, err = w.Write(make([]byte, 100))
			}
		}
		require.ErrorIs(t, err, errFull)
		require.ErrorIs(t, w.Close(), errFull)
	}
	require.ErrorIs(t, NewWriter(&failing{}).Close(), errFull)
}

func TestWriterAllocatesLittle(t *testing.T) {
	w := NewWriter(io.Discard)
	h := &Header{
		Name: "usr/share/doc/" + strings.Repeat("package/", 20) + "copyright", Type: File, Mode: 0o644, Size: 9,
		ModTime: time.Unix(1e9, 123456789),
	}
	content := []byte("copyright")
	allocations := testing.AllocsPerRun(100, func() {
		if w.WriteHeader(h) != nil {
			panic("header")
		}
		if _, err := w.Write(content); err != nil {
			panic(err)
		}
	})
	assert.LessOrEqual(t, allocations, 1.0)
}

func BenchmarkWriter(b *testing.B) {
	w := NewWriter(io.Discard)
	h := &Header{Name: "usr/share/doc/package/copyright", Type: File, Mode: 0o644, ModTime: time.Unix(1e9, 123456789)}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.WriteHeader(h); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	var out bytes.Buffer
	w := NewWriter(&out)
	h := &Header{Name: "usr/share/doc/package/copyright", Type: File, Mode: 0o644, ModTime: time.Unix(1e9, 123456789)}
	for range 1000 {
		if err := w.WriteHeader(h); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n, err := skipAll(bytes.NewReader(out.Bytes())); n != 1000 || err != nil {
			b.Fatal(n, err)
		}
	}
}
