//go:build embedded

package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// fullTree has one of everything that a root file system can hold.
func (s *site) fullTree() string {
	s.Helper()
	root := s.TempDir()
	require.NoError(s, os.Chmod(root, 0o755))
	require.NoError(s, debian.Decorate(s.Context(), root))
	at := func(name string) string { return filepath.Join(root, name) }
	require.NoError(s, os.WriteFile(at("big"), randomBytes(s.T, 8<<20), 0o600))
	require.NoError(s, os.WriteFile(at("sticky-file"), []byte("x"), 0o644))
	require.NoError(s, unix.Chmod(at("sticky-file"), 0o7111))
	require.NoError(s, os.Mkdir(at("tmp"), 0o755))
	require.NoError(s, unix.Chmod(at("tmp"), 0o1777))
	require.NoError(s, unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 300))))
	require.NoError(s, os.Symlink(strings.Repeat("../", 60)+"target", at("long-symlink")))
	require.NoError(s, os.Lchown(at("long-symlink"), 70000, 3_000_000_000))
	require.NoError(s, unix.Setxattr(at("tmp"), "user.of-a-directory", []byte(strings.Repeat("v", 300)), 0))
	require.NoError(s, unix.Setxattr(at("tmp"), "trusted.overlay.opaque", []byte("y"), 0))
	require.NoError(s, os.Link(at("big"), at("tmp/another-name")))
	for i := range 300 { // more than one batch, and than one block of a directory
		name := at("many/" + strings.Repeat("n", i%200+1) + string(rune('a'+i%26)))
		require.NoError(s, os.MkdirAll(filepath.Dir(name), 0o750))
		require.NoError(s, os.WriteFile(name, []byte(name), 0o600))
	}
	require.NoError(s, unix.Chmod(root, 0o751))
	return root
}

// packers make an image of a tree. GNU tar's own format has no extended attributes: it is
// packed as PAX.
func (s *site) packers() map[string]func(tree string, image fakeoned.Image) {
	compressed := func(argv ...string) func(string, fakeoned.Image) {
		return func(tree string, image fakeoned.Image) {
			compressor := map[string]string{"TGZ": "gzip -1", "TZST": "zstd"}[image.Template["MODE"]]
			argv := append(append([]string{}, argv...), "--use-compress-program="+compressor, "-cf", image.Source, "-C", tree, ".")
			s.root(argv...)
		}
	}
	return map[string]func(string, fakeoned.Image){
		"our Pack": s.pack,
		"GNU tar":  compressed("tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "--selinux", "--sparse", "--numeric-owner"),
		"bsdtar": func(tree string, image fakeoned.Image) {
			s.forBSD(tree)
			compressed("bsdtar", "--format=pax", "--xattrs", "--acls", "--numeric-owner")(tree, image)
		},
	}
}

// forBSD takes from a tree what bsdtar 3.6 writes and reads wrongly: fractions of seconds
// before 1970.
func (s *site) forBSD(tree string) {
	s.Helper()
	require.NoError(s, os.Chtimes(filepath.Join(tree, "srv/decoration/setuid"), time.Now(), time.Unix(86400, 123456789)))
}

// Whoever made the archive, the disk has what the tree has, by rsync's judgement.
func TestRoundTrip(t *testing.T) {
	s := start(t, testbed.Options{})
	tree := s.fullTree()
	for _, c := range []struct{ packer, mode, fstype string }{
		{"our Pack", "TGZ", "ext4"}, {"our Pack", "TZST", "ext4"}, {"our Pack", "TGZ", "xfs"},
		{"our Pack", "TZST", "xfs"}, {"our Pack", "TGZ", "btrfs"}, {"our Pack", "TZST", "btrfs"},
		{"GNU tar", "TGZ", "ext4"}, {"GNU tar", "TZST", "xfs"}, {"GNU tar", "TGZ", "btrfs"},
		// bsdtar comes last: it takes something from the tree.
		{"bsdtar", "TGZ", "ext4"}, {"bsdtar", "TZST", "xfs"}, {"bsdtar", "TZST", "btrfs"},
	} {
		t.Run(c.packer+" "+c.mode+" "+c.fstype, func(t *testing.T) {
			s := s.in(t)
			image := s.image(7, map[string]string{"MODE": c.mode, "SIZE": "400M", "FSTYPE": c.fstype})
			s.packers()[c.packer](tree, image)
			s.vm(fakeoned.CloneDisk(0, image, 0))
			s.clone(image, 0)
			s.sameTree(tree, 0, c.fstype)
			s.mounted(0, c.fstype, func(directory string) {
				var st unix.Stat_t
				require.NoError(t, unix.Stat(filepath.Join(directory, debian.SparseFile), &st))
				assert.Less(t, st.Blocks*512, int64(1<<20), "holes are holes again")
			})
			s.checked(0, c.fstype)
			s.deleteDisk(0)
		})
	}
}

// The other way: what CPDS packs, GNU tar and bsdtar unpack.
func TestRoundTripBack(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"READ_GUEST_FS": "True"}})
	tree := s.fullTree()
	s.forBSD(tree)
	image := s.tarImage(7, "400M", nil)
	s.pack(tree, image)
	s.vm(fakeoned.CloneDisk(0, image, 0))
	s.clone(image, 0)
	for _, mode := range []string{"TGZ", "TZST"} {
		saved := s.saveAs(mode, 0)
		byGNU := filepath.Join(t.TempDir(), "gnu")
		require.NoError(t, debian.Unpack(t.Context(), saved.Source, byGNU))
		s.sameFiles(tree, byGNU)
		byBSD := t.TempDir()
		s.root("bsdtar", "-xpf", saved.Source, "--xattrs", "--acls", "--numeric-owner", "-C", byBSD)
		s.root("touch", "-r", tree, byBSD) // that of the root it does not restore
		s.sameFiles(tree, byBSD)
	}
	s.deleteDisk(0)
}
