//go:build embedded

package archive

import (
	stdtar "archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// addRoot adds what only root can make: owners, devices, ACLs, capabilities.
func addRoot(t *testing.T, dir string) {
	require.Zero(t, os.Geteuid(), "this test needs root")
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	file(t, at("owned"), 0, nil)
	require.NoError(t, os.Chown(at("owned"), 65534, 4_000_000_000))
	file(t, at("many-ids"), 0, nil)
	require.NoError(t, os.Chown(at("many-ids"), 3_000_000, 2_097_151))
}

func addAttributes(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	file(t, at("ping"), 4, map[int64]string{0: "ping"})
	program(t, dir, "setcap", "cap_net_raw+ep", "ping")
	program(t, dir, "setfattr", "-n", "user.a", "-v", "0x00ff0a3d", "ping")
	program(t, dir, "setfattr", "-n", "user.50%=half", "-v", "yes", "ping")
	program(t, dir, "setfattr", "-n", "user.none", "ping")
	program(t, dir, "setfattr", "-n", "trusted.t", "-v", "t", "ping")
	program(t, dir, "setfacl", "-m", "u:12345:rw,u:4:r,g:777:x,m:rwx", "ping")
	require.NoError(t, os.Mkdir(at("shared"), 0o770))
	program(t, dir, "setfacl", "-m", "g:888:rwx", "-m", "d:u:99:rwx,d:o::-", "shared")
}

func fullTree(t *testing.T, nanoseconds int64) string {
	dir := makeTree(t)
	addLong(t, dir)
	addRoot(t, dir)
	settle(t, dir, nanoseconds)
	return dir
}

// TestReadTools reads what GNU tar and bsdtar write of a tree that only root can make.
func TestReadTools(t *testing.T) {
	plain := makeTree(t)
	require.NoError(t, unix.Mknod(plain+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	settle(t, plain, 0)
	whole := fullTree(t, 0)
	rich := fullTree(t, 123456789)
	addAttributes(t, rich)
	addSparse(t, rich)
	settle(t, rich, 123456789)
	old := makeTree(t)
	settle(t, old, 0)
	for _, c := range []struct {
		name, dir string
		argv      []string
	}{
		{"tar ustar", plain, []string{"tar", "--format=ustar", "--numeric-owner"}},
		{"tar oldgnu", whole, []string{"tar", "--format=oldgnu", "--numeric-owner"}},
		{"tar gnu", whole, []string{"tar", "--format=gnu"}},
		{"tar pax", rich, []string{"tar", "--format=pax", "-S", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"}},
		{"bsdtar v7", old, []string{"bsdtar", "--format=v7", "--numeric-owner"}},
		{"bsdtar ustar", plain, []string{"bsdtar", "--format=ustar"}},
		{"bsdtar gnutar", whole, []string{"bsdtar", "--format=gnutar"}},
		{"bsdtar pax", rich, []string{"bsdtar", "--format=pax", "--xattrs", "--acls"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			archive := program(t, c.dir, c.argv[0], append(c.argv[1:], "-cf-", ".")...)
			sameTree(t, treeOf(t, c.dir), treeIn(t, bytes.NewReader(archive)))
		})
	}
}

// TestToolsRead unpacks our archives with GNU tar and bsdtar.
func TestToolsRead(t *testing.T) {
	dir := fullTree(t, 0)
	addAttributes(t, dir)
	addSparse(t, dir)
	settle(t, dir, 987654321)
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, os.WriteFile(path, pack(t, dir), 0o600))
	for _, argv := range [][]string{
		{"tar", "--xattrs", "--xattrs-include=*", "--acls", "--selinux", "--numeric-owner"},
		{"bsdtar", "--xattrs", "--acls", "--numeric-owner"},
	} {
		t.Run(argv[0], func(t *testing.T) {
			to := t.TempDir()
			program(t, to, argv[0], append(argv[1:], "-xpf", path)...)
			want, got := treeOf(t, dir), treeOf(t, to)
			if argv[0] == "bsdtar" { // it leaves "." alone and does not decode the name
				delete(want, ".")
				delete(got, ".")
				delete(want["ping"].Xattrs, "user.50%=half")
				delete(got["ping"].Xattrs, "user.50%25%3Dhalf")
			}
			sameTree(t, want, got)
			listed := program(t, to, argv[0], "-tf", path)
			assert.Equal(t, len(treeOf(t, dir)), strings.Count(string(listed), "\n"))
		})
	}
}

// TestStandardLibraryReads lists our archives with archive/tar.
func TestStandardLibraryReads(t *testing.T) {
	dir := fullTree(t, 0)
	addSparse(t, dir)
	archive := pack(t, dir)
	ours, theirs := NewReader(bytes.NewReader(archive)), stdtar.NewReader(bytes.NewReader(archive))
	for {
		h, err := ours.Next()
		other, otherErr := theirs.Next()
		require.Equal(t, err, otherErr)
		if errors.Is(err, io.EOF) {
			return
		}
		assert.Equal(t, other.Name, h.Name)
		assert.Equal(t, other.Linkname, h.Linkname)
		assert.Equal(t, other.Typeflag, byte(h.Type))
		assert.Equal(t, other.Mode, int64(h.Mode))
		assert.Equal(t, [2]int{other.Uid, other.Gid}, [2]int{h.UID, h.GID})
		assert.Equal(t, other.Size, h.Size)
		assert.True(t, other.ModTime.Equal(h.ModTime))
		assert.Equal(t, [2]int64{other.Devmajor, other.Devminor}, [2]int64{int64(h.Major), int64(h.Minor)})
	}
}
