package inflate

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand"
	"os"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func deflated(t testing.TB, level int, content []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// agree compares with compress/flate; behind is what has to be left of the source.
func agree(t testing.TB, stream []byte) {
	source := bytes.NewReader(stream)
	want, wantErr := io.ReadAll(flate.NewReader(source))
	r := NewReader(bytes.NewReader(stream))
	got, err := io.ReadAll(r)
	require.Equal(t, wantErr == nil, err == nil, "%v, but %v", wantErr, err)
	if err != nil {
		return
	}
	require.True(t, bytes.Equal(want, got))
	require.Equal(t, source.Len(), r.Buffered())
}

func samples(t testing.TB) [][]byte {
	executable, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(executable)
	require.NoError(t, err)
	noise := make([]byte, 40<<10)
	rand.New(rand.NewSource(1)).Read(noise)
	all := [][]byte{nil, program[:1<<20], bytes.Repeat(noise[:32<<10], 20), noise, make([]byte, 1<<20)}
	for period := 1; period < 20; period++ {
		all = append(all, bytes.Repeat(noise[:period], 50000))
	}
	return all
}

func TestAgreesWithFlate(t *testing.T) {
	for _, content := range samples(t) {
		for _, level := range []int{-2, 0, 1, 6, 9} {
			agree(t, append(deflated(t, level, content), make([]byte, 100)...))
		}
	}
}

func TestSmallReads(t *testing.T) {
	content := samples(t)[1][:300<<10]
	got, err := io.ReadAll(NewReader(iotest.HalfReader(iotest.OneByteReader(bytes.NewReader(deflated(t, 6, content))))))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
}

func TestTruncatedAndDamaged(t *testing.T) {
	for _, level := range []int{-2, 0, 1, 9} {
		stream := deflated(t, level, samples(t)[1][:2500])
		for i := range stream {
			_, err := io.ReadAll(NewReader(bytes.NewReader(stream[:i])))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			stream[i] ^= 1 << (i % 8)
			agree(t, append(bytes.Clone(stream), make([]byte, 100)...))
			stream[i] ^= 1 << (i % 8)
		}
	}
}

func FuzzInflate(f *testing.F) {
	for _, level := range []int{-2, 0, 1, 9} {
		f.Add(deflated(f, level, []byte("to be or not to be, or to be not: a small stream of bytes")))
	}
	f.Fuzz(func(t *testing.T, stream []byte) { agree(t, stream) })
}
