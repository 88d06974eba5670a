//go:build embedded

package filevg

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/lvm"
	"one-clvm/lvm/lvmtest"
)

// Small extents keep the tests quick.
const testExtent = 256 << 10

func TestConformance(t *testing.T) {
	lvmtest.Run(t, func(t *testing.T) lvmtest.Fixture {
		g := newGroup(t, 64*testExtent)
		return lvmtest.Fixture{
			Group: g, Devices: true, Dirty: true, Hold: holdExclusively,
			Break: func(t *testing.T) func() { return breakMetadata(t, g) },
		}
	})
}

// The suite holds volumes open as a program does; this is the kernel's own hold.
func TestOpenByMount(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			g := newGroup(t, 512<<20)
			v, err := g.Create(t.Context(), lvm.CreateRequest{Name: "lv-one-1-0", Size: 320 << 20})
			require.NoError(t, err)
			mkfs(t, fs, v.Path)
			dir := t.TempDir()
			require.NoError(t, unix.Mount(v.Path, dir, fs, 0, ""))
			t.Cleanup(func() { _ = unix.Unmount(dir, 0) })

			now, err := g.Volume(t.Context(), v.Name)
			require.NoError(t, err)
			require.True(t, now.Open)
			require.ErrorIs(t, g.Remove(t.Context(), v.Name), lvm.ErrInUse)
			require.ErrorIs(t, g.Destroy(t.Context()), lvm.ErrInUse)
			now, err = g.Extend(t.Context(), v.Name, 400<<20)
			require.NoError(t, err, "a mounted volume grows")
			require.EqualValues(t, 400<<20, deviceSize(t, now.Path))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600))

			require.NoError(t, unix.Unmount(dir, 0))
			now, err = g.Volume(t.Context(), v.Name)
			require.NoError(t, err)
			require.False(t, now.Open)
			require.NoError(t, g.Remove(t.Context(), v.Name))
		})
	}
}
