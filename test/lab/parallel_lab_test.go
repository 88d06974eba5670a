//go:build lab

package lab

import (
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// created is what the agent says when lvcreate has ended.
var created = regexp.MustCompile(`create volume \S+ done in (\S+)`)

// Two front-ends deploy 16 disks at once on two nodes into one volume group.
func TestDisksInParallel(t *testing.T) {
	t.Parallel()
	s := start(t, profile.Cluster, nil)
	const disks = 16
	var all sync.WaitGroup
	results := make([]result, disks)
	began := time.Now()
	for i := range disks {
		vm, node := i+1, s.Nodes[i%2].Name
		s.vm(vm, node, fakeoned.VolatileDisk(0, "", 64))
		all.Add(1)
		go func() {
			defer all.Done()
			results[i] = s.verb(nil, "mkimage", append([]string{"64", "raw", at(node, vm, 0)}, of(vm, fakeoned.SystemDS)...)...)
		}()
	}
	all.Wait()
	wall, inLVM := time.Since(began), time.Duration(0)
	for i, r := range results {
		require.Zero(t, r.status, "disk %d: %s", i, r.stderr)
		if found := created.FindStringSubmatch(r.stderr); assert.NotNil(t, found, r.stderr) {
			took, err := time.ParseDuration(found[1])
			require.NoError(t, err)
			inLVM += took
		}
	}
	t.Logf("%d disks in %s, %s each; lvcreate took %s of every verb's time on average", disks, wall.Round(time.Millisecond), (wall / disks).Round(time.Millisecond), (inLVM / disks).Round(time.Millisecond))
	uuids := map[string]bool{}
	for i, n := range s.Nodes {
		for vm := 1; vm <= disks; vm++ {
			v, found := s.volumes(n)[volume(vm, 0)]
			require.True(t, found, "disk of VM %d", vm)
			mode := lvm.Off
			if (vm-1)%2 == i {
				mode = lvm.Exclusive
			}
			assert.Equal(t, mode, v.Mode, "%s on %s", v.Name, n.Name)
			assert.False(t, v.Tags.Has(lvm.TagBuilding))
			assert.Equal(t, strconv.Itoa(vm), v.Tags.Get(lvm.TagVM))
			uuids[v.UUID] = true
		}
		s.Output(t, n, "vgck", cluster.Group)
	}
	assert.Len(t, uuids, disks)
}
