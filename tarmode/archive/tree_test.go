package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// node is what a tree on disk and its archive must agree on.
type node struct {
	Type     Type
	Mode     uint32
	UID, GID int
	Size     int64
	ModTime  int64 // nanoseconds since the epoch
	Target   string
	Device   [2]uint32
	Links    int
	Xattrs   map[string]string
	Content  string // digest
}

// digest of a file's content, blind to how its zeros are stored.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

// extent takes content at an offset, both in units of 512 bytes but for the end.
func (d digest) extent(t *testing.T, at int64, r io.Reader) {
	buf := make([]byte, blockSize)
	for {
		n, err := io.ReadFull(r, buf)
		if bytes.Trim(buf[:n], "\x00") != nil {
			require.NoError(t, binary.Write(d, binary.BigEndian, at))
			d.Write(bytes.TrimRight(buf[:n], "\x00"))
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return
		}
		require.NoError(t, err)
	}
}

func (d digest) String() string { return hex.EncodeToString(d.Sum(nil)[:8]) }

// dataExtents lists a file's data as the file system tells it.
func dataExtents(t *testing.T, file *os.File, size int64) []Extent {
	extents := []Extent{}
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		require.NoError(t, err)
		end, err := unix.Seek(int(file.Fd()), start, unix.SEEK_HOLE)
		require.NoError(t, err)
		extents = append(extents, Extent{start, end - start})
		at = end
	}
	return extents
}

// headerOf describes a file as a backup would.
func headerOf(t *testing.T, dir, name string) *Header {
	path := filepath.Join(dir, name)
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	h := &Header{
		Name: name, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Xattrs: xattrsOf(t, path),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Type, h.Size = File, st.Size
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		if st.Blocks*512 < st.Size {
			h.Sparse = dataExtents(t, file, st.Size)
		}
	case unix.S_IFDIR:
		h.Type = Dir
	case unix.S_IFLNK:
		h.Type = Symlink
		target, err := os.Readlink(path)
		require.NoError(t, err)
		h.Linkname = target
	case unix.S_IFIFO:
		h.Type = FIFO
	case unix.S_IFCHR:
		h.Type, h.Major, h.Minor = Char, unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFBLK:
		h.Type, h.Major, h.Minor = Block, unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return h
}

func xattrsOf(t *testing.T, path string) map[string][]byte {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	require.NoError(t, err)
	var xattrs map[string][]byte
	for _, name := range strings.Split(string(buf[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		require.NoError(t, err)
		if xattrs == nil {
			xattrs = map[string][]byte{}
		}
		xattrs[name] = value[:n]
	}
	return xattrs
}

func nodeOf(h *Header) node {
	n := node{
		Type: h.Type, Mode: h.Mode, UID: h.UID, GID: h.GID, Size: h.Size, ModTime: h.ModTime.UnixNano(),
		Target: h.Linkname, Device: [2]uint32{h.Major, h.Minor}, Links: 1, Xattrs: map[string]string{},
	}
	for name, value := range h.Xattrs {
		n.Xattrs[name] = string(value)
	}
	return n
}

// treeOf is a directory's tree by name; hard links are the same node.
func treeOf(t *testing.T, dir string) map[string]*node {
	tree, inodes := map[string]*node{}, map[uint64]*node{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(path, &st))
		if known := inodes[st.Ino]; known != nil {
			known.Links++
			tree[name] = known
			return nil
		}
		h := headerOf(t, dir, name)
		n := nodeOf(h)
		if h.Type == File {
			n.Content = fileDigest(t, path, h.Size)
		}
		tree[name], inodes[st.Ino] = &n, &n
		return nil
	}))
	return tree
}

func fileDigest(t *testing.T, path string, size int64) string {
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	d := newDigest()
	for _, e := range dataExtents(t, file, size) {
		d.extent(t, e.Offset, io.NewSectionReader(file, e.Offset, e.Length))
	}
	return d.String()
}

// treeIn is the tree that an archive holds.
func treeIn(t *testing.T, archive io.Reader) map[string]*node {
	tree := map[string]*node{}
	r := NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return tree
		}
		require.NoError(t, err)
		name := filepath.Clean(h.Name)
		if h.Type == Hard {
			tree[name] = tree[filepath.Clean(h.Linkname)]
			require.NotNil(t, tree[name], "%s links to %s", name, h.Linkname)
			tree[name].Links++
			continue
		}
		n := nodeOf(h)
		if h.Type == File {
			n.Content = memberDigest(t, r, h)
		}
		tree[name] = &n
	}
}

func memberDigest(t *testing.T, r *Reader, h *Header) string {
	d := newDigest()
	extents := h.Sparse
	if extents == nil {
		extents = []Extent{{0, h.Size}}
	}
	for _, e := range extents {
		d.extent(t, e.Offset, io.LimitReader(r, e.Length))
	}
	n, err := r.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, io.EOF)
	return d.String()
}

// sameTree compares node by node, for messages that one can read.
func sameTree(t *testing.T, want, got map[string]*node) {
	t.Helper()
	assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	for name, n := range want {
		assert.Equal(t, n, got[name], name)
	}
}

// pack writes a directory's tree with our Writer.
func pack(t *testing.T, dir string) []byte {
	var out bytes.Buffer
	w := NewWriter(&out)
	seen := map[uint64]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		h := headerOf(t, dir, name)
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(path, &st))
		if first := seen[st.Ino]; first != "" {
			h.Type, h.Linkname, h.Sparse, h.Size = Hard, first, nil, 0
		}
		seen[st.Ino] = name
		require.NoError(t, w.WriteHeader(h))
		if h.Type == File {
			packContent(t, w, path, h)
		}
		return nil
	}))
	require.NoError(t, w.Close())
	return out.Bytes()
}

func packContent(t *testing.T, w io.Writer, path string, h *Header) {
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	extents := h.Sparse
	if extents == nil {
		extents = []Extent{{0, h.Size}}
	}
	for _, e := range extents {
		_, err := io.Copy(w, io.NewSectionReader(file, e.Offset, e.Length))
		require.NoError(t, err)
	}
}

// program runs a tool and wants it to succeed; its output.
func program(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s %s: %s", name, strings.Join(args, " "), stderr.String())
	return stdout.Bytes()
}

// The sizes of a test tree's file with a hole in front of its end.
const (
	hugeSize = 9 << 30
	someTime = 1_700_000_000
)

// file makes one with content at an offset, and a hole up to size.
func file(t *testing.T, path string, size int64, content map[int64]string) {
	f, err := os.Create(path)
	require.NoError(t, err)
	for at, text := range content {
		_, err := f.WriteAt([]byte(text), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
}

// makeTree makes the files that every format can hold.
func makeTree(t *testing.T) string {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.MkdirAll(at("etc/empty"), 0o755))
	file(t, at("etc/passwd"), 29, map[int64]string{0: "root:x:0:0:root:/root:/bin/sh"})
	file(t, at("etc/nothing"), 0, nil)
	file(t, at("etc/block"), 512, map[int64]string{0: strings.Repeat("b", 512)})
	file(t, at("etc/setuid"), 3, map[int64]string{0: "sh\n"})
	require.NoError(t, os.Chmod(at("etc/setuid"), 0o755|fs.ModeSetuid|fs.ModeSticky))
	require.NoError(t, os.Link(at("etc/passwd"), at("etc/passwd-")))
	require.NoError(t, os.Symlink("../etc/passwd", at("etc/link")))
	file(t, at("etc/zwei\nZeilen"), 1, map[int64]string{0: "x"})
	file(t, at("etc/grün"), 1, map[int64]string{0: "x"})
	file(t, at("etc/"+strings.Repeat("h", 93)), 1, map[int64]string{0: "x"})
	return dir
}

// addLong adds names that do not fit a header.
func addLong(t *testing.T, dir string) {
	deep := filepath.Join(dir, strings.Repeat(strings.Repeat("d", 60)+"/", 5))
	require.NoError(t, os.MkdirAll(deep, 0o755))
	long := strings.Repeat("n", 200)
	file(t, filepath.Join(deep, long), 4, map[int64]string{0: "long"})
	file(t, filepath.Join(deep, long+"2"), 0, nil)
	require.NoError(t, os.Link(filepath.Join(deep, long), filepath.Join(dir, "to-long")))
	require.NoError(t, os.Symlink(strings.Repeat("../target", 40), filepath.Join(dir, "long-link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
}

// addSparse adds files with holes.
func addSparse(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	file(t, at("hole"), 1<<20, nil)
	file(t, at("middle"), 3<<20, map[int64]string{1 << 20: strings.Repeat("m", 5000)})
	file(t, at("end"), 1<<20+4, map[int64]string{1 << 20: "end."})
	file(t, at("huge"), hugeSize, map[int64]string{0: "first", 5 << 30: "middle", hugeSize - 3: "end"})
	many := map[int64]string{}
	for i := range int64(60) {
		many[i*100<<10] = "piece"
	}
	file(t, at("many"), 8<<20, many)
	file(t, at(strings.Repeat("s", 130)), 1<<20, map[int64]string{1 << 19: "s"})
}

// settle gives every file the same kind of time: whole seconds or not.
func settle(t *testing.T, dir string, nanoseconds int64) {
	count := int64(0)
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		count++
		stamp := []unix.Timespec{{Sec: someTime + count, Nsec: nanoseconds}, {Sec: someTime + count, Nsec: nanoseconds}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, stamp, unix.AT_SYMLINK_NOFOLLOW)
	}))
}
