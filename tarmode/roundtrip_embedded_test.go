//go:build embedded

package tarmode

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/tarmode/archive"
)

func openRoot(t *testing.T, path string) *os.File {
	t.Helper()
	root, err := os.Open(path)
	require.NoError(t, err)
	return root
}

func packFile(t *testing.T, from, to string) {
	t.Helper()
	root := openRoot(t, from)
	defer root.Close()
	out, err := os.Create(to)
	require.NoError(t, err)
	_, err = Pack(context.Background(), out, root, PackOptions{})
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

func unpackFile(t *testing.T, from, to string) {
	t.Helper()
	root := openRoot(t, to)
	defer root.Close()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	_, err = Unpack(context.Background(), root, in, UnpackOptions{MaxSize: 1 << 30})
	require.NoError(t, err)
}

func TestRoundTrip(t *testing.T) {
	sizes := map[string]int64{"ext4": 256 << 20, "xfs": 320 << 20, "btrfs": 256 << 20}
	for source, size := range sizes {
		from := mounted(t, source, size)
		grow(t, from)
		image := filepath.Join(t.TempDir(), "image.tar")
		packFile(t, from, image)
		for target, size := range sizes {
			t.Run(source+" to "+target, func(t *testing.T) {
				to := mounted(t, target, size)
				unpackFile(t, image, to)
				sameTree(t, from, to)
				again := filepath.Join(t.TempDir(), "again.tar")
				packFile(t, to, again)
				if source != "xfs" && target != "xfs" { // which may allocate more than is written
					sameFile(t, image, again)
				}
			})
		}
	}
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	dataA, err := os.ReadFile(a)
	require.NoError(t, err)
	dataB, err := os.ReadFile(b)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(dataA, dataB), "packed again, the archive is the same")
}

// Archives of the other programs unpack the same, and they unpack ours.
func TestOtherPrograms(t *testing.T) {
	from := mounted(t, "ext4", 256<<20)
	grow(t, from)
	gnu := []string{"--xattrs", "--xattrs-include=*", "--acls", "--selinux", "--numeric-owner"}
	for name, pack := range map[string][]string{
		"gnu tar, pax":        append([]string{"tar", "--format=pax", "--sparse"}, gnu...),
		"gnu tar, sparse 0.1": append([]string{"tar", "--format=pax", "--sparse", "--sparse-version=0.1"}, gnu...),
		"bsdtar":              {"bsdtar", "--format=pax", "--xattrs", "--acls", "--numeric-owner"},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image.tar")
			command(t, pack[0], append(pack[1:], "-cf", image, "-C", from, "--exclude=./lost+found", ".")...)
			to := mounted(t, "ext4", 256<<20)
			unpackFile(t, image, to)
			sameTree(t, from, to)
		})
	}
	t.Run("gnu tar unpacks", func(t *testing.T) {
		image := filepath.Join(t.TempDir(), "image.tar")
		packFile(t, from, image)
		to := mounted(t, "ext4", 256<<20)
		command(t, "tar", append(gnu, "-p", "-xf", image, "-C", to)...)
		sameTree(t, from, to)
	})
	t.Run("bsdtar unpacks", func(t *testing.T) {
		image := filepath.Join(t.TempDir(), "image.tar")
		packFile(t, from, image)
		to := mounted(t, "ext4", 256<<20)
		command(t, "bsdtar", "--numeric-owner", "--acls", "--xattrs", "-p", "-xf", image, "-C", to)
		// It has its own idea of the root's time and of the NUL at the end of a label.
		assert.Empty(t, command(t, "rsync", "-aHAXniO", "--numeric-ids", "--checksum", "--delete", "--exclude=/lost+found",
			"--filter=-x security.selinux", from+"/", to+"/"))
	})
}

func TestPackStaysOnItsMount(t *testing.T) {
	from := mounted(t, "btrfs", 256<<20)
	require.NoError(t, os.MkdirAll(from+"/other/hidden", 0o755))
	other := t.TempDir()
	require.NoError(t, os.WriteFile(other+"/foreign", nil, 0o644))
	require.NoError(t, unix.Mount(other, from+"/other", "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(from+"/other", 0)) })
	command(t, "btrfs", "subvolume", "create", from+"/sub")
	require.NoError(t, os.WriteFile(from+"/sub/own", nil, 0o644))
	heads, _, _ := packed(t, from, PackOptions{})
	assert.Equal(t, []string{"./", "./other/", "./sub/", "./sub/own"}, namesOf(heads),
		"a mount point is empty, a subvolume is a part of the tree")
}

func TestPackLostAndFound(t *testing.T) {
	from := mounted(t, "ext4", 64<<20)
	heads, _, _ := packed(t, from, PackOptions{})
	assert.Equal(t, []string{"./"}, namesOf(heads))
	require.NoError(t, os.WriteFile(from+"/lost+found/#12", nil, 0o644))
	heads, _, _ = packed(t, from, PackOptions{})
	assert.Equal(t, []string{"./", "./lost+found/", "./lost+found/#12"}, namesOf(heads))
}

func TestUnpackFullVolume(t *testing.T) {
	var tiny []item
	for i := range 1000 {
		tiny = append(tiny, fileItem(fmt.Sprintf("%d", i), ""))
	}
	for name, test := range map[string]struct {
		mkfs  []string
		items []item
		text  string
	}{
		"inodes": {[]string{"-N", "64"}, tiny, "out of inodes after "},
		"space":  {nil, []item{fileItem("big", strings.Repeat("x", 40<<20))}, "no space left after 1 members"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &place{path: mounted(t, "ext4", 32<<20, test.mkfs...)}
			root := openRoot(t, p.path)
			defer root.Close()
			_, err := Unpack(context.Background(), root, bytes.NewReader(archiveOf(t, test.items...)), UnpackOptions{})
			assert.ErrorIs(t, err, ErrTooLarge)
			assert.ErrorIs(t, err, unix.ENOSPC)
			assert.ErrorContains(t, err, test.text)
		})
	}
}

// A later member of the same name must not write through a device node.
func TestUnpackNeverWritesToDevices(t *testing.T) {
	p := newPlace(t)
	require.Zero(t, os.Getuid(), "this test needs root")
	backing := p.outside + "/precious"
	require.NoError(t, os.WriteFile(backing, make([]byte, 1<<20), 0o600))
	device := strings.TrimSpace(command(t, "losetup", "--find", "--show", backing))
	t.Cleanup(func() { command(t, "losetup", "--detach", device) })
	p.before = snapshot(t, p.outside)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(device, &st))
	node := newItem(archive.Block, "disk")
	node.Major, node.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	evil := strings.Repeat("evil", 1000)
	_, err := p.unpack(t, archiveOf(t, node, linkItem(archive.Hard, "same", "disk"), fileItem("disk", evil), fileItem("same", evil),
		node, hole("disk", 1<<20)), UnpackOptions{})
	require.NoError(t, err)
	assert.Equal(t, evil, p.read(t, "same"))
	command(t, "blockdev", "--flushbufs", device)
	data, err := os.ReadFile(device)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 1<<20), data)
}

// A default ACL is set when its directory has all its files, even when that is late.
func TestUnpackDefaultACLs(t *testing.T) {
	p := &place{path: mounted(t, "ext4", 256<<20, "-N", "30000")}
	top := dirItem("acl", 0o755)
	top.Xattrs = map[string][]byte{defaultACL: aclOf(7), "user.first": []byte("1")}
	again := dirItem("acl", 0o750)
	again.Xattrs = map[string][]byte{"user.second": []byte("2")}
	items := []item{top, fileItem("acl/early", "")}
	for i := range 20_000 {
		items = append(items, dirItem(fmt.Sprintf("d/%d", i), 0o755))
	}
	items = append(items, again, fileItem("acl/late", ""), dirItem("acl/sub", 0o755))
	root := openRoot(t, p.path)
	defer root.Close()
	_, err := Unpack(context.Background(), root, bytes.NewReader(archiveOf(t, items...)), UnpackOptions{})
	require.NoError(t, err)
	got := details(t, p.path+"/acl")
	assert.NotContains(t, got["early"], "posix_acl")
	assert.NotContains(t, got["late"], "posix_acl")
	assert.NotContains(t, got["sub"], "posix_acl")
	for _, key := range []string{defaultACL, "user.first", "user.second"} {
		assert.Contains(t, got["."], key)
	}
	assert.EqualValues(t, 0o750, p.stat(t, "acl").Mode&0o7777)
	st := p.stat(t, "acl")
	assert.Equal(t, itemTime.UnixNano(), st.Mtim.Nano())
}

// Memory does not grow with the number of members.
func TestUnpackMemory(t *testing.T) {
	require.Zero(t, os.Getuid(), "this test needs root")
	path := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", path, "tmpfs", 0, "size=2g,nr_inodes=0"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(path, 0)) })
	root := openRoot(t, path)
	defer root.Close()
	r, w := io.Pipe()
	go func() { w.CloseWithError(flood(w, 200_000)) }()
	runtime.GC() // what the tests before have left
	var most, reports uint64
	stats, err := Unpack(context.Background(), root, r, UnpackOptions{Progress: func(_, _ int64) {
		if reports++; reports%50 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}})
	require.NoError(t, err)
	assert.EqualValues(t, 200_000, stats.Members)
	assert.Less(t, most, uint64(40<<20))
}

// flood writes tiny members: directories, files and links, with long names.
func flood(out io.Writer, members int) error {
	w := archive.NewWriter(out)
	long := strings.Repeat("long-name-", 15)
	for i := range members {
		item := fileItem(fmt.Sprintf("%s%d/%s%d", long, i/4, long, i), "")
		if i%4 == 0 {
			item = dirItem(fmt.Sprintf("%s%d", long, i/4), 0o755)
		}
		if err := w.WriteHeader(&item.Header); err != nil {
			return err
		}
	}
	return w.Close()
}
