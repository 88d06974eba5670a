package archive

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzReader: whatever comes in, the reader ends with one of its own errors, gives as
// many bytes as a header promises, and what it has read can be written and read again.
func FuzzReader(f *testing.F) {
	read := func(r io.Reader) []byte {
		out, err := io.ReadAll(r)
		require.NoError(f, err)
		return out
	}
	f.Add(read(join(member("a", '0', 0, nil), member("b/", '5', 0, asV7), member("c", '3', 0, asGNU))))
	f.Add(read(join(extendedHeader("path", "p", "mtime", "1.5", "SCHILY.xattr.user.a", "b"), member("a", '0', 0, nil))))
	f.Add(read(join(sparseOne(1000, "3\n0\n4\n512\n6\n1000\n0\n", "0123456789"))))
	f.Add(read(join(described('L', "long\x00"), member("a", '1', 0, asGNU), member("s", 'S', 0, asGNU))))
	f.Fuzz(func(t *testing.T, data []byte) {
		for at := 0; at+blockSize <= len(data); at += blockSize { // or the checksum stops everything
			if b := (*block)(data[at:]); b.magic()[0] == 'u' {
				b.seal()
			}
		}
		r := NewReader(bytes.NewReader(data))
		for {
			h, err := r.Next()
			if err != nil {
				known := errors.Is(err, io.EOF) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrUnsupported)
				require.True(t, known, "%v", err)
				return
			}
			content, err := io.ReadAll(r)
			if err != nil {
				require.ErrorIs(t, err, ErrTruncated)
				return
			}
			require.Equal(t, h.Stored(), int64(len(content)))
			rewrite(t, h, content)
		}
	})
}

// rewrite writes a member and reads it back, if the writer takes it.
func rewrite(t *testing.T, h *Header, content []byte) {
	var out bytes.Buffer
	w := NewWriter(&out)
	if w.WriteHeader(h) != nil {
		return
	}
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	r := NewReader(&out)
	got, err := r.Next()
	require.NoError(t, err)
	again, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, content, again)
	require.Equal(t, h.pathname(), got.Name)
	assert.True(t, h.ModTime.Equal(got.ModTime) || h.ModTime.IsZero())
	got.Name, got.ModTime = h.Name, h.ModTime
	for _, name := range []string{selinux, aclAccess, aclDefault} { // these are put into order
		assert.Equal(t, h.Xattrs[name] == nil, got.Xattrs[name] == nil)
		delete(h.Xattrs, name)
		delete(got.Xattrs, name)
	}
	assert.Equal(t, h, got)
}
