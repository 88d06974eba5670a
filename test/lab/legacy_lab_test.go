//go:build lab

package lab

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// Two nodes share a group that no lock manager protects: nothing is changed unless the
// front-end is the only writer; then its processes take turns, on both nodes.
func TestSingleWriter(t *testing.T) {
	t.Parallel()
	s := start(t, profile.Legacy, map[string]string{"LOCK_DIR": t.TempDir(), "STATE_DIR": t.TempDir()})
	const disks = 6
	mkimage := func(vm int) result {
		node := s.Nodes[vm%2].Name
		s.vm(vm, node, fakeoned.VolatileDisk(0, "", 8))
		return s.verb(nil, "mkimage", append([]string{"8", "raw", at(node, vm, 0)}, of(vm, fakeoned.SystemDS)...)...)
	}
	r := mkimage(1)
	require.NotZero(t, r.status)
	assert.Contains(t, r.stderr, "is also seen by node1")
	assert.Empty(t, s.names())

	s.set("SINGLE_WRITER", "True")
	var all sync.WaitGroup
	results := make([]result, disks)
	for vm := range disks {
		all.Add(1)
		go func() {
			defer all.Done()
			results[vm] = mkimage(vm)
		}()
	}
	all.Wait()
	for vm, r := range results {
		require.Zero(t, r.status, "disk of VM %d: %s", vm, r.stderr)
	}
	s.ok("mv", append([]string{at("node1", 0, 0), at("node2", 0, 0)}, of(0, fakeoned.SystemDS)...)...)
	s.ok("delete", append([]string{"node2:" + home(1)}, of(1, fakeoned.SystemDS)...)...)
	for _, n := range s.Nodes {
		volumes := s.volumes(n)
		assert.Len(t, volumes, disks-1)
		for vm := range disks {
			v, found := volumes[volume(vm, 0)]
			assert.Equal(t, vm != 1, found, "disk of VM %d", vm)
			if !found {
				continue
			}
			mode := lvm.Off
			if on := s.Nodes[vm%2]; on == n && vm != 0 || vm == 0 && n.Name == "node2" {
				mode = lvm.Exclusive
			}
			assert.Equal(t, mode, v.Mode, "%s on %s", v.Name, n.Name)
			assert.False(t, v.Tags.Has(lvm.TagBuilding))
		}
		s.Output(t, n, "vgck", cluster.Group)
	}
}
