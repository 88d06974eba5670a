//go:build embedded

package tarmode

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
)

// command runs a program and gives its standard output.
func command(t testing.TB, program string, args ...string) string {
	t.Helper()
	res, err := run.Exec{}.Run(context.Background(), run.Cmd{Path: program, Args: args})
	require.NoError(t, err)
	return string(res.Stdout)
}

// mounted makes a file system in a sparse file and mounts it until the test ends.
func mounted(t testing.TB, kind string, size int64, mkfs ...string) string {
	t.Helper()
	require.Zero(t, os.Getuid(), "this test needs root")
	image := filepath.Join(t.TempDir(), "image")
	path := filepath.Join(t.TempDir(), kind)
	require.NoError(t, os.Mkdir(path, 0o755))
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, size))
	command(t, "mkfs."+kind, append(append([]string{"-q"}, mkfs...), image)...)
	command(t, "mount", "-o", "loop,nodev,nosuid,noexec", image, path)
	t.Cleanup(func() { command(t, "umount", path) })
	return path
}

// aclOf is a POSIX ACL in the kernel's binary form: version 2, then tag, permissions
// and id of each entry (include/uapi/linux/posix_acl_xattr.h).
func aclOf(user uint32) []byte {
	const nobody = ^uint32(0)
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, permissions uint16
		id               uint32
	}{{1, 7, nobody}, {2, 5, user}, {4, 5, nobody}, {16, 5, nobody}, {32, 4, nobody}} {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.permissions)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	return acl
}

// capability is cap_net_raw=ep: revision 2 and the effective bit, then permitted and
// inheritable sets (include/uapi/linux/capability.h).
var capability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// grow fills a directory with everything a tar can hold.
func grow(t *testing.T, top string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(top, name) }
	for name, mode := range map[string]uint32{
		"etc": 0o755, "etc/private": 0o700, "tmp": 0o1777, "group": 0o2775, "none": 0, "dev": 0o755, "acl": 0o755,
		"empty": 0o511, "deep/" + strings.Repeat("directory-with-a-long-name/", 12): 0o755,
	} {
		require.NoError(t, os.MkdirAll(in(name), 0o755))
		require.NoError(t, unix.Chmod(in(name), mode))
	}
	for name, size := range map[string]int{
		"etc/hosts": 100, "etc/empty": 0, "etc/large": 3_000_001, "etc/exact": bufferSize, "etc/private/key": 4096, "suid": 5,
		"none/x": 1, "etc/invalid-\xff\xfe-utf8": 3, "etc/new\nline": 2, "ping": 10, "acl/f": 7,
		"deep/" + strings.Repeat("directory-with-a-long-name/", 12) + strings.Repeat("n", 255): 9,
	} {
		require.NoError(t, os.WriteFile(in(name), bytes.Repeat([]byte{byte(size), 'x', '\n'}, size)[:size], 0o644))
	}
	for i := range 300 {
		require.NoError(t, os.WriteFile(in(fmt.Sprintf("group/file%d", i)), bytes.Repeat([]byte{byte(i)}, i*31), 0o640))
	}
	require.NoError(t, os.Chown(in("suid"), 1234, 5678))
	require.NoError(t, os.Chown(in("etc/private"), 1<<31, 1<<32-3))
	require.NoError(t, unix.Chmod(in("suid"), 0o6755))
	require.NoError(t, os.Link(in("etc/hosts"), in("hosts")))
	require.NoError(t, os.Link(in("etc/large"), in("zz-large")))
	require.NoError(t, os.Symlink("etc/hosts", in("link")))
	require.NoError(t, os.Symlink("/"+strings.Repeat("t", 1000), in("long-link")))
	require.NoError(t, os.Link(in("link"), in("link-again")))
	require.NoError(t, os.Lchown(in("link"), 33, 44))
	require.NoError(t, unix.Mkfifo(in("dev/fifo"), 0o620))
	require.NoError(t, unix.Mknod(in("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, unix.Mknod(in("dev/block"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	growHoles(t, top)
	growXattrs(t, top)
	stamp(t, top)
}

func growHoles(t *testing.T, top string) {
	for name, offsets := range map[string][]int64{"sparse": {0, 1 << 20, 50 << 20}, "sparse-small": {8192}, "hole": nil} {
		f, err := os.Create(filepath.Join(top, name))
		require.NoError(t, err)
		for _, offset := range offsets {
			_, err := f.WriteAt(bytes.Repeat([]byte("data"), 1024), offset)
			require.NoError(t, err)
		}
		require.NoError(t, f.Truncate(60<<20+123))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
}

func growXattrs(t *testing.T, top string) {
	for name, xattrs := range map[string]map[string][]byte{
		"ping":      {"security.capability": capability, "user.comment": []byte("a = b\x00c")},
		"acl":       {"system.posix_acl_access": aclOf(1001), "system.posix_acl_default": aclOf(1002)},
		"acl/f":     {"system.posix_acl_access": aclOf(1003), "trusted.note": []byte("t")},
		"etc/hosts": {"security.selinux": []byte("system_u:object_r:net_conf_t:s0\x00")},
		"link":      {"trusted.of-a-link": []byte("l")},
		"dev/null":  {"trusted.of-a-device": []byte("d")},
		"etc":       {"user.of-a-directory": []byte("x")},
	} {
		for key, value := range xattrs {
			require.NoError(t, unix.Lsetxattr(filepath.Join(top, name), key, value, 0), "%s %s", name, key)
		}
	}
}

// stamp gives everything a time of its own, with nanoseconds, some before 1970.
func stamp(t *testing.T, top string) {
	n := int64(0)
	var paths []string
	require.NoError(t, filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	for _, path := range paths {
		when := unix.Timespec{Sec: 1_000_000_000 + n*1000, Nsec: n * 1_000_003 % 1_000_000_000}
		if filepath.Base(path) == "empty" {
			when = unix.Timespec{Sec: -12345} // bsdtar counts the nanoseconds before 1970 backwards
		}
		require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
		n++
	}
}

// sameTree compares two trees, by rsync and by what rsync does not look at.
func sameTree(t *testing.T, want, got string) {
	t.Helper()
	assert.Empty(t, command(t, "rsync", "-aHAXni", "--numeric-ids", "--checksum", "--delete", "--exclude=/lost+found", "--filter=-x trusted.SGI_ACL_*",
		want+"/", got+"/"))
	assert.Equal(t, details(t, want), details(t, got))
}

func details(t *testing.T, top string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	require.NoError(t, filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(top, path)
		require.NoError(t, err)
		if rel == "lost+found" {
			return fs.SkipDir
		}
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(path, &st))
		text := fmt.Sprintf("%o %d:%d %v %d", st.Mode, st.Uid, st.Gid, st.Mtim, st.Rdev)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			text += fmt.Sprintf(" %d links, %d bytes", st.Nlink, st.Size)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			text += fmt.Sprintf(", sparse %v", st.Blocks*512 < st.Size/2)
		}
		dir, err := os.Open(filepath.Dir(path))
		require.NoError(t, err)
		defer dir.Close()
		xattrs, err := linkXattrs(int(dir.Fd()), filepath.Base(path))
		require.NoError(t, err)
		tree[rel] = fmt.Sprintf("%s %q", text, xattrs) // the keys of a map are printed in order
		return nil
	}))
	return tree
}
