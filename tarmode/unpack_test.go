package tarmode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/tarmode/archive"
)

func TestUnpackKinds(t *testing.T) {
	p := newPlace(t)
	big := strings.Repeat("0123456789abcdef", 100_000)
	stats, err := p.unpack(t, archiveOf(t,
		dirItem("./", 0o750),
		dirItem("./etc/", 0o500),
		fileItem("./etc/hosts", "127.0.0.1"),
		fileItem("etc/big", big),
		linkItem(archive.Hard, "hosts", "./etc/hosts"),
		linkItem(archive.Symlink, "etc/link", "/nowhere/at/all"),
		linkItem(archive.Hard, "second", "etc/link"),
		newItem(archive.FIFO, "fifo"),
		fileItem("missing/parents/empty", ""),
	), UnpackOptions{MaxSize: 1 << 30, MaxMembers: 9})
	require.NoError(t, err)
	assert.EqualValues(t, 9, stats.Members)
	assert.EqualValues(t, len(big)+9, stats.Bytes)

	assert.Equal(t, "127.0.0.1", p.read(t, "hosts"))
	assert.Equal(t, big, p.read(t, "etc/big"))
	assert.Equal(t, p.stat(t, "hosts").Ino, p.stat(t, "etc/hosts").Ino)
	assert.Equal(t, p.stat(t, "second").Ino, p.stat(t, "etc/link").Ino)
	target, err := os.Readlink(p.path + "/etc/link")
	require.NoError(t, err)
	assert.Equal(t, "/nowhere/at/all", target)
	for name, mode := range map[string]uint32{
		".": unix.S_IFDIR | 0o750, "etc": unix.S_IFDIR | 0o500, "fifo": unix.S_IFIFO | 0o644,
		"hosts": unix.S_IFREG | 0o644, "etc/link": unix.S_IFLNK | 0o777, "missing": unix.S_IFDIR | 0o755,
	} {
		assert.Equal(t, mode, p.stat(t, name).Mode, name)
	}
	for _, name := range []string{".", "etc", "fifo", "etc/hosts", "etc/link", "etc/big"} {
		assert.Equal(t, unix.Timespec{Sec: 1234567890, Nsec: 123456789}, p.stat(t, name).Mtim, name)
	}
}

func TestUnpackGlobal(t *testing.T) {
	var out bytes.Buffer
	w := archive.NewWriter(&out)
	require.NoError(t, w.WriteGlobal(map[string]string{"ONECLVM.fs.label": "root"}))
	require.NoError(t, w.Close())
	stats, err := newPlace(t).unpack(t, out.Bytes(), UnpackOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"ONECLVM.fs.label": "root"}, stats.Global)
}

func TestUnpackModes(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	p := newPlace(t)
	var items []item
	modes := []uint32{0o4755, 0o2755, 0o1777, 0o6777, 0o000, 0o666}
	for _, mode := range modes {
		f, d, n := fileItem(fmt.Sprintf("f%o", mode), "x"), dirItem(fmt.Sprintf("d%o", mode), mode), newItem(archive.FIFO, fmt.Sprintf("n%o", mode))
		f.Mode, n.Mode = mode, mode
		items = append(items, f, d, n)
	}
	_, err := p.unpack(t, archiveOf(t, append(items, fileItem("parent/x", ""))...), UnpackOptions{})
	require.NoError(t, err)
	for _, mode := range modes {
		for _, kind := range []string{"f", "d", "n"} {
			name := fmt.Sprintf("%s%o", kind, mode)
			assert.Equal(t, mode, p.stat(t, name).Mode&0o7777, name)
		}
	}
	assert.EqualValues(t, 0o755, p.stat(t, "parent").Mode&0o7777, "whatever the umask is")
}

func TestUnpackSparse(t *testing.T) {
	p := newPlace(t)
	small := newItem(archive.File, "small")
	small.Size = 1 << 30
	small.Sparse = []archive.Extent{{Offset: 4096, Length: 4096}, {Offset: 1 << 29, Length: 512}}
	small.body = strings.Repeat("a", 4096) + strings.Repeat("b", 512)
	large := newItem(archive.File, "large")
	large.Size = 1 << 30
	large.Sparse = []archive.Extent{{Offset: 0, Length: 1 << 20}, {Offset: 1 << 29, Length: 10 << 20}}
	large.body = strings.Repeat("c", 1<<20) + strings.Repeat("d", 10<<20)
	_, err := p.unpack(t, archiveOf(t, small, large, hole("hole", 5<<30)), UnpackOptions{MaxSize: 6 << 30})
	require.NoError(t, err)
	for name, blocks := range map[string]int64{"small": 8192, "large": 11 << 20, "hole": 0} {
		assert.LessOrEqual(t, p.stat(t, name).Blocks*512, blocks+64<<10, "%s: holes stay holes", name)
	}
	assert.EqualValues(t, 5<<30, p.stat(t, "hole").Size)
	for name, want := range map[string]map[int64]string{
		"small": {0: "\x00", 4096: "a", 8191: "a", 8192: "\x00", 1 << 29: "b", 1<<29 + 512: "\x00", 1<<30 - 1: "\x00"},
		"large": {0: "c", 1<<20 - 1: "c", 1 << 20: "\x00", 1 << 29: "d", 1<<29 + 10<<20 - 1: "d", 1<<29 + 10<<20: "\x00"},
	} {
		f, err := os.Open(p.path + "/" + name)
		require.NoError(t, err)
		defer f.Close()
		for offset, text := range want {
			got := make([]byte, 1)
			_, err := f.ReadAt(got, offset)
			require.NoError(t, err)
			assert.Equal(t, text, string(got), "%s at %d", name, offset)
		}
	}
}

// Headers that take much memory go one at a time.
func TestUnpackHeavyHeaders(t *testing.T) {
	p := newPlace(t)
	var items []item
	for i := range 5 {
		comb := newItem(archive.File, fmt.Sprintf("comb%d", i))
		var body []byte
		for tooth := range int64(6000) {
			comb.Sparse = append(comb.Sparse, archive.Extent{Offset: tooth * 1024, Length: 512})
			body = append(body, bytes.Repeat([]byte{byte('a' + tooth%26)}, 512)...)
		}
		comb.Size, comb.body = 6000*1024, string(body)
		items = append(items, comb, fileItem(fmt.Sprintf("light%d", i), "x"))
	}
	_, err := p.unpack(t, archiveOf(t, items...), UnpackOptions{})
	require.NoError(t, err)
	got := p.read(t, "comb4")
	for tooth := range 6000 {
		require.Equal(t, byte('a'+tooth%26), got[tooth*1024+511])
		require.Equal(t, byte(0), got[tooth*1024+512])
	}
}

func TestUnpackReplaces(t *testing.T) {
	p := newPlace(t)
	_, err := p.unpack(t, archiveOf(t,
		fileItem("a", "old"), fileItem("a", "new"),
		linkItem(archive.Symlink, "b", "a"), fileItem("b", "not through the link"),
		fileItem("c", "file"), dirItem("c", 0o755), fileItem("c/d", "below"),
		linkItem(archive.Symlink, "s", "c"), dirItem("s", 0o711), fileItem("s/own", ""),
		dirItem("e", 0o700), fileItem("e", "an empty directory was here"),
		dirItem("m", 0o700), fileItem("m/1", "1"), dirItem("m", 0o755), fileItem("m/2", "2"),
		fileItem("h1", "h"), linkItem(archive.Hard, "h2", "h1"), linkItem(archive.Hard, "h2", "h1"),
		linkItem(archive.Hard, "h1", "h1"), fileItem("h2", "apart"),
		dirItem("l", 0o700), linkItem(archive.Hard, "l", "h1"),
	), UnpackOptions{})
	require.NoError(t, err)
	for name, want := range map[string]string{
		"a": "new", "b": "not through the link", "c/d": "below", "e": "an empty directory was here",
		"m/1": "1", "m/2": "2", "h1": "h", "h2": "apart", "l": "h", "s/own": "",
	} {
		assert.Equal(t, want, p.read(t, name), name)
	}
	assert.EqualValues(t, unix.S_IFDIR|0o711, p.stat(t, "s").Mode)
	assert.EqualValues(t, 0o755, p.stat(t, "m").Mode&0o7777, "the later directory counts")
	assert.Equal(t, unix.Timespec{Sec: 1234567890, Nsec: 123456789}, p.stat(t, "m").Mtim)
	_, err = os.Stat(p.path + "/c/own")
	assert.ErrorIs(t, err, os.ErrNotExist, "nothing went through the replaced link")
}

// More directories than are kept in memory, and the first ones are entered again.
func TestUnpackManyDirectories(t *testing.T) {
	p := newPlace(t)
	const dirs = 20_000
	items := []item{dirItem("./", 0o711)}
	for i := range dirs {
		items = append(items, dirItem(fmt.Sprintf("d%d", i%100), 0o750), dirItem(fmt.Sprintf("d%d/%d", i%100, i), 0o2711))
	}
	for i := range dirs / 60 {
		items = append(items, fileItem(fmt.Sprintf("d%d/%d/late", i%100, i), "late"), fileItem(fmt.Sprintf("late%d", i), ""))
	}
	_, err := p.unpack(t, archiveOf(t, items...), UnpackOptions{})
	require.NoError(t, err)
	want := unix.Timespec{Sec: 1234567890, Nsec: 123456789}
	for i := range dirs {
		name := fmt.Sprintf("d%d/%d", i%100, i)
		st := p.stat(t, name)
		require.Equal(t, want, st.Mtim, name)
		require.EqualValues(t, 0o2711, st.Mode&0o7777, name)
	}
	assert.Equal(t, want, p.stat(t, "d7").Mtim)
	assert.Equal(t, want, p.stat(t, ".").Mtim)
	assert.EqualValues(t, 0o711, p.stat(t, ".").Mode&0o7777)
}

func TestUnpackDeepTree(t *testing.T) {
	p := newPlace(t)
	deep := strings.Repeat("d/", 500)
	_, err := p.unpack(t, archiveOf(t, fileItem(deep+"a", "a"), fileItem(deep+"b", "b"), dirItem(deep, 0o700)), UnpackOptions{})
	require.NoError(t, err)
	assert.Equal(t, "b", p.read(t, deep+"b"))
}

func TestUnpackFailures(t *testing.T) {
	xattr := func(kind archive.Type) item {
		i := newItem(kind, "odd")
		i.Xattrs = map[string][]byte{"nonsense.key": []byte("v")}
		if kind == archive.Symlink {
			i.Linkname = "x"
		}
		return i
	}
	full := archiveOf(t, fileItem("a", "a"), fileItem("big", strings.Repeat("x", 1<<20)), fileItem("b", "b"))
	for name, test := range map[string]struct {
		data []byte
		opt  UnpackOptions
		err  error
		text string
	}{
		"member larger than the volume": {full, UnpackOptions{MaxSize: 1 << 19}, ErrTooLarge, `member "big"`},
		"all together larger":           {full, UnpackOptions{MaxSize: 1<<20 + 1}, ErrTooLarge, `member "b"`},
		"too many members":              {full, UnpackOptions{MaxMembers: 2}, ErrTooLarge, `member "b"`},
		"cut in a large file":           {full[:1<<19], UnpackOptions{}, ErrTruncated, `member "big"`},
		"cut in a small file":           {full[:1536], UnpackOptions{}, ErrTruncated, `member "a"`},
		"no end mark":                   {full[:2048], UnpackOptions{}, ErrTruncated, "after 1 members"},
		"damaged":                       {append([]byte("x"), full...), UnpackOptions{}, ErrCorrupt, "after 0 members"},
		"xattr of a file":               {archiveOf(t, xattr(archive.File)), UnpackOptions{}, syscall.EOPNOTSUPP, `member "odd": set xattr nonsense.key`},
		"xattr of a directory":          {archiveOf(t, xattr(archive.Dir)), UnpackOptions{}, syscall.EOPNOTSUPP, `member "odd/": set xattr nonsense.key`},
		"xattr of a link":               {archiveOf(t, xattr(archive.Symlink)), UnpackOptions{}, syscall.EOPNOTSUPP, `member "odd": set xattr nonsense.key`},
		"hard link to nothing":          {archiveOf(t, linkItem(archive.Hard, "h", "none")), UnpackOptions{}, os.ErrNotExist, `hard link to "none"`},
		"hard link into nothing":        {archiveOf(t, linkItem(archive.Hard, "h", "no/ne")), UnpackOptions{}, os.ErrNotExist, `hard link to "no/ne"`},
		"hard link to a directory":      {archiveOf(t, dirItem("d", 0o700), linkItem(archive.Hard, "h", "d")), UnpackOptions{}, syscall.EISDIR, `hard link to "d"`},
		"hard link to itself":           {archiveOf(t, linkItem(archive.Hard, "h", "h")), UnpackOptions{}, os.ErrNotExist, "h"},
		"file in place of a directory":  {archiveOf(t, fileItem("d/f", ""), fileItem("d", "")), UnpackOptions{}, syscall.ENOTEMPTY, `member "d": replace`},
		"link in place of a directory":  {archiveOf(t, fileItem("d/f", ""), linkItem(archive.Hard, "d", "d/f")), UnpackOptions{}, syscall.ENOTEMPTY, `member "d"`},
		"below a file":                  {archiveOf(t, fileItem("f", ""), fileItem("f/x", "")), UnpackOptions{}, syscall.ENOTDIR, `directory "f"`},
		"directory below a file":        {archiveOf(t, fileItem("f", ""), dirItem("f/x", 0o700)), UnpackOptions{}, syscall.ENOTDIR, `directory "f"`},
		"below a former directory":      {archiveOf(t, dirItem("d", 0o700), fileItem("d", ""), fileItem("d/x", "")), UnpackOptions{}, syscall.ENOTDIR, `directory "d"`},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			before := openFiles(t)
			_, err := p.unpack(t, test.data, test.opt)
			require.ErrorIs(t, err, test.err)
			assert.Equal(t, before, openFiles(t), "no descriptor is lost")
			assert.ErrorContains(t, err, test.text)
			assert.ErrorContains(t, err, "unpack into ")
		})
	}
}

func TestUnpackIntoClosed(t *testing.T) {
	p := newPlace(t)
	p.root.Close()
	_, err := p.unpack(t, archiveOf(t), UnpackOptions{})
	assert.Error(t, err)
}

func TestUnpackExplainsOtherErrorsNot(t *testing.T) {
	u := &unpacker{}
	err := errors.New("other")
	assert.Equal(t, err, u.explain(err))
}

// endless gives the same member over and over.
type endless struct {
	block []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.block[e.at:])
	e.at = (e.at + n) % len(e.block)
	return n, nil
}

func TestUnpackCancelled(t *testing.T) {
	for name, size := range map[string]int{"small files": 10, "large files": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			one := archiveOf(t, fileItem("f", strings.Repeat("x", size)))
			one = one[:1536+(size+511)/512*512] // without the end mark
			ctx, cancel := context.WithCancelCause(context.Background())
			stop := errors.New("the operator has seen enough")
			_, err := Unpack(ctx, p.root, &endless{block: one}, UnpackOptions{
				Progress: func(_, members int64) {
					if members > 100 {
						cancel(stop)
					}
				},
			})
			assert.ErrorIs(t, err, stop)
			p.untouched(t)
		})
	}
}

func TestUnpackReaderFails(t *testing.T) {
	p := newPlace(t)
	broken := errors.New("the connection is lost")
	data := archiveOf(t, fileItem("a", strings.Repeat("x", 1<<20)))
	_, err := Unpack(context.Background(), p.root, io.MultiReader(bytes.NewReader(data[:5000]), failingReader{broken}), UnpackOptions{})
	assert.ErrorIs(t, err, broken)
	assert.ErrorContains(t, err, `member "a"`)
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestUnpackProgress(t *testing.T) {
	p := newPlace(t)
	var bytesSeen, membersSeen int64
	_, err := p.unpack(t, archiveOf(t, fileItem("a", "abc"), fileItem("b", strings.Repeat("x", 1<<20))), UnpackOptions{
		Progress: func(bytes, members int64) {
			assert.GreaterOrEqual(t, bytes, bytesSeen)
			assert.GreaterOrEqual(t, members, membersSeen)
			bytesSeen, membersSeen = bytes, members
		},
	})
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20+3, bytesSeen)
	assert.EqualValues(t, 2, membersSeen)
}

func TestExtentWriterRefusesMoreData(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/f")
	require.NoError(t, err)
	defer f.Close()
	w := extentWriter{fd: int(f.Fd()), extents: []archive.Extent{{Length: 2}, {Offset: 9}}}
	assert.NoError(t, w.write([]byte("ab")))
	assert.ErrorIs(t, w.write([]byte("c")), ErrCorrupt)
}
