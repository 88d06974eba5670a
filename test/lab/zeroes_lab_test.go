//go:build lab

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/tarmode"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
)

// secret is what another tenant has left on the SAN.
const secret = "another tenant's secret "

// No disk shows what its extents held before, from the first to the last.
func TestNoOldBytes(t *testing.T) {
	t.Parallel()
	s := start(t, profile.Single, nil)
	n := s.Nodes[0]
	g := s.group(n)
	info, err := g.Info(t.Context())
	require.NoError(t, err)
	const dirty = 512 << 20
	for _, q := range []lvm.CreateRequest{{Name: "others", Size: info.Free - dirty}, {Name: "dirty", Size: dirty}} {
		_, err := g.Create(t.Context(), q)
		require.NoError(t, err)
	}
	v, err := g.Volume(t.Context(), "dirty")
	require.NoError(t, err)
	const piece = 16 << 20
	pattern := strings.NewReader(strings.Repeat(secret, piece/len(secret)+1)[:piece])
	require.NoError(t, n.Put(t.Context(), "/run/pattern", pattern, 0o600, 0))
	for i := range dirty / piece {
		s.Output(t, n, "dd", "if=/run/pattern", "of="+v.Path, "bs=16M", fmt.Sprintf("seek=%d", i), "conv=notrunc", "oflag=direct", "status=none")
	}
	require.NoError(t, g.Remove(t.Context(), "dirty"))

	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.MkdirAll(tree, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "file"), []byte("mine\n"), 0o600))
	archive := filepath.Join(t.TempDir(), "archive")
	_, err = debian.Pack(t.Context(), tree, archive, tarmode.TGZ)
	require.NoError(t, err)
	raw := filepath.Join(t.TempDir(), "raw")
	require.NoError(t, os.WriteFile(raw, []byte("mine"), 0o600))
	require.NoError(t, os.Truncate(raw, 100<<20))
	images := []fakeoned.Image{
		s.imageFile(1, archive, map[string]string{"MODE": "TGZ", "SIZE": "100M", "FSTYPE": "ext4"}),
		s.imageFile(2, raw, map[string]string{"MODE": "RAW"}),
	}
	s.vm(vmID, n.Name, fakeoned.CloneDisk(0, images[0], 0), fakeoned.CloneDisk(1, images[1], 0),
		fakeoned.VolatileDisk(2, "", 4), fakeoned.VolatileDisk(3, "ext4", 150))
	s.ok("clone", append([]string{"frontend:" + archive, at(n.Name, vmID, 0)}, of(vmID, fakeoned.ImageDS)...)...)
	s.ok("clone", append([]string{"frontend:" + raw, at(n.Name, vmID, 1)}, of(vmID, fakeoned.ImageDS)...)...)
	s.ok("mkimage", append([]string{"4", "raw", at(n.Name, vmID, 2)}, of(vmID, fakeoned.SystemDS)...)...)
	s.ok("mkimage", append([]string{"150", "raw", at(n.Name, vmID, 3)}, of(vmID, fakeoned.SystemDS)...)...)
	s.ok("resize", append([]string{at(n.Name, vmID, 2), "64"}, of(vmID, fakeoned.SystemDS)...)...)
	for disk := range 4 {
		assert.False(t, s.contains(fmt.Sprintf("%s/disk.%d", home(vmID), disk), strings.TrimSpace(secret)), "disk %d", disk)
	}
	left, err := g.Create(t.Context(), lvm.CreateRequest{Name: "rest", Size: 64 << 20})
	require.NoError(t, err)
	assert.True(t, s.contains(left.Path, strings.TrimSpace(secret)), "the test can see old bytes where they are")
}

// contains looks for a text on a device of node1.
func (s *site) contains(path, text string) bool {
	s.Helper()
	_, err := s.Nodes[0].Output(s.Context(), "grep", "-q", "-a", "-F", text, path)
	var failed *run.Error
	if errors.As(err, &failed) && failed.Status == 1 {
		return false
	}
	require.NoError(s, err)
	return true
}
