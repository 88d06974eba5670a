//go:build embedded

package embedded

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// isos is a directory that all nodes share.
const isos = testbed.Scratch + "/isos"

// sharedISO puts a file there, as an administrator does, and registers it.
func (s *site) sharedISO() fakeoned.Image {
	s.Helper()
	require.NoError(s, os.MkdirAll(isos, 0o755))
	path := isos + "/boot.iso"
	require.NoError(s, os.WriteFile(path, randomBytes(s.T, 1<<20), 0o644))
	s.Cleanup(func() { assert.NoError(s, os.RemoveAll(isos)) })
	image := fakeoned.Image{ID: sanImage, Name: "boot", Source: path, SizeMiB: 1, Template: map[string]string{}}
	s.oned.Put(fakeoned.Images, sanImage, image.Document())
	return image
}

var (
	sharedCXMRC = map[string]string{"SHARED_DIRS": isos}
	linkShared  = verb("ln", "frontend:"+isos+"/boot.iso", at("node1", 0), ofImage)
)

func sharedFileScenes() []scene {
	onVM := func(s *site) { s.vm(fakeoned.PersistentDisk(0, s.sharedISO())) }
	linked := func(s *site) { onVM(s); s.ok("ln", linkShared[1:]...) }
	released := func(s *site) {
		assert.False(s, exists(device(0)))
		assert.FileExists(s, isos+"/boot.iso")
	}
	return []scene{
		{name: "LN of a shared file", cxmrc: sharedCXMRC, before: onVM, argv: linkShared, after: func(s *site) {
			target, err := os.Readlink(device(0))
			require.NoError(s, err)
			assert.Equal(s, isos+"/boot.iso", target)
		}},
		{name: "MVDS of a shared file", cxmrc: sharedCXMRC, before: linked, argv: verb("mvds", at("node1", 0), isos+"/boot.iso", ofImage), after: released},
	}
}

// An ISO on the nodes' shared file system is linked, stays where it is, and is nobody else's.
func TestSharedFiles(t *testing.T) {
	s := start(t, testbed.Options{Agent: map[string]string{"SHARED_DIRS": isos}, Cxmrc: sharedCXMRC})
	image := s.sharedISO()
	stat := s.datastore("stat", 0, imageFields{"PATH": image.Source}, nil)
	require.Zero(t, stat.Status, stat.Stderr)
	assert.Equal(t, "1\n", stat.Stdout)
	cp := s.datastore("cp", sanImage, imageFields{"PATH": image.Source, "TYPE": "1"}, nil)
	require.Zero(t, cp.Status, cp.Stderr)
	assert.Equal(t, image.Source+" raw\n", cp.Stdout)
	s.failed(s.datastore("cp", sanImage, imageFields{"PATH": isos + "/none", "TYPE": "1"}, nil), "no such file")

	s.vm(fakeoned.PersistentDisk(0, image))
	s.ok("ln", linkShared[1:]...)
	s.root("cmp", image.Source, device(0))
	assert.Empty(t, s.names())
	s.ok("mv", append([]string{at("node1", 0), at("frontend", 0)}, ofImage...)...)
	s.ok("mv", append([]string{at("frontend", 0), at("node2", 0)}, ofImage...)...)
	s.root("cmp", image.Source, device(0))
	s.deleteDisk(0)
	s.deleteHome()
	rm := s.datastore("rm", sanImage, imageFields{"SOURCE": image.Source}, nil)
	require.Zero(t, rm.Status, rm.Stderr)
	assert.FileExists(t, image.Source)
	other := append([]string{"frontend:" + testbed.Scratch + "/isos/../secret", at("node1", 0), strconv.Itoa(vmID)}, ofImage[1])
	s.fails(nil, "ln", other...)
}
