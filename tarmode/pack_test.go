package tarmode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/tarmode/archive"
)

// packed packs a tree and reads the headers back.
func packed(t *testing.T, path string, opt PackOptions) ([]archive.Header, []byte, PackStats) {
	t.Helper()
	root, err := os.Open(path)
	require.NoError(t, err)
	defer root.Close()
	var out bytes.Buffer
	stats, err := Pack(context.Background(), &out, root, opt)
	require.NoError(t, err)
	var heads []archive.Header
	for r := archive.NewReader(bytes.NewReader(out.Bytes())); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return heads, out.Bytes(), stats
		}
		require.NoError(t, err)
		heads = append(heads, *head)
	}
}

func namesOf(heads []archive.Header) []string {
	var names []string
	for _, head := range heads {
		names = append(names, head.Name)
	}
	return names
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	big := strings.Repeat("0123456789abcdef", 100_000)
	require.NoError(t, os.MkdirAll(dir+"/b/c", 0o751))
	require.NoError(t, os.WriteFile(dir+"/b/file", []byte("text"), 0o640))
	require.NoError(t, os.WriteFile(dir+"/big", []byte(big), 0o600))
	require.NoError(t, os.Link(dir+"/b/file", dir+"/z"))
	require.NoError(t, os.Symlink("/nowhere", dir+"/link"))
	require.NoError(t, os.Link(dir+"/link", dir+"/link2"))
	require.NoError(t, unix.Mkfifo(dir+"/fifo", 0o600))
	require.NoError(t, os.Mkdir(dir+"/lost+found", 0o700))
	require.NoError(t, os.WriteFile(dir+"/lost+found/#12", []byte("found"), 0o600))
	listener, err := net.Listen("unix", dir+"/socket")
	require.NoError(t, err)
	defer listener.Close()

	heads, data, stats := packed(t, dir, PackOptions{})
	assert.Equal(t, []string{
		"./", "./b/", "./b/c/", "./b/file", "./big", "./fifo", "./link", "./link2", "./lost+found/", "./lost+found/#12", "./z",
	}, namesOf(heads))
	assert.Equal(t, PackStats{Members: 11, Bytes: int64(len(big)) + 9, Sockets: 1}, stats)
	byName := map[string]archive.Header{}
	for _, head := range heads {
		byName[head.Name] = head
	}
	assert.Equal(t, archive.Hard, byName["./z"].Type)
	assert.Equal(t, "./b/file", byName["./z"].Linkname)
	assert.Equal(t, archive.Symlink, byName["./link"].Type)
	assert.Equal(t, "/nowhere", byName["./link"].Linkname)
	assert.Equal(t, archive.Hard, byName["./link2"].Type, "a link to a link")
	assert.EqualValues(t, 0o640, byName["./b/file"].Mode)

	_, again, _ := packed(t, dir, PackOptions{})
	assert.True(t, bytes.Equal(data, again), "the same tree gives the same archive")

	p := newPlace(t)
	_, err = p.unpack(t, data, UnpackOptions{})
	require.NoError(t, err)
	assert.Equal(t, big, p.read(t, "big"))
	assert.Equal(t, "text", p.read(t, "z"))
	assert.Equal(t, p.stat(t, "z").Ino, p.stat(t, "b/file").Ino)
}

func TestPackOptions(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/a/cache/x", 0o755))
	require.NoError(t, os.WriteFile(dir+"/a/keep", []byte("text"), 0o640))
	var asked []string
	var bytesSeen, membersSeen int64
	heads, data, stats := packed(t, dir, PackOptions{
		Global:   map[string]string{"ONECLVM.fs.label": "root"},
		Progress: func(bytes, members int64) { bytesSeen, membersSeen = bytes, members },
		Skip: func(path string) bool {
			asked = append(asked, path)
			return path == "a/cache"
		},
	})
	assert.Equal(t, []string{"./", "./a/", "./a/keep"}, namesOf(heads))
	assert.Equal(t, []string{"a", "a/cache", "a/keep"}, asked)
	assert.Equal(t, []int64{stats.Bytes, stats.Members}, []int64{bytesSeen, membersSeen})
	got, err := newPlace(t).unpack(t, data, UnpackOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"ONECLVM.fs.label": "root"}, got.Global)
}

func TestPackSparse(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int64, offsets ...int64) {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		defer f.Close()
		for _, offset := range offsets {
			_, err := f.WriteAt(bytes.Repeat([]byte{'x'}, 64<<10), offset)
			require.NoError(t, err)
		}
		require.NoError(t, f.Truncate(size))
		require.NoError(t, f.Sync())
	}
	write("ends-in-hole", 1<<30, 0, 1<<20)
	write("ends-in-data", 1<<30+64<<10, 1<<30)
	write("hole", 1<<40)
	write("odd", 1<<20+100, 1<<20-64<<10+100)
	heads, data, stats := packed(t, dir, PackOptions{})
	require.Len(t, heads, 5)
	assert.Less(t, stats.Bytes, int64(1<<20))
	assert.Less(t, len(data), 1<<20, "holes do not travel")
	for _, head := range heads[1:] {
		assert.NotNil(t, head.Sparse, head.Name)
	}
	p := newPlace(t)
	_, err := p.unpack(t, data, UnpackOptions{})
	require.NoError(t, err)
	assert.EqualValues(t, 1<<40, p.stat(t, "hole").Size)
	for _, name := range []string{"odd"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.True(t, string(want) == p.read(t, name), name)
	}
	for name, offsets := range map[string][]int64{"ends-in-hole": {0, 1 << 20}, "ends-in-data": {1 << 30}} {
		f, err := os.Open(p.path + "/" + name)
		require.NoError(t, err)
		defer f.Close()
		for _, offset := range offsets {
			got := make([]byte, 64<<10)
			_, err := f.ReadAt(got, offset)
			require.NoError(t, err)
			assert.Equal(t, strings.Repeat("x", 64<<10), string(got), "%s at %d", name, offset)
		}
	}
}

func TestMergeExtents(t *testing.T) {
	got := mergeExtents(extentList(0, 10, 12, 8, 100, 1, 101, 1, 200, 5), 2)
	assert.Equal(t, extentList(0, 20, 100, 2, 200, 5), got)
}

func extentList(numbers ...int64) []archive.Extent {
	var extents []archive.Extent
	for pair := range slices.Chunk(numbers, 2) {
		extents = append(extents, archive.Extent{Offset: pair[0], Length: pair[1]})
	}
	return extents
}

// More extents than an archive holds: the smallest holes are stored as zeros.
func TestPackManyExtents(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/comb")
	require.NoError(t, err)
	defer f.Close()
	const teeth = maxExtents + 100
	for i := range int64(teeth) {
		_, err := f.WriteAt([]byte{'x'}, i*8192)
		require.NoError(t, err)
	}
	require.NoError(t, f.Truncate(teeth*8192+1<<20))
	extents, err := dataExtents(int(f.Fd()), teeth*8192+1<<20)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(extents), maxExtents)
	last := extents[len(extents)-1]
	assert.Less(t, last.Offset+last.Length, int64(teeth*8192+1), "the large hole at the end stays one")
	assert.EqualValues(t, 0, extents[0].Offset)
}

func TestPackManyFiles(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 30 {
		sub := fmt.Sprintf("%s/%02d", dir, i)
		require.NoError(t, os.Mkdir(sub, 0o755))
		want = append(want, fmt.Sprintf("./%02d/", i))
		for j := range 50 {
			size := (i*50 + j) * 97 % 9000
			if j == 25 {
				size += 300_000
			}
			require.NoError(t, os.WriteFile(fmt.Sprintf("%s/%02d", sub, j), bytes.Repeat([]byte{byte(j)}, size), 0o644))
			want = append(want, fmt.Sprintf("./%02d/%02d", i, j))
		}
	}
	heads, data, _ := packed(t, dir, PackOptions{})
	assert.Equal(t, want, namesOf(heads)[1:])
	p := newPlace(t)
	_, err := p.unpack(t, data, UnpackOptions{})
	require.NoError(t, err)
	describe := func(st *unix.Stat_t) string { return fmt.Sprintf("%o %d %v", st.Mode, st.Nlink, st.Mtim) }
	assert.Equal(t, describeTree(t, dir, describe), describeTree(t, p.path, describe))
}

type failingWriter struct{ left int }

var errFull = errors.New("the datastore is full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestPackFails(t *testing.T) {
	dir := t.TempDir()
	for i := range 200 {
		require.NoError(t, os.WriteFile(fmt.Sprintf("%s/%d", dir, i), make([]byte, 50_000), 0o644))
	}
	require.NoError(t, os.WriteFile(dir+"/zz", make([]byte, 5<<20), 0o644))
	root, err := os.Open(dir)
	require.NoError(t, err)
	defer root.Close()
	before := openFiles(t)
	for _, room := range []int{0, 100_000, 9 << 20, 12 << 20} {
		_, err := Pack(context.Background(), &failingWriter{left: room}, root, PackOptions{})
		assert.ErrorIs(t, err, errFull)
		assert.ErrorContains(t, err, "pack "+dir)
	}
	_, err = Pack(context.Background(), io.Discard, root, PackOptions{Global: map[string]string{"=": ""}})
	assert.Error(t, err)
	stop := errors.New("stop")
	for _, after := range []int64{0, 50, 1 << 20, 11 << 20} {
		ctx, cancel := context.WithCancelCause(context.Background())
		_, err = Pack(ctx, io.Discard, root, PackOptions{Progress: func(bytes, _ int64) {
			if bytes > after {
				cancel(stop)
			}
		}})
		assert.ErrorIs(t, err, stop)
	}
	assert.Equal(t, before, openFiles(t), "no descriptor is lost")
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestPackFileVanishes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/file", []byte("x"), 0o644))
	root, err := os.Open(dir)
	require.NoError(t, err)
	defer root.Close()
	_, err = Pack(context.Background(), io.Discard, root, PackOptions{Skip: func(path string) bool {
		require.NoError(t, os.Remove(dir+"/"+path))
		return false
	}})
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "./file")
}

// packWhile packs a tree and does something when the walk is at the entry "zz": by then
// the sizes of those before are known and nothing is read.
func packWhile(t *testing.T, dir string, meanwhile func() error) error {
	t.Helper()
	require.NoError(t, os.WriteFile(dir+"/zz", nil, 0o644))
	root, err := os.Open(dir)
	require.NoError(t, err)
	defer root.Close()
	_, err = Pack(context.Background(), io.Discard, root, PackOptions{Skip: func(path string) bool {
		if path == "zz" {
			require.NoError(t, meanwhile())
		}
		return false
	}})
	return err
}

func TestPackFileGetsShorter(t *testing.T) {
	for name, size := range map[string]int{"large": 1 << 20, "small": 100} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(dir+"/"+name, make([]byte, size), 0o644))
		err := packWhile(t, dir, func() error { return os.Truncate(dir+"/"+name, 10) })
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.ErrorContains(t, err, "./"+name)
	}
}

func TestPackFileReplaced(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()+"/b"
	require.NoError(t, os.WriteFile(dir+"/a", []byte("a"), 0o644))
	require.NoError(t, os.WriteFile(other, []byte("b"), 0o644))
	err := packWhile(t, dir, func() error { return os.Rename(other, dir+"/a") })
	assert.ErrorContains(t, err, "./a: replaced while it was read")
}

// A link in the place of a file is not followed.
func TestPackLinkInPlaceOfFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/a", []byte("a"), 0o644))
	err := packWhile(t, dir, func() error {
		return errors.Join(os.Remove(dir+"/a"), os.Symlink("/etc/hostname", dir+"/a"))
	})
	assert.ErrorIs(t, err, unix.ELOOP)
}

func TestPackClosedRoot(t *testing.T) {
	root, err := os.Open(t.TempDir())
	require.NoError(t, err)
	root.Close()
	_, err = Pack(context.Background(), io.Discard, root, PackOptions{})
	assert.Error(t, err)
}

func TestReadXattrs(t *testing.T) {
	list := func(names string, err error) func([]byte) (int, error) {
		return func(buf []byte) (int, error) {
			copy(buf, names)
			return len(names), err
		}
	}
	get := func(key string, buf []byte) (int, error) {
		if key == "user.bad" {
			return 0, unix.EIO
		}
		return copy(buf, "value of "+key), nil
	}
	for _, none := range []error{nil, unix.EOPNOTSUPP} {
		got, err := readXattrs(list("", none), get)
		require.NoError(t, err)
		assert.Nil(t, got)
	}
	got, err := readXattrs(list("user.a\x00trusted.SGI_ACL_FILE\x00user.b\x00", nil), get)
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{"user.a": []byte("value of user.a"), "user.b": []byte("value of user.b")}, got)
	_, err = readXattrs(list("user.bad\x00", nil), get)
	assert.ErrorIs(t, err, unix.EIO)
	assert.ErrorContains(t, err, "user.bad")
	_, err = readXattrs(list("", unix.EIO), get)
	assert.ErrorIs(t, err, unix.EIO)
}

func TestFirstName(t *testing.T) {
	w := &walker{links: map[inode]*linked{}}
	var got []string
	st := unix.Stat_t{Ino: 7, Nlink: 3}
	for _, name := range []string{"a", "b", "c"} {
		got = append(got, w.firstName(&st, name))
	}
	assert.Equal(t, []string{"", "a", "a"}, got)
	assert.Empty(t, w.links, "all names are seen")
}
