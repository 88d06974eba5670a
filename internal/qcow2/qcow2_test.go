package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// header is the beginning of a QCOW2 file of that version, 8 GiB large.
func header(version uint32, change func(raw []byte)) []byte {
	raw := make([]byte, 104)
	copy(raw, Magic)
	binary.BigEndian.PutUint32(raw[4:], version)
	binary.BigEndian.PutUint32(raw[20:], 16)
	binary.BigEndian.PutUint64(raw[24:], 8<<30)
	if change != nil {
		change(raw)
	}
	return raw
}

func TestReadHeader(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want Header
	}{
		"version 2":               {header(2, nil), Header{Version: 2, Size: 8 << 30}},
		"version 3":               {header(3, nil), Header{Version: 3, Size: 8 << 30}},
		"version 2 has no more":   {header(2, func(raw []byte) { raw[79] = 4 })[:headerSize], Header{Version: 2, Size: 8 << 30}},
		"a backing file":          {header(3, func(raw []byte) { raw[15] = 200; raw[19] = 11 }), Header{Version: 3, Size: 8 << 30, Backing: true}},
		"only its place":          {header(3, func(raw []byte) { raw[15] = 200 }), Header{Version: 3, Size: 8 << 30, Backing: true}},
		"only its length":         {header(3, func(raw []byte) { raw[19] = 11 }), Header{Version: 3, Size: 8 << 30, Backing: true}},
		"LUKS":                    {header(3, func(raw []byte) { raw[35] = 2 }), Header{Version: 3, Size: 8 << 30, Encrypted: true}},
		"an external data file":   {header(3, func(raw []byte) { raw[79] = 4 }), Header{Version: 3, Size: 8 << 30, ExternalData: true}},
		"dirty and zstd are read": {header(3, func(raw []byte) { raw[79] = 1 | 8 }), Header{Version: 3, Size: 8 << 30}},
	} {
		h, err := ReadHeader(bytes.NewReader(c.raw))
		require.NoError(t, err, name)
		assert.Equal(t, c.want, h, name)
		if refused := h.Backing || h.Encrypted || h.ExternalData; refused {
			require.ErrorIs(t, h.Check(), ErrRefused, name)
		} else {
			require.NoError(t, h.Check(), name)
		}
	}
	for name, raw := range map[string][]byte{
		"empty": nil, "raw": make([]byte, 512), "version 1": header(1, nil), "version 4": header(4, nil), "cut off": header(2, nil)[:71],
		"cut off in its features": header(3, nil)[:79],
		"no size":                 header(3, func(raw []byte) { copy(raw[24:], make([]byte, 8)) }),
		"more than there is":      header(3, func(raw []byte) { raw[24] = 0x80 }),
	} {
		_, err := ReadHeader(bytes.NewReader(raw))
		require.ErrorIs(t, err, ErrFormat, name)
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(header(2, nil))
	f.Add(header(3, func(raw []byte) { raw[79] = 4 }))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := ReadHeader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		assert.Positive(t, h.Size)
		assert.Equal(t, Magic, string(raw[:4]))
	})
}

// runner keeps what it is asked to run, and prints what qemu-img would.
type runner struct {
	cmd run.Cmd
	err error
}

func (r *runner) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	r.cmd = c
	for _, text := range []string{"    (0.00/100%)\r    (25.", "00/100%)\r", "    (100.00/100%)\r    (x/100%)\r"} {
		if _, err := c.Stdout.Write([]byte(text)); err != nil {
			return run.Result{}, err
		}
	}
	return run.Result{}, r.err
}

func files(t *testing.T, raw []byte) (from, to *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	from, err := os.Open(path)
	require.NoError(t, err)
	to, err = os.Create(path + ".raw")
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = from.Close(), to.Close() })
	return from, to
}

func TestConvertNamesTheFormatAndBoundsTheProgram(t *testing.T) {
	from, to := files(t, header(3, nil))
	r := &runner{}
	var told []int64
	h, err := Convert(t.Context(), r, from, to, 8<<30, func(n int64) { told = append(told, n) })
	require.NoError(t, err)
	assert.Equal(t, int64(8<<30), h.Size)
	assert.Equal(t, []int64{0, 2 << 30, 8 << 30}, told)
	assert.Equal(t, "prlimit", r.cmd.Path)
	assert.Equal(t, []string{
		"--as=1073741824", "--cpu=2108", "--core=0", "--fsize=8589934592", "qemu-img", "convert", "-p", "-n", "-O", "raw",
		`json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"/proc/self/fd/3"}}`, "/proc/self/fd/4",
	}, r.cmd.Args)
	assert.Equal(t, []*os.File{from, to}, r.cmd.Files)
	assert.True(t, r.cmd.DiesWithCaller)
	st, err := to.Stat()
	require.NoError(t, err)
	assert.Equal(t, int64(8<<30), st.Size())
}

func TestMakeNamesTheFormatAndBoundsTheProgram(t *testing.T) {
	from, to := files(t, header(3, nil))
	r := &runner{}
	require.NoError(t, Make(t.Context(), r, from, to, 8<<30, func(int64) {}))
	assert.Equal(t, []string{
		"--as=1073741824", "--cpu=2108", "--core=0", "--fsize=9730785280", "qemu-img", "convert", "-p", "-O", "qcow2",
		`json:{"driver":"raw","file":{"driver":"file","filename":"/proc/self/fd/3"}}`, "/proc/self/fd/4",
	}, r.cmd.Args, "what the disk begins with is not looked at")
	assert.Equal(t, []*os.File{from, to}, r.cmd.Files)
	r.err = errors.New("no space left")
	require.ErrorContains(t, Make(t.Context(), r, from, to, 8<<30, func(int64) {}), "no space left")
}

func TestConvertRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		raw   []byte
		limit int64
		want  error
	}{
		"a backing file": {header(3, func(raw []byte) { raw[15] = 200; raw[19] = 11 }), 8 << 30, ErrRefused},
		"another format": {make([]byte, 4096), 8 << 30, ErrFormat},
		"too large":      {header(3, nil), 8<<30 - 1, ErrRefused},
	} {
		from, to := files(t, c.raw)
		r := &runner{}
		_, err := Convert(t.Context(), r, from, to, c.limit, func(int64) {})
		require.ErrorIs(t, err, c.want, name)
		require.ErrorContains(t, err, from.Name())
		assert.Empty(t, r.cmd.Path, "%s: nothing was run", name)
	}
	from, to := files(t, header(3, nil))
	failed := errors.New("no space left")
	_, err := Convert(t.Context(), &runner{err: failed}, from, to, 8<<30, func(int64) {})
	require.ErrorIs(t, err, failed)
}
