package tarmode

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// record is one of the stream's.
func record(off, length uint64, data string) []byte {
	out := binary.BigEndian.AppendUint64(nil, off)
	out = binary.BigEndian.AppendUint32(out, uint32(length))
	return append(out, data...)
}

// disk is a file with data at offsets.
func disk(t testing.TB, size int64, data map[int64][]byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, f.Truncate(size))
	for off, content := range data {
		_, err := f.WriteAt(content, off)
		require.NoError(t, err)
	}
	return f
}

func contentOf(t testing.TB, f *os.File) []byte {
	t.Helper()
	content, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return content
}

// memory is a target that knows where it was written.
type memory struct {
	content []byte
	writes  [][2]int64
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.writes = append(m.writes, [2]int64{off, int64(len(p))})
	return copy(m.content[off:], p), nil
}

func TestExtentWriter(t *testing.T) {
	var out bytes.Buffer
	w := NewExtentWriter(&out)
	require.NoError(t, w.WriteExtent(5, []byte("abc")))
	require.NoError(t, w.WriteExtent(8, []byte("d")))
	require.NoError(t, w.WriteExtent(9, nil))
	large := bytes.Repeat([]byte{7}, maxExtent+2)
	require.NoError(t, w.WriteExtent(1<<33, large))
	require.NoError(t, w.Close(1<<34))
	assert.Equal(t, bytes.Join([][]byte{
		record(5, 3, "abc"), record(8, 1, "d"), record(1<<33, maxExtent, string(large[2:])), record(1<<33+maxExtent, 2, "\x07\x07"), record(1<<34, 0, ""),
	}, nil), out.Bytes())
	require.Error(t, w.WriteExtent(1<<35, []byte("x")))
	require.Error(t, w.Close(1<<36))
}

func TestExtentWriterRefuses(t *testing.T) {
	w := NewExtentWriter(io.Discard)
	require.NoError(t, w.WriteExtent(5, []byte("abc")))
	require.ErrorContains(t, w.WriteExtent(7, []byte("x")), "at 7, after 8")
	w = NewExtentWriter(io.Discard)
	require.ErrorContains(t, w.WriteExtent(math.MaxInt64, []byte("x")), "at 9223372036854775807")
	require.Error(t, w.Close(0))
	w = NewExtentWriter(io.Discard)
	require.NoError(t, w.WriteExtent(5, []byte("abc")))
	require.ErrorContains(t, w.Close(7), "data up to 8")
	for _, room := range []int{0, 13, 16} {
		w = NewExtentWriter(&fullDisk{room})
		err := w.WriteExtent(5, []byte("abc"))
		if err == nil {
			err = w.Close(100)
		}
		require.ErrorIs(t, err, errDiskFull)
	}
}

// TestSendAndReceive: what is sent arrives, and nothing but data is sent or written.
func TestSendAndReceive(t *testing.T) {
	unit := bytes.Repeat([]byte{1}, zeroUnit)
	const MiB = 1 << 20
	for _, c := range []struct {
		name string
		size int64
		data map[int64][]byte
		sent int64
	}{
		{"empty", 0, nil, 0},
		{"hole", 10 * MiB, nil, 0},
		{"zeros", 3 * MiB, map[int64][]byte{0: make([]byte, 3*MiB)}, 0},
		{"a byte in the middle", 3 * MiB, map[int64][]byte{MiB: append(make([]byte, 5*zeroUnit+3), append([]byte{1}, make([]byte, MiB)...)...)}, zeroUnit},
		{"a byte at the end", 2*MiB + 5, map[int64][]byte{2*MiB + 4: {9}}, 5},
		{"all", 5*MiB + 1, map[int64][]byte{0: sample(5*MiB + 1)}, 5*MiB + 1},
		{"pieces", 8 * MiB, map[int64][]byte{0: unit, MiB: unit, MiB + zeroUnit: unit, 7*MiB - zeroUnit: append(unit, unit...)}, 5 * zeroUnit},
		{"more than is asked for", 9 * MiB, map[int64][]byte{0: unit}, zeroUnit},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := disk(t, c.size, c.data)
			var stream bytes.Buffer
			var progress []int64
			sent, err := SendExtents(t.Context(), &stream, source, c.size, func(n int64) { progress = append(progress, n) })
			require.NoError(t, err)
			assert.Equal(t, c.sent, sent)
			assert.IsIncreasing(t, append([]int64{-2, -1}, compact(progress)...))
			assert.Equal(t, c.size, progress[len(progress)-1])

			target := disk(t, c.size, nil)
			stream.WriteString("trailer")
			size, written, err := ReceiveExtents(t.Context(), iotest.HalfReader(&stream), target, c.size, nil)
			require.NoError(t, err)
			assert.Equal(t, [2]int64{c.size, c.sent}, [2]int64{size, written})
			assert.True(t, bytes.Equal(contentOf(t, source), contentOf(t, target)))
			assert.Equal(t, "trailer", stream.String(), "what follows is left")
		})
	}
}

// compact drops repetitions.
func compact(values []int64) (out []int64) {
	for i, v := range values {
		if i == 0 || v != values[i-1] {
			out = append(out, v)
		}
	}
	return out
}

func TestSendPart(t *testing.T) {
	source := disk(t, 4<<20, map[int64][]byte{0: sample(1 << 20), 3 << 20: sample(1 << 20)})
	for size, want := range map[int64]int64{100: 100, 2 << 20: 1 << 20, 3<<20 + 7: 1<<20 + 7} {
		var stream bytes.Buffer
		sent, err := SendExtents(t.Context(), &stream, source, size, nil)
		require.NoError(t, err)
		assert.Equal(t, want, sent)
	}
}

func TestSendFails(t *testing.T) {
	source := disk(t, 2<<20, map[int64][]byte{0: sample(2 << 20)})
	_, err := SendExtents(t.Context(), io.Discard, source, 2<<20+1, nil)
	require.ErrorIs(t, err, ErrTruncated)
	_, err = SendExtents(t.Context(), io.Discard, source, -1, nil)
	require.ErrorIs(t, err, ErrTruncated)
	_, err = SendExtents(t.Context(), &fullDisk{100}, source, 2<<20, nil)
	require.ErrorIs(t, err, errDiskFull)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = SendExtents(cancelled, io.Discard, source, 2<<20, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, source.Close())
	_, err = SendExtents(t.Context(), io.Discard, source, 0, nil)
	require.ErrorIs(t, err, os.ErrClosed)
}

// TestSendWithoutHoles sends a source that does not tell its holes and ends early, as
// a block device that is replaced by a smaller one.
func TestSendWithoutHoles(t *testing.T) {
	source := disk(t, 3<<20, map[int64][]byte{1 << 20: {1}})
	for size, want := range map[int64]error{3 << 20: nil, 3<<20 + 1: ErrTruncated} {
		d := &diskSource{file: source, size: size}
		var offsets []int64
		err := eachChunk(t.Context(), d.next, func(off int64, _ []byte) error {
			offsets = append(offsets, off)
			return nil
		})
		require.ErrorIs(t, err, want)
		assert.Equal(t, []int64{0, 1 << 20, 2 << 20}, offsets)
	}
}

func TestReceiveRefuses(t *testing.T) {
	join := func(records ...[]byte) []byte { return bytes.Join(records, nil) }
	for _, c := range []struct {
		name   string
		stream []byte
		want   error
	}{
		{"nothing", nil, ErrTruncated},
		{"half a record", record(0, 5, "")[:7], ErrTruncated},
		{"no data", record(0, 5, ""), ErrTruncated},
		{"half the data", record(0, 5, "abc"), ErrTruncated},
		{"no end", record(0, 5, "abcde"), ErrTruncated},
		{"overlap", join(record(0, 5, "abcde"), record(4, 1, "x"), record(50, 0, "")), ErrCorrupt},
		{"descending", join(record(10, 5, "abcde"), record(4, 1, "x"), record(50, 0, "")), ErrCorrupt},
		{"end before data", join(record(10, 5, "abcde"), record(14, 0, "")), ErrCorrupt},
		{"long record", record(0, maxExtent+1, string(make([]byte, maxExtent+1))), ErrCorrupt},
		{"negative offset", record(1<<63, 1, "x"), ErrCorrupt},
		{"offset that overflows", record(math.MaxInt64, 1, "x"), ErrCorrupt},
		{"data beyond the limit", record(95, 6, "abcdef"), ErrTooLarge},
		{"disk beyond the limit", join(record(0, 1, "a"), record(101, 0, "")), ErrTooLarge},
		{"empty disk beyond the limit", record(1<<40, 0, ""), ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := &memory{content: make([]byte, 100)}
			size, _, err := ReceiveExtents(t.Context(), bytes.NewReader(c.stream), target, 100, nil)
			require.ErrorIs(t, err, c.want)
			assert.Zero(t, size)
		})
	}
	size, written, err := ReceiveExtents(t.Context(), bytes.NewReader(join(record(95, 5, "abcde"), record(100, 0, ""))),
		&memory{content: make([]byte, 100)}, 100, nil)
	require.NoError(t, err)
	assert.Equal(t, [2]int64{100, 5}, [2]int64{size, written})
}

func TestReceiveFails(t *testing.T) {
	broken := errors.New("connection reset")
	stream := append(record(0, 5, "abcde"), record(50, 0, "")...)
	_, written, err := ReceiveExtents(t.Context(), io.MultiReader(bytes.NewReader(stream[:17]), iotest.ErrReader(broken)),
		&memory{content: make([]byte, 100)}, 100, nil)
	require.ErrorIs(t, err, broken)
	assert.Equal(t, int64(5), written)
	closed := disk(t, 100, nil)
	require.NoError(t, closed.Close())
	_, _, err = ReceiveExtents(t.Context(), bytes.NewReader(stream), closed, 100, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = ReceiveExtents(cancelled, bytes.NewReader(stream), closed, 100, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestCopySparse(t *testing.T) {
	const MiB = 1 << 20
	stream := make([]byte, 3*MiB+100)
	copy(stream[zeroUnit:], sample(2*zeroUnit))
	stream[2*MiB-1], stream[2*MiB], stream[len(stream)-1] = 1, 2, 3
	target := &memory{content: make([]byte, len(stream))}
	var progress []int64
	size, written, err := CopySparse(t.Context(), iotest.HalfReader(bytes.NewReader(stream)), target, int64(len(stream)),
		func(n int64) { progress = append(progress, n) })
	require.NoError(t, err)
	assert.True(t, bytes.Equal(stream, target.content))
	assert.Equal(t, [2]int64{3*MiB + 100, 4*zeroUnit + 100}, [2]int64{size, written})
	assert.Equal(t, [][2]int64{{zeroUnit, 2 * zeroUnit}, {2*MiB - zeroUnit, zeroUnit}, {2 * MiB, zeroUnit}, {3 * MiB, 100}}, target.writes)
	assert.Equal(t, []int64{MiB, 2 * MiB, 3 * MiB, 3*MiB + 100}, progress)
}

func TestCopySparseFails(t *testing.T) {
	target := &memory{content: make([]byte, 100)}
	for _, extra := range []byte{0, 1} {
		_, _, err := CopySparse(t.Context(), bytes.NewReader(append(make([]byte, 100), extra)), target, 100, nil)
		require.ErrorIs(t, err, ErrTooLarge)
	}
	size, written, err := CopySparse(t.Context(), bytes.NewReader(make([]byte, 100)), target, 100, nil)
	require.NoError(t, err)
	assert.Equal(t, [2]int64{100, 0}, [2]int64{size, written})
	_, _, err = CopySparse(t.Context(), io.MultiReader(bytes.NewReader([]byte("ab")), iotest.ErrReader(ErrTruncated)), target, 100, nil)
	require.ErrorIs(t, err, ErrTruncated)
	assert.Equal(t, "ab", string(target.content[:2]), "data in front of the error is written")
	closed := disk(t, 100, nil)
	require.NoError(t, closed.Close())
	_, _, err = CopySparse(t.Context(), bytes.NewReader([]byte("ab")), closed, 100, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = CopySparse(cancelled, endlessPipe([]byte("ab")), target, 100, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// FuzzReceiveExtents: whatever comes in, nothing is written outside the limit, and a
// stream that is accepted is told correctly.
func FuzzReceiveExtents(f *testing.F) {
	f.Add(append(record(5, 3, "abc"), record(64, 0, "")...))
	f.Add(append(record(0, 3, "abc"), record(3, 3, "def")...))
	f.Add(record(math.MaxUint64, math.MaxUint32, "x"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		const limit = 64
		target := &memory{content: make([]byte, limit)}
		size, written, err := ReceiveExtents(t.Context(), bytes.NewReader(stream), target, limit, nil)
		var total int64
		for _, w := range target.writes {
			require.LessOrEqual(t, w[0]+w[1], int64(limit))
			total += w[1]
		}
		assert.Equal(t, total, written)
		if err != nil {
			known := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrTooLarge)
			require.True(t, known, "%v", err)
			return
		}
		assert.LessOrEqual(t, written, size)
		assert.LessOrEqual(t, size, int64(limit))
	})
}
