//go:build lab

package lab

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// multipathConf takes every disk of the SAN, and tries a lost path again each second. A
// request waits when no path is left.
const multipathConf = `defaults {
	find_multipaths no
	user_friendly_names yes
	polling_interval 1
	path_grouping_policy multibus
	no_path_retry queue
}
blacklist {
	devnode "^vd"
	devnode "^sdb"
}
`

// overPaths makes the group's physical volume a multipath device with two paths.
func (s *site) overPaths(n *cluster.Node, configuration string) (first, second cluster.Path) {
	s.Helper()
	second, err := n.AddPath(s.Context())
	require.NoError(s, err)
	require.NoError(s, n.Put(s.Context(), "/etc/multipath.conf", strings.NewReader(configuration), 0o644, 0))
	s.Output(s.T, n, "modprobe", "-a", "dm-multipath", "dm-round-robin", "dm-service-time")
	s.Output(s.T, n, "multipathd")
	s.eventually(func() bool { return s.activePaths(n) == 2 }, "both paths are up")
	disk := strings.TrimSpace(s.Output(s.T, n, "pvs", "--noheadings", "-o", "pv_name", "-S", "vg_name="+cluster.Group))
	require.Regexp(s, "^/dev/(mapper/|dm-)", disk, "LVM uses the multipath device")
	return cluster.GroupPath, second
}

// activePath is a path in the output of dmsetup status; a lost one is F instead of A.
var activePath = regexp.MustCompile(` \d+:\d+ A `)

// activePaths is how many paths the kernel uses.
func (s *site) activePaths(n *cluster.Node) int {
	s.Helper()
	status := s.Output(s.T, n, "dmsetup", "status", "--target", "multipath")
	return len(activePath.FindAllString(status, -1))
}

func (s *site) eventually(is func() bool, what string) {
	s.Helper()
	require.Eventually(s, is, 2*time.Minute, 50*time.Millisecond, what)
}

// A path that is lost while a verb reads and writes is not noticed by it, nor is the other
// one after the first came back.
func TestLostPath(t *testing.T) {
	t.Parallel()
	s := start(t, profile.Single, nil)
	n := s.Nodes[0]
	first, second := s.overPaths(n, multipathConf)
	const mib = 128
	image := lvm.ImageName(lvm.DefaultPrefix, 1).String()
	s.imageVolume(1, mib)
	s.whileActive(n, image, func(path string) {
		s.Output(t, n, "dd", "if=/dev/urandom", "of="+path, "bs=1M", fmt.Sprintf("count=%d", mib), "conv=fsync", "status=none")
	})
	for disk, lost := range []cluster.Path{first, second} {
		s.vm(vmID, n.Name, fakeoned.CloneDisk(disk, fakeoned.Image{ID: 1, Name: image, SizeMiB: mib, Source: image}, mib))
		ended := make(chan result, 1)
		before := s.requests(n, lost)
		go func() {
			ended <- s.verb(nil, "clone", append([]string{"frontend:" + image, at(n.Name, vmID, disk)}, of(vmID, fakeoned.ImageDS)...)...)
		}()
		s.eventually(func() bool { return s.requests(n, lost) > before+120 }, "the verb uses both paths")
		require.NoError(t, n.BreakPath(t.Context(), lost))
		require.Empty(t, ended, "the path is lost in the middle of the verb")
		r := <-ended
		require.Zero(t, r.status, r.stderr)
		assert.Equal(t, 1, s.activePaths(n), "%s is lost", lost)
		s.whileActive(n, image, func(path string) {
			s.Output(t, n, "cmp", path, fmt.Sprintf("%s/disk.%d", home(vmID), disk))
		})
		require.NoError(t, n.MendPath(t.Context(), lost))
		s.eventually(func() bool { return s.activePaths(n) == 2 }, "the path is back")
	}
	s.ok("delete", append([]string{at(n.Name, vmID, 0)}, of(vmID, fakeoned.SystemDS)...)...)
	s.Output(t, n, "vgck", cluster.Group)
}

// requests is how many reads and writes took a path.
func (s *site) requests(n *cluster.Node, p cluster.Path) int {
	s.Helper()
	var reads, writes, skip int
	_, err := fmt.Sscan(s.Output(s.T, n, "cat", fmt.Sprintf("/sys/block/%s/stat", p)), &reads, &skip, &skip, &skip, &writes)
	require.NoError(s, err)
	return reads + writes
}
