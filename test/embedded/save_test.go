//go:build embedded

package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// What a disk is saved as: what the datastore wants, unless that takes a look at a file
// system that a guest has written.
func TestSave(t *testing.T) {
	s := start(t, testbed.Options{})
	tree := smallTree(t)
	source := s.tarImage(7, "64M", nil)
	s.pack(tree, source)
	for _, c := range []struct{ wanted, readGuestFS, saved string }{
		{"RAW", "False", "RAW"}, {"GZIP", "False", "GZIP"}, {"ZSTD", "False", "ZSTD"},
		{"TGZ", "False", "GZIP"}, {"TZST", "False", "ZSTD"},
		{"RAW", "True", "RAW"}, {"TGZ", "True", "TGZ"}, {"TZST", "True", "TZST"},
	} {
		t.Run(c.wanted+" READ_GUEST_FS="+c.readGuestFS, func(t *testing.T) {
			s := s.in(t)
			s.settings(map[string]string{"READ_GUEST_FS": c.readGuestFS}, nil)
			s.vm(fakeoned.CloneDisk(0, source, 0))
			s.clone(source, 0)
			saved := s.saveAs(c.wanted, 0)
			s.complete(0, lvm.Exclusive)
			if c.saved == "RAW" {
				assert.Empty(t, s.imageTemplate(saved.ID, "MODE"))
			} else {
				assert.Equal(t, c.saved, s.imageTemplate(saved.ID, "MODE"))
				assert.Equal(t, "64M", s.imageTemplate(saved.ID, "SIZE"))
			}
			s.holds(saved.Source, c.saved, tree, 0)
			s.deleteDisk(0)
		})
	}
}

// saveAs saves a disk into a new image of a datastore that wants this mode.
func (s *site) saveAs(mode string, disk int) fakeoned.Image {
	s.Helper()
	s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(map[string]string{"MODE": mode}))
	saved := s.image(20, nil)
	require.NoError(s, os.RemoveAll(saved.Source))
	s.ok("cpds", append([]string{at("node1", disk), saved.Source, "-1"}, ofImage...)...)
	return saved
}

// imageTemplate is an attribute of an image as oned has it now.
func (s *site) imageTemplate(id int, name string) string {
	s.Helper()
	document := etree.NewDocument()
	require.NoError(s, document.ReadFromString(s.oned.Document(fakeoned.Images, id)))
	if e := document.FindElement("IMAGE/TEMPLATE/" + name); e != nil {
		return e.Text()
	}
	return ""
}

// holds: a saved image has the tree's files, or the disk's bytes.
func (s *site) holds(image, mode, tree string, disk int) {
	s.Helper()
	plain := filepath.Join(s.TempDir(), "plain")
	switch mode {
	case "TGZ", "TZST":
		require.NoError(s, debian.Unpack(s.Context(), image, plain))
		s.sameFiles(tree, plain)
		return
	case "RAW":
		plain = image
	case "GZIP":
		require.NoError(s, os.WriteFile(plain, []byte(s.root("gzip", "-dc", image)), 0o600))
	case "ZSTD":
		s.root("zstd", "-q", "-d", "-o", plain, image)
	}
	s.root("cmp", plain, device(disk))
}

// A group in files has no snapshots of what is in use: a copy is made all the same, and that
// is said; MVDS, which would remove the disk, copies nothing.
func TestSaveOfADiskInUse(t *testing.T) {
	s := start(t, testbed.Options{Cxmrc: map[string]string{"MODE": "RAW"}})
	s.vm(fakeoned.VolatileDisk(0, "ext4", 32))
	s.ok("mkimage", append([]string{"32", "raw", at("node1", 0)}, ofSystem...)...)
	held, err := os.Open(device(0))
	require.NoError(t, err)
	saved := s.image(20, nil)
	r := s.ok("cpds", append([]string{at("node1", 0), saved.Source, "-1"}, ofImage...)...)
	assert.Contains(t, r.Stderr, "is read without a snapshot")
	s.root("cmp", saved.Source, device(0))
	require.NoError(t, os.WriteFile(saved.Source, []byte("the image"), 0o644))
	s.fails([]string{"in use", "VM 42 still runs on it"}, "mvds", append([]string{at("node1", 0), saved.Source}, ofImage...)...)
	content, err := os.ReadFile(saved.Source)
	require.NoError(t, err)
	assert.Equal(t, "the image", string(content))
	require.NoError(t, held.Close())
	assert.Equal(t, []string{volume(0)}, s.names())
	s.deleteDisk(0)
}

// The disk of an undeployed VM is saved, too, and rests again afterwards.
func TestSaveOfAParkedDisk(t *testing.T) {
	s := start(t, testbed.Options{Cxmrc: map[string]string{"MODE": "ZSTD"}})
	s.vm(fakeoned.VolatileDisk(0, "ext4", 32))
	s.ok("mkimage", append([]string{"32", "raw", at("node1", 0)}, ofSystem...)...)
	s.ok("mv", append([]string{at("node1", 0), at("frontend", 0)}, ofSystem...)...)
	saved := s.image(20, nil)
	s.ok("cpds", append([]string{at("frontend", 0), saved.Source, "-1"}, ofImage...)...)
	assert.True(t, s.complete(0, lvm.Off).Tags.Has(lvm.TagParked))
	s.ok("mv", append([]string{at("frontend", 0), at("node1", 0)}, ofSystem...)...)
	s.holds(saved.Source, s.imageTemplate(saved.ID, "MODE"), "", 0)
	s.deleteDisk(0)
}

// What was saved deploys again, with the file system's UUID and label.
func TestSaveAndDeployAgain(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"READ_GUEST_FS": "True"}})
	for _, c := range []struct{ fstype, mode string }{
		{"ext4", "TGZ"}, {"ext4", "GZIP"}, {"ext4", "RAW"}, {"xfs", "TZST"}, {"xfs", "ZSTD"}, {"btrfs", "TGZ"}, {"btrfs", "RAW"},
	} {
		t.Run(c.fstype+" "+c.mode, func(t *testing.T) {
			s := s.in(t)
			tree := smallTree(t)
			size, mib := sizeFor(c.fstype)
			source := s.tarImage(7, size, map[string]string{"FSTYPE": c.fstype})
			s.pack(tree, source)
			s.vm(fakeoned.CloneDisk(0, source, 0))
			s.clone(source, 0)
			s.label(0, c.fstype, "root.disk-1")
			uuid := s.blkid(0, "UUID")
			require.NotEmpty(t, uuid)
			saved := s.saveAs(c.mode, 0)
			s.deleteDisk(0)

			saved.SizeMiB = mib
			s.vm(fakeoned.CloneDisk(1, saved, 0))
			s.clone(saved, 1)
			assert.Equal(t, uuid, s.blkid(1, "UUID"))
			assert.Equal(t, "root.disk-1", s.blkid(1, "LABEL"))
			s.sameTree(tree, 1, c.fstype)
			s.deleteDisk(1)
		})
	}
}

func (s *site) label(disk int, fstype, label string) {
	s.Helper()
	real, err := filepath.EvalSymlinks(device(disk))
	require.NoError(s, err)
	switch fstype {
	case "xfs":
		s.root("xfs_admin", "-L", label, real)
	case "btrfs":
		s.root("btrfs", "filesystem", "label", real, label)
	default:
		s.root("tune2fs", "-L", label, real)
	}
}

// MVDS keeps what the image's record says it is, and removes the disk only when the image
// is whole.
func TestMoveIntoTheDatastore(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"READ_GUEST_FS": "True"}})
	for _, mode := range []string{"RAW", "GZIP", "ZSTD", "TGZ", "TZST"} {
		t.Run(mode, func(t *testing.T) {
			s := s.in(t)
			tree := smallTree(t)
			image := s.image(7, map[string]string{"MODE": mode, "SIZE": "64M", "FSTYPE": "ext4"})
			if strings.HasPrefix(mode, "T") {
				s.pack(tree, image)
			} else {
				s.rawFileSystem(tree, image.Source, mode)
			}
			before, err := os.Stat(image.Source)
			require.NoError(t, err)
			s.vm(fakeoned.PersistentDisk(0, image))
			s.ok("ln", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)...)
			s.sameTree(tree, 0, "ext4")
			s.ok("mvds", append([]string{at("node1", 0), image.Source}, ofImage...)...)
			assert.Equal(t, mode, s.imageTemplate(image.ID, "MODE"))
			after, err := os.Stat(image.Source)
			require.NoError(t, err)
			assert.False(t, os.SameFile(before, after), "the old image was whole until the new one was")
			s.ok("ln", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)...)
			s.sameTree(tree, 0, "ext4")
			s.deleteDisk(0)
		})
	}
}

// rawFileSystem makes a disk with an ext4 of the tree's files, perhaps compressed.
func (s *site) rawFileSystem(tree, path, mode string) {
	s.Helper()
	disk := filepath.Join(s.TempDir(), "disk")
	s.root("mke2fs", "-q", "-t", "ext4", "-d", tree, disk, "64M")
	for _, field := range []string{"mtime @1700000000", "mtime_extra 0"} { // of the root it keeps none
		s.root("debugfs", "-w", "-R", "set_inode_field / "+field, disk)
	}
	switch mode {
	case "GZIP":
		s.root("gzip", "-1", disk)
		disk += ".gz"
	case "ZSTD":
		s.root("zstd", "-q", disk)
		disk += ".zst"
	}
	s.root("mv", disk, path)
}
