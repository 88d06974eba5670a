//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/tarmode"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// exports is TMP_ROOT of a scene.
const exports = testbed.Scratch + "/exports"

// filesOf are those of an image in the datastore's directory, under temporary names, too.
func (s *site) filesOf(id string) (found []string) {
	s.Helper()
	for _, pattern := range []string{"image-", ".image-"} {
		files, err := filepath.Glob(filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), pattern+id+"-*"))
		require.NoError(s, err)
		found = append(found, files...)
	}
	return found
}

// imageFileScenes are the verbs that make files of images on the front-end.
func imageFileScenes() []scene {
	archive := filepath.Join(inbox, "scene.tgz")
	path := filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), fmt.Sprintf("image-%d-fixed", sanImage))
	const copied = 10
	fields := imageFields{"PATH": archive, "TEMPLATE/MODE": "TGZ", "TEMPLATE/SIZE": "64M", "TEMPLATE/FSTYPE": "ext4"}
	before := func(s *site) {
		s.Cleanup(func() {
			for _, file := range s.filesOf("*") {
				assert.NoError(s, os.Remove(file))
			}
		})
		require.NoError(s, os.MkdirAll(inbox, 0o755))
		_, err := debian.Pack(s.Context(), smallTree(s.T), archive, tarmode.TGZ)
		require.NoError(s, err)
	}
	file := func(s *site) {
		before(s)
		s.root("cp", archive, path)
		s.root("chown", "oneadmin:", path)
		s.oned.Put(fakeoned.Images, sanImage, fakeoned.Image{ID: sanImage, Name: "archive", Source: path, Template: map[string]string{"MODE": "TGZ", "FSTYPE": "ext4"}}.Document())
		s.oned.Put(fakeoned.Images, copied, fakeoned.Image{ID: copied, Name: "copy", Template: map[string]string{}}.Document())
	}
	whole := func(id int) func(*site) {
		return func(s *site) {
			found := s.filesOf(fmt.Sprint(id))
			require.Len(s, found, 1)
			s.root("cmp", archive, found[0])
		}
	}
	on := func(id int, fields imageFields) func(*site) string {
		return func(s *site) string { return encoded(s.action(id, fields, nil)) }
	}
	return []scene{
		{name: "cp of an archive", before: before, argv: verb("datastore/cp", sanImage), stdin: on(sanImage, fields), after: whole(sanImage)},
		{name: "cp of another image's archive", before: file, argv: verb("datastore/cp", copied), stdin: on(copied, imageFields{"PATH": fmt.Sprintf("vol://%d", sanImage)}), after: func(s *site) {
			whole(copied)(s)
			assert.Equal(s, "TGZ", s.imageTemplate(copied, "MODE"))
		}},
		{name: "clone of a file", before: file, argv: verb("datastore/clone", copied), stdin: on(copied, imageFields{"PATH": path}), after: whole(copied)},
		{name: "rm of a file", before: file, argv: verb("datastore/rm", sanImage), stdin: on(sanImage, imageFields{"SOURCE": path}), after: func(s *site) { assert.Empty(s, s.filesOf("*")) }},
		{name: "export", cxmrc: map[string]string{"TMP_ROOT": exports}, before: func(s *site) {
			s.root("install", "-d", "-o", "oneadmin", exports)
			s.Cleanup(func() { assert.NoError(s, os.RemoveAll(exports)) })
			s.putImage(sanImage)
		}, argv: verb("datastore/export", sanImage), stdin: on(sanImage, imageFields{"SOURCE": imageVolume(sanImage)}), after: func(s *site) {
			found, err := filepath.Glob(exports + "/*.gz")
			require.NoError(s, err)
			require.NotEmpty(s, found)
			s.root(append([]string{"gzip", "-t"}, found...)...)
		}},
	}
}
