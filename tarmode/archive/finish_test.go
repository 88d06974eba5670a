package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFinish(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg}))
	require.NoError(t, w.Close())
	broken := errors.New("the tape is torn")
	for _, c := range []struct {
		name   string
		behind io.Reader
		want   error
	}{
		{"nothing", bytes.NewReader(nil), nil},
		{"padding", bytes.NewReader(make([]byte, 3*sourceBuffer+7)), nil},
		{"another archive", bytes.NewReader(b.Bytes()), ErrCorrupt},
		{"a byte far away", bytes.NewReader(append(make([]byte, 2*sourceBuffer), 1)), ErrCorrupt},
		{"an error", iotest.ErrReader(broken), broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(io.MultiReader(bytes.NewReader(b.Bytes()), c.behind))
			_, err := r.Next()
			require.NoError(t, err)
			_, err = r.Next()
			require.ErrorIs(t, err, io.EOF)
			assert.ErrorIs(t, r.Finish(), c.want)
		})
	}
}
