package tarmode

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/tarmode/archive"
)

// item is a member of an archive that a test makes, with its stored bytes.
type item struct {
	archive.Header
	body string
}

var itemTime = time.Unix(1234567890, 123456789)

func newItem(kind archive.Type, name string) item {
	return item{Header: archive.Header{
		Name: name, Type: kind, Mode: 0o644, UID: os.Getuid(), GID: os.Getgid(), ModTime: itemTime,
	}}
}

func fileItem(name, body string) item {
	i := newItem(archive.File, name)
	i.body, i.Size = body, int64(len(body))
	return i
}

func dirItem(name string, mode uint32) item {
	i := newItem(archive.Dir, name)
	i.Mode = mode
	return i
}

func linkItem(kind archive.Type, name, target string) item {
	i := newItem(kind, name)
	i.Linkname = target
	return i
}

// hole is a file of only a hole.
func hole(name string, size int64) item {
	i := newItem(archive.File, name)
	i.Size, i.Sparse = size, []archive.Extent{}
	return i
}

func archiveOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var out bytes.Buffer
	w := archive.NewWriter(&out)
	for _, i := range items {
		require.NoError(t, w.WriteHeader(&i.Header), i.Name)
		_, err := w.Write([]byte(i.body))
		require.NoError(t, err, i.Name)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// place is a directory to unpack into, beside one that must stay as it is.
type place struct {
	root    *os.File
	path    string
	outside string
	before  map[string]string
}

func newPlace(t testing.TB) *place {
	t.Helper()
	top := t.TempDir()
	p := &place{path: filepath.Join(top, "root"), outside: filepath.Join(top, "outside")}
	require.NoError(t, os.Mkdir(p.path, 0o755))
	require.NoError(t, os.MkdirAll(p.outside+"/sub", 0o755))
	require.NoError(t, os.WriteFile(p.outside+"/precious", []byte("precious"), 0o600))
	p.open(t)
	p.before = snapshot(t, p.outside)
	return p
}

func (p *place) open(t testing.TB) {
	root, err := os.Open(p.path)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	p.root = root
}

func (p *place) unpack(t testing.TB, data []byte, opt UnpackOptions) (UnpackStats, error) {
	t.Helper()
	stats, err := Unpack(context.Background(), p.root, bytes.NewReader(data), opt)
	p.untouched(t)
	return stats, err
}

// untouched makes sure that nothing outside of the root has changed.
func (p *place) untouched(t testing.TB) {
	t.Helper()
	require.Equal(t, p.before, snapshot(t, p.outside))
	entries, err := os.ReadDir(filepath.Dir(p.path))
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

func (p *place) read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.path, name))
	require.NoError(t, err)
	return string(data)
}

func (p *place) stat(t testing.TB, name string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(filepath.Join(p.path, name), &st), name)
	return st
}

// snapshot tells all that can change about a tree, links to its files included.
func snapshot(t testing.TB, path string) map[string]string {
	t.Helper()
	return describeTree(t, path, func(st *unix.Stat_t) string {
		return fmt.Sprintf("%o %d %d:%d %d %v %v", st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim)
	})
}

func describeTree(t testing.TB, path string, describe func(*unix.Stat_t) string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	require.NoError(t, filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(name, &st))
		text := describe(&st)
		if d.Type().IsRegular() && st.Size < 1<<20 {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			text += " " + string(data)
		}
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(name)
			require.NoError(t, err)
			text += " " + target
		}
		rel, err := filepath.Rel(path, name)
		require.NoError(t, err)
		tree[rel] = text
		return nil
	}))
	return tree
}
