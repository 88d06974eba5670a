//go:build embedded

package embedded

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// encoded is a document as oned writes it to a driver's standard input.
func encoded(document string) string {
	return base64.StdEncoding.EncodeToString([]byte(document)) + "\n"
}

// eachBlock reads a disk from offset on, to its end.
func (s *site) eachBlock(disk int, offset int64, look func(at int64, block []byte)) {
	s.Helper()
	f, err := os.Open(device(disk))
	require.NoError(s, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for at := offset; ; at += int64(len(block)) {
		n, err := f.ReadAt(block, at)
		look(at, block[:n])
		if err == io.EOF {
			return
		}
		require.NoError(s, err)
	}
}

// zeros: the disk reads as zeros from offset on.
func (s *site) zeros(disk int, offset int64) {
	s.Helper()
	s.eachBlock(disk, offset, func(at int64, block []byte) {
		require.Empty(s, bytes.Trim(block, "\x00"), "at %d", at)
	})
}

// pattern is what the former owner of the space wrote.
var pattern = bytes.Repeat([]byte("another tenant's secret\n"), 1<<16/24)

// clean: nothing of the pattern can be read.
func (s *site) clean(disk int) {
	s.Helper()
	s.eachBlock(disk, 0, func(at int64, block []byte) {
		require.NotContains(s, string(block), "tenant's secret", "at %d", at)
	})
}

// soil fills the first mib MiB of the group's free space with the pattern: a disk is
// written full and removed by an agent that does not wipe.
func (s *site) soil(agent map[string]string, mib int64) {
	s.Helper()
	s.vm(fakeoned.VolatileDisk(9, "", mib))
	s.ok("mkimage", append([]string{fmt.Sprint(mib), "raw", at("node1", 9)}, ofSystem...)...)
	f, err := os.OpenFile(device(9), os.O_WRONLY, 0)
	require.NoError(s, err)
	whole := bytes.Repeat(pattern, 1<<20/len(pattern)+1)[:1<<20]
	for range mib {
		_, err := f.Write(whole)
		require.NoError(s, err)
	}
	require.NoError(s, f.Sync())
	require.NoError(s, f.Close())
	require.NoError(s, s.machine.Configure(agent, map[string]string{"WIPE": "create"}))
	s.deleteDisk(9)
	require.NoError(s, s.machine.Configure(agent, nil))
	s.Cleanup(func() { assert.NoError(s, s.machine.Configure(nil, nil)) })
}

// The group hands out old bytes, or the tests below would prove nothing.
func TestTheGroupHandsOutOldBytes(t *testing.T) {
	s := start(t, testbed.Options{})
	s.soil(nil, 16)
	head := make([]byte, 24)
	f, err := os.Open(groupDir() + "/pv")
	require.NoError(t, err)
	defer f.Close()
	_, err = f.ReadAt(head, 8<<20)
	require.NoError(t, err)
	assert.Contains(t, string(bytes.Repeat(pattern, 2)), string(head))
}

func TestNewDiskHasNoOldBytes(t *testing.T) {
	s := start(t, testbed.Options{})
	for _, c := range []struct{ zero, fstype string }{
		{"auto", ""}, {"auto", "ext4"}, {"auto", "swap"}, {"auto", "vfat"}, {"write", ""}, {"write", "ext4"},
	} {
		t.Run("WIPE_METHOD="+c.zero+" FS "+c.fstype, func(t *testing.T) {
			s := s.in(t)
			s.soil(map[string]string{"WIPE_METHOD": c.zero}, 32)
			s.vm(fakeoned.VolatileDisk(0, c.fstype, 64))
			s.ok("mkimage", append([]string{"32", "raw", at("node1", 0)}, ofSystem...)...)
			s.clean(0)
			s.deleteDisk(0)
		})
	}
}

func TestSparseExtractOntoDirtyLV(t *testing.T) {
	s := start(t, testbed.Options{})
	tree := smallTree(t)
	require.NoError(t, os.Truncate(sparseFile(t, tree), 16<<20))
	for _, zero := range []string{"auto", "write"} {
		t.Run("WIPE_METHOD="+zero+" TGZ", func(t *testing.T) {
			s := s.in(t)
			s.soil(map[string]string{"WIPE_METHOD": zero}, 32)
			image := s.tarImage(7, "32M", nil)
			s.pack(tree, image)
			s.vm(fakeoned.CloneDisk(0, image, 0))
			s.clone(image, 0)
			s.clean(0)
			s.sameTree(tree, 0, "ext4")
			s.deleteDisk(0)
		})
		t.Run("WIPE_METHOD="+zero+" RAW", func(t *testing.T) {
			s := s.in(t)
			s.soil(map[string]string{"WIPE_METHOD": zero}, 32)
			image := s.image(8, map[string]string{"SIZE": "32M"})
			image.SizeMiB = 32
			s.sparseDisk(image.Source, 32<<20)
			s.vm(fakeoned.CloneDisk(0, image, 0))
			s.clone(image, 0)
			s.clean(0)
			s.root("cmp", image.Source, device(0))
			s.deleteDisk(0)
		})
	}
}

func sparseFile(t *testing.T, tree string) string {
	t.Helper()
	path := tree + "/sparse"
	require.NoError(t, os.WriteFile(path, []byte("data"), 0o600))
	return path
}

// sparseDisk is a raw disk with a few islands of data.
func (s *site) sparseDisk(path string, size int64) {
	s.Helper()
	f, err := os.Create(path)
	require.NoError(s, err)
	require.NoError(s, f.Truncate(size))
	for _, offset := range []int64{0, size / 2, size - 4096} {
		_, err := f.WriteAt(randomBytes(s.T, 4096), offset)
		require.NoError(s, err)
	}
	require.NoError(s, f.Close())
}

func TestResize(t *testing.T) {
	s := start(t, testbed.Options{})
	resize := func(mib string) []string { return append([]string{at("node1", 0), mib}, ofSystem...) }
	for _, zero := range []string{"auto", "write"} {
		t.Run("WIPE_METHOD="+zero, func(t *testing.T) {
			s := s.in(t)
			s.soil(map[string]string{"WIPE_METHOD": zero}, 64)
			s.vm(fakeoned.VolatileDisk(0, "ext4", 32))
			s.ok("mkimage", append([]string{"32", "raw", at("node1", 0)}, ofSystem...)...)
			s.ok("resize", resize("48")...)
			assert.Equal(t, int64(48<<20), s.volume(0).Size)
			assert.Empty(t, s.volume(0).Tags.Get("unzeroed"))
			s.zeros(0, 32<<20)
			s.checked(0, "ext4")
			s.ok("resize", resize("48")...)
			s.fails([]string{volume(0), "smaller"}, "resize", resize("40")...)
			assert.Equal(t, int64(48<<20), s.volume(0).Size)
			s.ok("mv", append([]string{at("node1", 0), at("frontend", 0)}, ofSystem...)...)
			s.ok("resize", append([]string{at("frontend", 0), "64"}, ofSystem...)...)
			s.ok("mv", append([]string{at("frontend", 0), at("node1", 0)}, ofSystem...)...)
			s.zeros(0, 48<<20)
			s.deleteDisk(0)
		})
	}
	s.fails([]string{volume(0), "not found"}, "resize", resize("40")...)
}

// Each line: what is said about the size, the size it comes to. docs/verbs.md
func TestSizeOfADisk(t *testing.T) {
	s := start(t, testbed.Options{Cxmrc: map[string]string{"DEFAULT_LV_SIZE": "24M"}})
	tree := smallTree(t)
	for _, c := range []struct {
		name      string
		mode      string
		template  string // SIZE of the image
		imageMiB  int64  // as oned registered it
		wantedMiB int64  // by the user; 0: none
		mib       int64
	}{
		{"the template's SIZE", "TGZ", "32M", 20, 0, 32},
		{"the template's SIZE below oned's", "TGZ", "16M", 64, 0, 16},
		{"the user's larger one", "TGZ", "32M", 20, 48, 48},
		{"the user's larger one without SIZE", "TGZ", "", 20, 48, 48},
		{"oned's", "TGZ", "", 20, 0, 20},
		{"the default", "TGZ", "", 0, 0, 24},
		{"whole extents", "TGZ", "33", 20, 0, 36},
		{"raw: never less than the content", "RAW", "8M", 16, 0, 16},
		{"raw: more", "RAW", "20M", 16, 0, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			template := map[string]string{"MODE": c.mode}
			if c.template != "" {
				template["SIZE"] = c.template
			}
			image := s.image(7, template)
			image.SizeMiB = c.imageMiB
			s.oned.Put(fakeoned.Images, image.ID, image.Document())
			if c.mode == "TGZ" {
				s.pack(tree, image)
			} else {
				s.sparseDisk(image.Source, 16<<20)
			}
			s.vm(fakeoned.CloneDisk(0, image, c.wantedMiB))
			s.clone(image, 0)
			assert.Equal(t, c.mib<<20, s.volume(0).Size)
			s.deleteDisk(0)
		})
	}
}
