//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

func TestBadTemplate(t *testing.T) {
	s := start(t, testbed.Options{})
	tree := smallTree(t)
	for _, c := range []struct {
		name     string
		template map[string]string
		want     []string
	}{
		{"SIZE 0", map[string]string{"SIZE": "0"}, []string{`"0"`, "SIZE in the image's template"}},
		{"SIZE -1", map[string]string{"SIZE": "-1"}, []string{`"-1"`, "SIZE in the image's template"}},
		{"SIZE 8X", map[string]string{"SIZE": "8X"}, []string{`"8X"`, "SIZE in the image's template"}},
		{"SIZE 99999T", map[string]string{"SIZE": "99999T"}, []string{"too little free space"}},
		{"SIZE with a command", map[string]string{"SIZE": "$(reboot)"}, []string{"SIZE in the image's template"}},
		{"FSTYPE unknown", map[string]string{"FSTYPE": "reiserfs"}, []string{`"reiserfs"`, "ext4"}},
		{"FSTYPE with a space", map[string]string{"FSTYPE": "ext4 -F"}, []string{`"ext4 -F"`, "ext4"}},
		{"FSTYPE that holds no tree", map[string]string{"FSTYPE": "vfat"}, []string{`"vfat"`}},
		{"FSTYPE swap", map[string]string{"FSTYPE": "swap"}, []string{`"swap"`}},
		{"MODE unknown", map[string]string{"MODE": "TGX"}, []string{`"TGX"`, "TGZ"}},
		{"SIZE too small for xfs", map[string]string{"FSTYPE": "xfs", "SIZE": "16M"}, []string{"mkfs.xfs"}},
		{"quotes and newlines", map[string]string{"SIZE": "8G\"\n;'`id`$(id)ü"}, []string{"SIZE in the image's template"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.pack(tree, s.tarImage(7, "64M", nil))
			s.refused(s.tarImage(7, "64M", c.template), c.want...)
		})
	}
}

func TestVolumeGroupOfTheDatastore(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"ALLOWED_VGS": testbed.Group + " vg-two"}})
	image := s.tarImage(7, "64M", nil)
	s.pack(smallTree(t), image)
	for group, want := range map[string][]string{
		"vg-other": {`"vg-other"`, "not allowed on this node", "agent.conf"},
		"vg-two":   {"vg-two"},
		"vg one":   {"VG_NAME", `"vg one"`},
		"-x":       {"VG_NAME", `"-x"`},
	} {
		t.Run(group, func(t *testing.T) {
			s := s.in(t)
			s.oned.Put(fakeoned.Datastores, fakeoned.SystemDS, fakeoned.SystemDatastore(map[string]string{"VG_NAME": group}))
			s.refused(image, want...)
		})
	}
}

// A disk in use is neither replaced nor removed nor parked; one that is not ours is
// never touched.
func TestVolumeInUse(t *testing.T) {
	s := start(t, testbed.Options{})
	image := s.tarImage(7, "64M", nil)
	s.pack(smallTree(t), image)
	s.vm(fakeoned.CloneDisk(0, image, 0))
	s.clone(image, 0)
	before := s.volume(0)
	s.mounted(0, "ext4", func(directory string) {
		again := append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)
		s.fails([]string{volume(0), "in use"}, "clone", again...)
		s.fails([]string{volume(0), "in use"}, "delete", append([]string{at("node1", 0)}, ofImage...)...)
		s.fails([]string{volume(0), "in use"}, "delete", append([]string{"node1:" + home}, ofSystem...)...)
		s.fails([]string{volume(0), "in use"}, "mv", append([]string{at("node1", 0), at("frontend", 0)}, ofImage...)...)
		now := s.complete(0, lvm.Exclusive)
		assert.Equal(t, before.UUID, now.UUID)
		assert.Equal(t, before.Tags, now.Tags)
		assert.FileExists(t, filepath.Join(directory, "etc/hostname"))
	})
	s.clone(image, 0) // oned repeats a whole prolog: a disk that nobody uses is made anew
	assert.NotEqual(t, before.UUID, s.volume(0).UUID)
	s.deleteDisk(0)
}

// Names and values are text, whatever is in them.
func TestOddNames(t *testing.T) {
	s := start(t, testbed.Options{})
	odd := "it's \"quoted\"\n$(touch " + testbed.Scratch + "/pwned) `touch " + testbed.Scratch + "/pwned` ünïcödé & <tag> ]]> \\"
	tree := smallTree(t)
	image := s.tarImage(7, "64M", map[string]string{"DESCRIPTION": odd, "LABEL": odd})
	s.pack(tree, image)
	image.Name = odd
	s.oned.Put(fakeoned.Images, image.ID, image.Document())
	disk := fakeoned.CloneDisk(0, image, 0).With(map[string]string{"DESCRIPTION": odd})
	s.oned.Put(fakeoned.VMs, vmID, fakeoned.VM{ID: vmID, Name: odd, Host: "node1", Disks: []fakeoned.Disk{disk}}.Document())
	s.clone(image, 0)
	s.sameTree(tree, 0, "ext4")
	s.deleteDisk(0)
	assert.NoFileExists(t, filepath.Join(testbed.Scratch, "pwned"))

	for name, argv := range map[string][]string{
		"host that is an option":   {"frontend:" + image.Source, "-oProxyCommand=x:" + home + "/disk.0", "42", "100"},
		"path with a command":      {"frontend:" + image.Source, "node1:" + home + "/disk.0;id", "42", "100"},
		"path to the parent":       {"frontend:" + image.Source, "node1:" + home + "/../43/disk.0", "42", "100"},
		"another VM's home":        {"frontend:" + image.Source, at("node1", 0), "43", "100"},
		"VM that is no number":     {"frontend:" + image.Source, at("node1", 0), "$(id)", "100"},
		"too few":                  {"frontend:" + image.Source},
		"home that is not allowed": {"frontend:" + image.Source, "node1:/etc/101/42/disk.0", "42", "100"},
		"no image file":            {"frontend:" + image.Source + "-gone", at("node1", 0), "42", "100"},
		"volume of the SAN":        {"lv-oneimg-7", at("node1", 0), "42", "100"},
	} {
		t.Run(name, func(t *testing.T) { s.in(t).fails(nil, "clone", argv...) })
	}
}

// The front-end's disk is full: nothing of the image is left, and the disk is as it was.
func TestFullFrontEnd(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 32))
	s.ok("mkimage", append([]string{"32", "raw", at("node1", 0)}, ofSystem...)...)
	f, err := os.OpenFile(device(0), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(randomBytes(t, 32<<20))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	full := testbed.DatastorePath(fakeoned.ImageDS)
	s.root("mount", "-t", "tmpfs", "-o", "size=4m,uid=oneadmin,gid=oneadmin", "none", full)
	defer s.root("umount", full)
	for _, mode := range []string{"RAW", "GZIP"} {
		s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(map[string]string{"MODE": mode}))
		saved := s.image(20, nil)
		s.fails([]string{"no space left on device", saved.Source}, "cpds", append([]string{at("node1", 0), saved.Source, "-1"}, ofImage...)...)
		s.settled()
		entries, err := os.ReadDir(full)
		require.NoError(t, err)
		assert.Empty(t, entries)
		assert.Empty(t, s.imageTemplate(20, "MODE"))
		s.complete(0, lvm.Exclusive)
	}
	// MVDS keeps the disk as well.
	image := s.image(21, map[string]string{"MODE": "GZIP"})
	s.vm(fakeoned.PersistentDisk(0, image))
	s.fails([]string{"no space left on device"}, "mvds", append([]string{at("node1", 0), image.Source}, ofImage...)...)
	s.settled()
	s.complete(0, lvm.Exclusive)
	s.deleteDisk(0)
}

// A group that is too small says how much there is.
func TestGroupIsFull(t *testing.T) {
	s := start(t, testbed.Options{})
	const mib = 2 << 20 // of a group of 1 TiB
	s.vm(fakeoned.VolatileDisk(0, "", mib))
	s.fails([]string{"too little free space"}, "mkimage", append([]string{fmt.Sprint(mib), "raw", at("node1", 0)}, ofSystem...)...)
}
