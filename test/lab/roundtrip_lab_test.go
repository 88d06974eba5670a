//go:build lab

package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/profile"
	"one-clvm/tarmode"
	"one-clvm/test/build"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
)

// A Debian goes through a disk on one node, the other node, an image, and a disk again, and
// is what it was. (A whole one goes through a disk in make demo. What is left out here are
// more files of the kinds that stay, for which emulated nodes take minutes.)
func TestRoundTripOfDebian(t *testing.T) {
	t.Parallel()
	s := start(t, profile.Cluster, map[string]string{"MODE": "TZST"})
	root, err := build.Repository()
	require.NoError(t, err)
	archive, err := debian.Archive(t.Context(), filepath.Join(root, ".cache"), debian.Small)
	require.NoError(t, err)
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, debian.Unpack(t.Context(), archive, tree))
	for _, dir := range []string{"usr/lib", "usr/share"} {
		require.NoError(t, os.RemoveAll(filepath.Join(tree, dir)))
	}
	require.NoError(t, debian.Decorate(t.Context(), tree))
	files := filepath.Join(t.TempDir(), "images")
	require.NoError(t, os.Mkdir(files, 0o755))
	_, err = debian.Pack(t.Context(), tree, filepath.Join(files, "first"), tarmode.TZST)
	require.NoError(t, err)
	for _, n := range s.Nodes {
		conf := s.Output(t, n, "cat", "/etc/one-clvm/agent.conf") + "READ_GUEST_FS=True\n"
		require.NoError(t, n.Put(t.Context(), "/etc/one-clvm/agent.conf", strings.NewReader(conf), 0o644, 0))
	}
	name := func(i int) string { return filepath.Join(files, []string{"first", "second", "third"}[i]) }
	nodes := [][2]string{{"node1", "node2"}, {"node2", "node1"}}
	for i, on := range nodes {
		template := map[string]string{"MODE": "TZST", "SIZE": "512M", "FSTYPE": []string{"ext4", "xfs"}[i]}
		image := s.imageFile(i, name(i), template)
		saved := fakeoned.Image{ID: i + 1, Name: "saved", Source: name(i + 1), SizeMiB: 512}
		s.oned.Put(fakeoned.Images, i+1, saved.Document())
		s.vm(vmID, on[0], fakeoned.CloneDisk(0, image, 0))
		s.ok("clone", append([]string{"frontend:" + image.Source, at(on[0], vmID, 0)}, of(vmID, fakeoned.ImageDS)...)...)
		s.ok("mv", append([]string{at(on[0], vmID, 0), at(on[1], vmID, 0)}, of(vmID, fakeoned.ImageDS)...)...)
		s.ok("cpds", append([]string{at(on[1], vmID, 0), saved.Source, "-1"}, of(vmID, fakeoned.ImageDS)...)...)
		s.ok("delete", append([]string{on[1] + ":" + home(vmID)}, of(vmID, fakeoned.SystemDS)...)...)
	}
	unpacked := filepath.Join(t.TempDir(), "unpacked")
	require.NoError(t, debian.Unpack(t.Context(), name(2), unpacked)) // GNU tar and zstd
	differences, err := debian.Differences(t.Context(), tree, unpacked)
	require.NoError(t, err)
	assert.Empty(t, differences)
}
