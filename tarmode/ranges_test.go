package tarmode

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writerAt is memory of a fixed size.
type writerAt []byte

func (w writerAt) WriteAt(p []byte, off int64) (int, error) { return copy(w[off:], p), nil }

// readerAt tells what was read.
type readerAt struct {
	io.ReaderAt
	read func(off int64, n int)
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	r.read(off, n)
	return n, err
}

func TestCopyRanges(t *testing.T) {
	disk := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	clear(disk[3<<20 : 4<<20]) // zeros within a range
	want := make([]byte, len(disk))
	ranges := []Range{{0, 5}, {1<<20 + 7, 3 << 20}, {8<<20 - 9, 9}}
	for _, r := range ranges {
		copy(want[r.Off:r.Off+r.Length], disk[r.Off:])
	}
	got := make(writerAt, len(disk))
	var read int64
	source := readerAt{bytes.NewReader(disk), func(off int64, n int) {
		assert.Condition(t, func() bool {
			for _, r := range ranges {
				if off >= r.Off && off+int64(n) <= r.Off+r.Length {
					return true
				}
			}
			return false
		}, "%d bytes at %d are in no range", n, off)
		read += int64(n)
	}}
	written, err := CopyRanges(t.Context(), source, ranges, got, nil)
	require.NoError(t, err)
	assert.Equal(t, want, []byte(got))
	assert.Equal(t, int64(3<<20+14), read)
	assert.Less(t, written, read)

	_, err = CopyRanges(t.Context(), bytes.NewReader(disk), []Range{{8<<20 - 1, 2}}, got, nil)
	require.ErrorIs(t, err, ErrTruncated)
	_, err = CopyRanges(t.Context(), bytes.NewReader(disk), nil, got, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = CopyRanges(ctx, bytes.NewReader(disk), ranges, got, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestSendStream(t *testing.T) {
	disk := make([]byte, 3<<20+100)
	copy(disk[1<<20:], "data")
	copy(disk[len(disk)-4:], "last")
	var stream bytes.Buffer
	size, sent, err := SendStream(t.Context(), &stream, bytes.NewReader(disk), nil)
	require.NoError(t, err)
	assert.Equal(t, int64(len(disk)), size)
	assert.Less(t, sent, int64(1<<20))
	got := make(writerAt, len(disk))
	size, _, err = ReceiveExtents(t.Context(), &stream, got, int64(len(disk)), nil)
	require.NoError(t, err)
	assert.Equal(t, int64(len(disk)), size)
	assert.Equal(t, disk, []byte(got))
	_, _, err = SendStream(t.Context(), &stream, io.MultiReader(bytes.NewReader(disk), failing{}), nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
