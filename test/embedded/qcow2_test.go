//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

const qcow2ID = 24

var formatElement = regexp.MustCompile(`<FORMAT>.*?</FORMAT>|<FORMAT/>`)

// qcow2Image makes a QCOW2 file of a raw disk, whose record says that it has a format.
func (s *site) qcow2Image(raw, format string) fakeoned.Image {
	s.Helper()
	image := s.image(qcow2ID, map[string]string{"SIZE": "16M"})
	s.root("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image.Source)
	s.root("chown", "oneadmin:", image.Source)
	s.Cleanup(func() { assert.NoError(s, os.Remove(image.Source)) })
	document := formatElement.ReplaceAllLiteralString(s.oned.Document(fakeoned.Images, image.ID), "<FORMAT>"+format+"</FORMAT>")
	require.Contains(s, document, "<FORMAT>"+format)
	s.oned.Put(fakeoned.Images, image.ID, document)
	return image
}

func qcow2Scenes(i sceneImages) []scene {
	source := filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), fmt.Sprintf("%032x", qcow2ID))
	is := func(s *site) { exclusive(s); s.root("cmp", i.raw.Source, device(0)) }
	linked := func(s *site) {
		s.vm(fakeoned.PersistentDisk(0, s.qcow2Image(i.raw.Source, "qcow2")))
		s.ok("ln", "frontend:"+source, at("node1", 0), ofImage[0], ofImage[1])
	}
	return []scene{
		{name: "CLONE of a QCOW2 file", before: func(s *site) { s.vm(fakeoned.CloneDisk(0, s.qcow2Image(i.raw.Source, "qcow2"), 0)) },
			argv: verb("clone", "frontend:"+source, at("node1", 0), ofImage), after: is},
		{name: "MVDS to a QCOW2 file", before: linked, argv: verb("mvds", at("node1", 0), source, ofImage), after: func(s *site) {
			gone(s)
			s.root("qemu-img", "compare", "-f", "raw", "-F", "qcow2", i.raw.Source, source)
		}},
	}
}

// A QCOW2 file in a datastore of OpenNebula's own becomes a disk, and a persistent one a QCOW2
// file again.
func TestQCOW2Files(t *testing.T) {
	s := start(t, testbed.Options{})
	raw := filepath.Join(t.TempDir(), "raw")
	s.sparseDisk(raw, 16<<20)
	t.Run("there and back", func(t *testing.T) {
		s := s.in(t)
		image := s.qcow2Image(raw, "qcow2")
		s.vm(fakeoned.CloneDisk(0, image, 16))
		s.ok("clone", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)...)
		s.root("cmp", "-n", "16777216", raw, device(0))
		s.deleteHome()
		s.vm(fakeoned.PersistentDisk(0, image))
		s.ok("ln", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)...)
		written := s.scribble(0, 'x')
		s.ok("mvds", append([]string{at("node1", 0), image.Source}, ofImage...)...)
		s.root("qemu-img", "compare", "-f", "raw", "-F", "qcow2", written, image.Source)
		s.deleteHome()
	})
	t.Run("raw by its record", func(t *testing.T) {
		s := s.in(t)
		image := s.qcow2Image(raw, "raw")
		s.vm(fakeoned.CloneDisk(0, image, 16))
		s.ok("clone", append([]string{"frontend:" + image.Source, at("node1", 0)}, ofImage...)...)
		s.root("cmp", "-n", "65536", image.Source, device(0))
		s.deleteHome()
	})
	t.Run("refused", func(t *testing.T) {
		s := s.in(t)
		image := s.qcow2Image(raw, "qcow2")
		s.root("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", image.Source)
		s.refused(image, "backing file")
	})
}
