package tarmode

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSniff(t *testing.T) {
	for head, want := range map[string]Compression{
		"":                         None,
		"\x1f":                     None,
		"\x1f\x8b":                 Gzip,
		"\x28\xb5\x2f\xfd\x04":     Zstd,
		"\x50\x2a\x4d\x18\x04":     Zstd,
		"\x5f\x2a\x4d\x18\x04":     Zstd,
		"\x60\x2a\x4d\x18\x04":     None,
		"\x50\x2a\x4d":             None,
		"BZh9":                     Bzip2,
		"\xfd7zXZ\x00\x00":         Xz,
		"etc/\x00\x00\x00":         None,
		strings.Repeat("\x00", 16): None,
	} {
		assert.Equal(t, want, Sniff([]byte(head)), "%q", head)
	}
	assert.Equal(t, "none gzip zstd bzip2 xz compression(9)",
		strings.Join([]string{None.String(), Gzip.String(), Zstd.String(), Bzip2.String(), Xz.String(), Compression(9).String()}, " "))
}

// sample is text that compresses somewhat, longer than the buffers ahead.
func sample(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	out := make([]byte, size)
	for i := range out {
		out[i] = byte('a' + random.IntN(8))
	}
	return out
}

func compressed(t testing.TB, c Compression, level int, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewCompressor(&out, c, level)
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func decompressed(t testing.TB, c Compression, r io.Reader) ([]byte, error) {
	t.Helper()
	d, err := NewDecompressor(r, c)
	require.NoError(t, err)
	out, err := io.ReadAll(d)
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	return out, err
}

func TestCompressionRoundTrip(t *testing.T) {
	content := sample(3<<20 + 17)
	for _, c := range []Compression{None, Gzip, Zstd} {
		for _, level := range []int{0, 3, 9} {
			stream := compressed(t, c, level, content)
			assert.Equal(t, c, Sniff(stream))
			got, err := decompressed(t, c, bytes.NewReader(stream))
			require.NoError(t, err)
			require.True(t, bytes.Equal(content, got), "%v level %d", c, level)
		}
		got, err := decompressed(t, c, iotest.OneByteReader(bytes.NewReader(compressed(t, c, 1, nil))))
		require.NoError(t, err)
		assert.Empty(t, got)
	}
	assert.Equal(t, compressed(t, Gzip, 0, content), compressed(t, Gzip, 1, content))
	assert.Equal(t, compressed(t, Zstd, 0, content), compressed(t, Zstd, 1, content))
}

// bzip2ed is "hello hello hello\n".
const bzip2ed = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xe5\xb5\xf3\x09\x00\x00\x04\x51\x00\x00\x10\x40\x00" +
	"\x02\x44\xa0\x00\x21\xb5\x18\x0c\x02\x90\x69\xc2\xa3\x0b\xb9\x22\x9c\x28\x48\x72\xda\xf9\x84\x80"

func TestStreamsInARow(t *testing.T) {
	first, second := sample(100), sample(3<<20)
	both := append(bytes.Clone(first), second...)
	for _, c := range []Compression{Gzip, Zstd} {
		stream := append(compressed(t, c, 1, first), compressed(t, c, 1, second)...)
		got, err := decompressed(t, c, bytes.NewReader(stream))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(both, got))
	}
	skipped := append([]byte("\x53\x2a\x4d\x18\x03\x00\x00\x00abc"), compressed(t, Zstd, 1, first)...)
	got, err := decompressed(t, Sniff(skipped), bytes.NewReader(skipped))
	require.NoError(t, err)
	assert.Equal(t, first, got)
}

func TestBehindTheEnd(t *testing.T) {
	content := sample(1000)
	gzipped, zstded := compressed(t, Gzip, 1, content), compressed(t, Zstd, 1, content)
	for _, c := range []struct {
		name   string
		c      Compression
		stream []byte
		tail   string
		want   error
	}{
		{"zeros", Gzip, gzipped, strings.Repeat("\x00", 10000), nil},
		{"zeros and more", Gzip, gzipped, strings.Repeat("\x00", 10000) + "x", ErrCorrupt},
		{"a member behind zeros", Gzip, gzipped, "\x00" + string(gzipped), ErrCorrupt},
		{"garbage", Gzip, gzipped, "garbage which is long enough", ErrCorrupt},
		{"a cut member", Gzip, gzipped, "\x1f\x8b\x08", ErrTruncated},
		{"garbage", Zstd, zstded, "garbage", ErrCorrupt},
		{"garbage", Bzip2, []byte(bzip2ed), "garbage", ErrCorrupt},
	} {
		t.Run(c.c.String()+" "+c.name, func(t *testing.T) {
			got, err := decompressed(t, c.c, bytes.NewReader(append(bytes.Clone(c.stream), c.tail...)))
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, content, got)
		})
	}
}

func TestTruncatedStreams(t *testing.T) {
	content := sample(300)
	for c, stream := range map[Compression][]byte{
		Gzip: compressed(t, Gzip, 1, content), Zstd: compressed(t, Zstd, 1, content), Bzip2: []byte(bzip2ed),
	} {
		for length := range stream {
			_, err := decompressed(t, c, bytes.NewReader(stream[:length]))
			require.ErrorIs(t, err, ErrTruncated, "%v, %d of %d bytes", c, length, len(stream))
		}
		_, err := decompressed(t, c, bytes.NewReader(stream))
		require.NoError(t, err)
	}
}

// TestDamagedStreams flips a bit of every byte: no panic, and content never changes unnoticed.
func TestDamagedStreams(t *testing.T) {
	content := sample(300)
	for c, stream := range map[Compression][]byte{Gzip: compressed(t, Gzip, 1, content), Zstd: compressed(t, Zstd, 1, content)} {
		for at := range stream {
			bit := byte(1) << (at % 8)
			stream[at] ^= bit
			got, err := decompressed(t, c, bytes.NewReader(stream))
			stream[at] ^= bit
			if err != nil {
				known := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrUnsupported)
				require.True(t, known, "%v byte %d: %v", c, at, err)
				continue
			}
			require.Equal(t, content, got, "%v byte %d", c, at)
		}
	}
}

func TestErrorOfTheSource(t *testing.T) {
	broken := errors.New("connection reset")
	for _, c := range []Compression{Gzip, Zstd} {
		stream := compressed(t, c, 1, sample(1<<20))
		for _, length := range []int{0, 5, 1000, len(stream) - 2} {
			_, err := decompressed(t, c, io.MultiReader(bytes.NewReader(stream[:length]), iotest.ErrReader(broken)))
			require.ErrorIs(t, err, broken, "%v after %d", c, length)
			require.NotErrorIs(t, err, ErrTruncated)
			require.NotErrorIs(t, err, ErrCorrupt)
		}
	}
}

func TestUnsupportedStreams(t *testing.T) {
	_, err := NewDecompressor(nil, Xz)
	require.ErrorIs(t, err, ErrUnsupported)
	assert.ErrorContains(t, err, "recompress with zstd or gzip")
	_, err = NewDecompressor(nil, Compression(9))
	require.ErrorIs(t, err, ErrUnsupported)
	for _, c := range []Compression{Bzip2, Xz} {
		_, err = NewCompressor(io.Discard, c, 0)
		require.ErrorIs(t, err, ErrUnsupported)
	}
	for _, level := range []int{-1, 10} {
		_, err = NewCompressor(io.Discard, Gzip, level)
		require.ErrorContains(t, err, "1 to 9")
	}
	for _, level := range []int{-1, 23} {
		_, err = NewCompressor(io.Discard, Zstd, level)
		require.ErrorContains(t, err, "1 to 22")
	}
}

func TestLargeWindow(t *testing.T) {
	for window, want := range map[int]error{maxWindow: nil, maxWindow * 2: ErrUnsupported} {
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out, zstd.WithWindowSize(window))
		require.NoError(t, err)
		_, err = w.Write(sample(1000))
		require.NoError(t, err)
		require.NoError(t, w.Flush()) // or it would see that a smaller window is enough
		require.NoError(t, w.Close())
		_, err = decompressed(t, Zstd, &out)
		require.ErrorIs(t, err, want)
	}
}

// endlessPipe is a source that has more.
func endlessPipe(stream []byte) io.Reader {
	r, w := io.Pipe()
	go func() {
		for {
			if _, err := w.Write(stream); err != nil {
				return
			}
		}
	}()
	return r
}

func TestCloseEarly(t *testing.T) {
	for _, c := range []Compression{Gzip, Zstd} {
		d, err := NewDecompressor(endlessPipe(compressed(t, c, 1, sample(1<<20))), c)
		require.NoError(t, err)
		_, err = io.ReadFull(d, make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, d.Close())
		_, err = d.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, io.EOF)
	}
}

// fullDisk takes some bytes and then no more.
type fullDisk struct{ left int }

var errDiskFull = errors.New("no space left on device")

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errDiskFull
	}
	return len(p), nil
}

func TestCompressorOntoFullDisk(t *testing.T) {
	content := sample(1 << 20)
	for _, c := range []Compression{None, Gzip, Zstd} {
		for _, room := range []int{0, 1 << 20} {
			w, err := NewCompressor(&fullDisk{room}, c, 1)
			require.NoError(t, err)
			for i := 0; i < 20 && err == nil; i++ {
				_, err = w.Write(content)
			}
			if closing := w.Close(); err == nil {
				err = closing
			}
			require.ErrorIs(t, err, errDiskFull, "%v", c)
		}
	}
}

// TestGzipLevelOne: level 1 compresses no worse than the program's.
func TestGzipLevelOne(t *testing.T) {
	path, err := exec.LookPath("go")
	require.NoError(t, err)
	theirs, err := exec.Command("gzip", "-1", "-c", path).Output()
	require.NoError(t, err)
	content, err := decompressed(t, Gzip, bytes.NewReader(theirs))
	require.NoError(t, err)
	assert.LessOrEqual(t, len(compressed(t, Gzip, 1, content)), len(theirs))
}

func FuzzDecompressor(f *testing.F) {
	f.Add(compressed(f, Gzip, 1, sample(50)), byte(Gzip))
	f.Add(append(compressed(f, Gzip, 1, nil), 0, 0), byte(Gzip))
	f.Add(compressed(f, Zstd, 1, sample(50)), byte(Zstd))
	f.Add([]byte(bzip2ed), byte(Bzip2))
	f.Fuzz(func(t *testing.T, stream []byte, c byte) {
		d, err := NewDecompressor(bytes.NewReader(stream), Compression(c%4))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, io.LimitReader(d, 16<<20))
		known := err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrUnsupported)
		require.True(t, known, "%v", err)
		require.NoError(t, d.Close())
	})
}
