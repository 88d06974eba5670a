package tarmode

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/tarmode/archive"
)

func TestUnpackHostile(t *testing.T) {
	long := strings.Repeat("n", 256)
	for name, test := range map[string]struct {
		items []item
		err   error
	}{
		"parent directory":         {[]item{fileItem("../outside/evil", "x")}, ErrUnsafe},
		"parent directory inside":  {[]item{dirItem("a", 0o755), fileItem("a/../../outside/evil", "x")}, ErrUnsafe},
		"parent that stays inside": {[]item{dirItem("a", 0o755), fileItem("a/../b", "x")}, ErrUnsafe},
		"only the parent":          {[]item{dirItem("..", 0o777)}, ErrUnsafe},
		"absolute name":            {[]item{fileItem("OUTSIDE/evil", "x")}, ErrUnsafe},
		"absolute directory":       {[]item{dirItem("OUTSIDE", 0o777)}, ErrUnsafe},
		"the root itself":          {[]item{dirItem("/", 0o777)}, ErrUnsafe},
		"write through a link":     {[]item{linkItem(archive.Symlink, "l", "OUTSIDE"), fileItem("l/evil", "x")}, ErrUnsafe},
		"relative link":            {[]item{linkItem(archive.Symlink, "l", "../outside"), fileItem("l/sub/evil", "x")}, ErrUnsafe},
		"link behind a link":       {[]item{linkItem(archive.Symlink, "a", "b"), linkItem(archive.Symlink, "b", "../outside"), fileItem("a/evil", "x")}, ErrUnsafe},
		"link to a directory inside": {[]item{dirItem("d", 0o755), linkItem(archive.Symlink, "l", "d"),
			fileItem("l/x", "x")}, ErrUnsafe},
		"directory below a link": {[]item{linkItem(archive.Symlink, "l", "OUTSIDE"), dirItem("l/evil", 0o755)}, ErrUnsafe},
		"link below a link":      {[]item{linkItem(archive.Symlink, "l", "OUTSIDE"), linkItem(archive.Symlink, "l/evil", "x")}, ErrUnsafe},
		"link to the root":       {[]item{linkItem(archive.Symlink, "l", "/"), fileItem("l/evil-root-member", "x")}, ErrUnsafe},
		"link to itself":         {[]item{linkItem(archive.Symlink, "l", "l"), fileItem("l/x", "x")}, ErrUnsafe},
		"directory, then a link in its place": {[]item{dirItem("d", 0o755), linkItem(archive.Symlink, "d", "OUTSIDE"),
			fileItem("d/evil", "x")}, ErrUnsafe},
		"filled directory, then a link in its place": {[]item{dirItem("d", 0o755), fileItem("d/f", "x"),
			linkItem(archive.Symlink, "d", "OUTSIDE"), fileItem("d/evil", "x")}, syscall.ENOTEMPTY},
		"hard link outside":             {[]item{linkItem(archive.Hard, "h", "OUTSIDE/precious"), fileItem("h", "evil")}, ErrUnsafe},
		"hard link to the parent":       {[]item{linkItem(archive.Hard, "h", "../outside/precious")}, ErrUnsafe},
		"hard link through a link":      {[]item{linkItem(archive.Symlink, "l", "OUTSIDE"), linkItem(archive.Hard, "h", "l/precious")}, ErrUnsafe},
		"hard link below a link":        {[]item{fileItem("f", "x"), linkItem(archive.Symlink, "l", "OUTSIDE"), linkItem(archive.Hard, "l/h", "f")}, ErrUnsafe},
		"hard link to the root":         {[]item{linkItem(archive.Hard, "h", ".")}, ErrUnsafe},
		"hard link in the root's place": {[]item{fileItem("f", "x"), linkItem(archive.Hard, ".", "f")}, ErrUnsafe},
		"hard link to a link, written to": {[]item{linkItem(archive.Symlink, "l", "OUTSIDE/precious"),
			linkItem(archive.Hard, "h", "l"), fileItem("h", "evil"), fileItem("l", "evil")}, nil},
		"file in place of a link":   {[]item{linkItem(archive.Symlink, "l", "OUTSIDE/precious"), fileItem("l", "evil")}, nil},
		"file through a link":       {[]item{linkItem(archive.Symlink, "l", "OUTSIDE/evil"), fileItem("l", "evil")}, nil},
		"mode and owner of a link":  {[]item{linkItem(archive.Symlink, "l", "OUTSIDE"), dirItem("l", 0o777)}, nil},
		"time of what a link names": {[]item{linkItem(archive.Symlink, "l", "OUTSIDE/precious"), newItem(archive.FIFO, "l")}, nil},
		"root is a link":            {[]item{linkItem(archive.Symlink, "./", "OUTSIDE"), fileItem("evil", "x")}, ErrUnsafe},
		"root is a file":            {[]item{fileItem(".", "x")}, ErrUnsafe},
		"component too long":        {[]item{fileItem(long, "x")}, ErrUnsafe},
		"name too long":             {[]item{fileItem(strings.Repeat("n/", 2100)+"x", "x")}, ErrUnsafe},
		"link target too long":      {[]item{linkItem(archive.Symlink, "l", strings.Repeat("n", 5000))}, syscall.ENAMETOOLONG},
		"a terabyte of nothing":     {[]item{hole("huge", 1<<40)}, ErrTooLarge},
		"duplicate directories":     {[]item{dirItem("d", 0o755), dirItem("./d/", 0o700), dirItem("d//", 0o711)}, nil},
		"fifo, then a file":         {[]item{newItem(archive.FIFO, "f"), fileItem("f", "must not block")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			for i := range test.items {
				test.items[i].Name = strings.ReplaceAll(test.items[i].Name, "OUTSIDE", p.outside)
				test.items[i].Linkname = strings.ReplaceAll(test.items[i].Linkname, "OUTSIDE", p.outside)
			}
			_, err := p.unpack(t, archiveOf(t, test.items...), UnpackOptions{MaxSize: 1 << 30})
			if test.err == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, test.err)
				assert.ErrorContains(t, err, "member ")
			}
			_, err = os.Lstat("/evil-root-member")
			assert.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}

// The names and targets that generated archives are made of.
var (
	hostileNames = []string{
		"a", "b", "a/b", "a/b/c", "b/a", "./a", "a/", ".", "../outside/x", "a/../b", "/tmp/one-clvm-evil", "b/../../outside/sub",
	}
	hostileTargets = []string{
		"a", "b", "a/b", "b/a", ".", "..", "../outside", "../../outside", "../outside/precious", "a/b/c", "../root", "/",
	}
	hostileKinds = []archive.Type{
		archive.File, archive.File, archive.Dir, archive.Symlink, archive.Hard, archive.FIFO,
	}
)

// generated makes members out of bytes, three for each.
func generated(data []byte, names int) []item {
	var items []item
	for ; len(data) >= 3 && len(items) < 100; data = data[3:] {
		i := newItem(hostileKinds[int(data[0])%len(hostileKinds)], hostileNames[int(data[1])%names])
		i.Mode = 0o755
		switch i.Type {
		case archive.File:
			i.Name = strings.TrimSuffix(i.Name, "/")
			i.body = strings.Repeat(string(rune('a'+len(items)%26)), int(data[2])*int(data[2])*8)
			i.Size = int64(len(i.body))
		case archive.Symlink, archive.Hard:
			i.Linkname = hostileTargets[int(data[2])%len(hostileTargets)]
		}
		items = append(items, i)
	}
	return items
}

// However many workers there are, the outcome is that of one member after the other.
func TestUnpackOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for range 150 {
		data := make([]byte, 3*(1+random.IntN(12)))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		image := archiveOf(t, generated(data, 7)...)
		one, many := newPlace(t), newPlace(t)
		_, err := one.unpack(t, image, UnpackOptions{Workers: 1})
		_, err2 := many.unpack(t, image, UnpackOptions{Workers: 8})
		require.Equal(t, err == nil, err2 == nil, "%v, %v: % x", err, err2, data)
		if err != nil {
			failed++
			continue
		}
		describe := func(st *unix.Stat_t) string {
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				return fmt.Sprintf("%o", st.Mode)
			}
			return fmt.Sprintf("%o %d %v", st.Mode, st.Nlink, st.Mtim)
		}
		require.Equal(t, describeTree(t, one.path, describe), describeTree(t, many.path, describe), "% x", data)
	}
	assert.Less(t, failed, 130, "most generated archives say nothing")
}

func FuzzUnpack(f *testing.F) {
	f.Add(archiveOf(f, dirItem("./", 0o755), dirItem("d", 0o755), fileItem("d/f", "body"),
		linkItem(archive.Symlink, "l", "../outside"), linkItem(archive.Hard, "h", "d/f"), newItem(archive.FIFO, "p")))
	f.Add(archiveOf(f, linkItem(archive.Symlink, "l", "../outside"), fileItem("l/evil", "x")))
	f.Add(archiveOf(f, fileItem("../outside/evil", "x")))
	f.Add(archiveOf(f, hole("sparse", 1<<19)))
	f.Add(archiveOf(f, fileItem("big", strings.Repeat("x", 300<<10))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPlace(t)
		stats, err := p.unpack(t, data, UnpackOptions{MaxSize: 1 << 20, MaxMembers: 200})
		if err == nil {
			require.LessOrEqual(t, stats.Bytes, int64(1<<20))
		}
	})
}

func FuzzUnpackMembers(f *testing.F) {
	f.Add([]byte{3, 0, 6, 0, 2, 9})
	f.Add([]byte{2, 0, 0, 3, 0, 6, 0, 2, 200})
	f.Add([]byte{4, 0, 8, 0, 0, 1, 5, 1, 0, 0, 1, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPlace(t)
		_, _ = p.unpack(t, archiveOf(t, generated(data, len(hostileNames))...), UnpackOptions{MaxSize: 64 << 20})
		_, err := os.Lstat("/tmp/one-clvm-evil")
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}
