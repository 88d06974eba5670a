//go:build lab

package lvm2_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	lab "one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
)

// onNodes drives LVM of the first and the last node of a fresh cluster, and makes a
// volume on the first.
func onNodes(t *testing.T, p profile.Profile) (labtest.Cluster, *lvm2.Group, *lvm2.Group) {
	c := labtest.Start(t, p)
	for _, n := range c.Nodes {
		_, _ = n.Output(t.Context(), "mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug") // unless it is there
	}
	one := allowed(lvm2.New(lab.Group, c.Nodes[0], lvm2.Options{}))
	two := allowed(lvm2.New(lab.Group, c.Nodes[len(c.Nodes)-1], lvm2.Options{}))
	_, err := one.Create(t.Context(), lvm.CreateRequest{Name: disk, Size: 8 << 20, Tags: lvm.DiskTags(42, 0, 0)})
	require.NoError(t, err)
	return c, one, two
}

// TestExclusiveMeansExclusive: the second node is refused, and told who has the volume.
func TestExclusiveMeansExclusive(t *testing.T) {
	t.Parallel()
	for _, p := range []profile.Profile{profile.Cluster, profile.Sanlock} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			_, one, two := onNodes(t, p)
			activate := func(g *lvm2.Group, mode lvm.Mode) error {
				started := time.Now()
				v, err := g.Activate(t.Context(), disk, mode)
				t.Logf("%s: %s in %s", p.Name, mode, time.Since(started).Round(time.Millisecond))
				if err == nil {
					assert.Equal(t, mode, v.Mode)
				}
				return err
			}
			refused := func(g *lvm2.Group, mode lvm.Mode, names string) {
				t.Helper()
				err := activate(g, mode)
				require.ErrorIs(t, err, lvm.ErrLocked)
				assert.ErrorContains(t, err, names)
				t.Log(err)
			}
			onFirst := map[string]string{profile.Cluster.Name: "active on node1"}[p.Name]
			if onFirst == "" {
				onFirst = "active exclusively on node1"
			}
			refused(two, lvm.Exclusive, onFirst)
			refused(two, lvm.Shared, onFirst)
			require.ErrorIs(t, two.Remove(t.Context(), disk), lvm.ErrLocked)
			require.ErrorIs(t, two.Rename(t.Context(), disk, "lv-one-43-0"), lvm.ErrLocked)

			// The sequence of a live migration, there and refused.
			require.NoError(t, activate(one, lvm.Shared))
			require.NoError(t, activate(two, lvm.Shared))
			refused(one, lvm.Exclusive, "active shared on node2")
			require.NoError(t, activate(one, lvm.Off))
			require.NoError(t, activate(two, lvm.Exclusive))
			refused(one, lvm.Exclusive, "active exclusively on node2")
			require.NoError(t, activate(two, lvm.Off))
			require.NoError(t, activate(one, lvm.Exclusive))
		})
	}
}

// TestHolderDies: without fencing the survivor does not get the volume, and it is told
// why; with it, it gets it.
func TestHolderDies(t *testing.T) {
	t.Parallel()
	c, one, two := onNodes(t, profile.Cluster)
	require.NoError(t, c.RefuseFencing(true))
	_, err := one.Activate(t.Context(), disk, lvm.Off)
	require.NoError(t, err)
	_, err = two.Activate(t.Context(), disk, lvm.Exclusive)
	require.NoError(t, err)
	require.NoError(t, c.Nodes[1].Kill())
	started := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	waiting := make(chan string, 100)
	fencing := false
	one.OnWait(func(reason string) {
		select {
		case waiting <- reason:
		default:
		}
		if strings.Contains(reason, "node2 is fenced") {
			assert.NoError(t, c.RefuseFencing(false))
			fencing = true
		}
	})
	for {
		_, err = one.Activate(ctx, disk, lvm.Exclusive)
		if err == nil {
			break
		}
		require.ErrorIs(t, err, lvm.ErrLocked, "until it is fenced")
		if !fencing || !strings.Contains(err.Error(), "no node has it any more, try again") { // the lock manager recovers
			require.ErrorContains(t, err, "node2")
		}
	}
	assert.Contains(t, <-waiting, "the lock manager waits until node2 is fenced")
	t.Logf("the survivor has the volume %s after the death of its holder", time.Since(started).Round(time.Millisecond))
}

// TestGuestsGroupOnRealLVM: a guest makes a volume group inside its disk. The node's LVM
// is set up as carelessly as it can be; the suite's calls do not see that group.
func TestGuestsGroupOnRealLVM(t *testing.T) {
	t.Parallel()
	c, one, _ := onNodes(t, profile.Single)
	n := c.Nodes[0]
	careless := "devices {\n obtain_device_list_from_udev=0\n use_devicesfile=0\n scan_lvs=1\n}\nbackup {\n backup=0\n archive=0\n}\n"
	require.NoError(t, n.Put(t.Context(), "/etc/lvm/lvm.conf", strings.NewReader(careless), 0o644, 0))
	c.Output(t, n, "pvcreate", "-y", "/dev/"+lab.Group+"/"+disk)
	c.Output(t, n, "vgcreate", "vg-guest", "/dev/"+lab.Group+"/"+disk)
	c.Output(t, n, "lvcreate", "-y", "-Wn", "-Zn", "-an", "-L", "4m", "-n", "lv-one-42-1", "vg-guest")
	require.Contains(t, c.Output(t, n, "pvs"), "vg-guest", "LVM itself looks inside")

	guest := allowed(lvm2.New("vg-guest", n, lvm2.Options{}))
	_, err := guest.Volumes(t.Context())
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	_, err = guest.Activate(t.Context(), "lv-one-42-1", lvm.Exclusive)
	require.ErrorIs(t, err, lvm.ErrNoGroup)
	disks, err := lvm2.PhysicalVolumes(t.Context(), n, []string{lab.Group})
	require.NoError(t, err)
	require.Len(t, disks, 1)
	assert.Equal(t, lab.Group, disks[0].Group)
	volumes, err := one.Volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, volumes, 1)
}

// TestWindowOrAlwaysShared runs both designs of a live migration: a window during which
// the volume is shared, and a volume that is shared all its life. It logs what the window
// costs, and holds what the other one gives up.
func TestWindowOrAlwaysShared(t *testing.T) {
	t.Parallel()
	for _, p := range []profile.Profile{profile.Cluster, profile.Sanlock} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			_, one, two := onNodes(t, p)
			to := func(g *lvm2.Group, mode lvm.Mode) time.Duration {
				started := time.Now()
				_, err := g.Activate(t.Context(), disk, mode)
				require.NoError(t, err)
				return time.Since(started)
			}
			source, target, off, exclusive := to(one, lvm.Shared), to(two, lvm.Shared), to(one, lvm.Off), to(two, lvm.Exclusive)
			t.Logf("%s: window: source shared %.2fs, target shared %.2fs; source off %.2fs, target exclusive %.2fs",
				p.Name, source.Seconds(), target.Seconds(), off.Seconds(), exclusive.Seconds())
			_, err := one.Activate(t.Context(), disk, lvm.Shared)
			require.ErrorIs(t, err, lvm.ErrLocked, "after the window the lock keeps a second VM out")

			to(two, lvm.Shared)
			started := time.Now()
			to(one, lvm.Shared)
			t.Logf("%s: always shared: a second node has the volume %.2fs after it asked, and nobody minds", p.Name, time.Since(started).Seconds())
			_, err = two.Extend(t.Context(), disk, 16<<20)
			require.ErrorIs(t, err, lvm.ErrLocked, "a volume that another node has shared cannot grow")
			_, err = two.Snapshot(t.Context(), lvm.SnapshotRequest{Name: disk + "_s0", Origin: disk, Space: 4 << 20})
			require.ErrorIs(t, err, lvm.ErrNotExclusive, "nor have a snapshot")
		})
	}
}
