//go:build lab

package lab

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
)

// The shared file system from its making to its growing, with the real tools.
func TestGFS2(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Cluster)
	one, two := c.Nodes[0], c.Nodes[1]
	const volume, device, point = cluster.Group + "/shared", "/dev/" + cluster.Group + "/shared", "/mnt/shared"
	gfs2 := func(n *cluster.Node, words ...string) (string, error) {
		return n.Output(t.Context(), append([]string{cluster.Program, "gfs2"}, words...)...)
	}
	c.Output(t, one, "lvcreate", "-y", "-aey", "-L", "600m", "-n", "shared", cluster.Group)
	_, err := gfs2(one, "format", volume)
	require.ErrorContains(t, err, "--yes", "nobody is there to be asked")
	_, err = gfs2(two, "format", "--yes", volume)
	require.ErrorContains(t, err, "locked by another node", "it is active there")
	out, err := gfs2(one, "format", "--yes", "--name", "shared", "--journal-size", "32", volume)
	require.NoError(t, err)
	assert.Contains(t, out, "GFS2 lab:shared on "+device+": 3 journals")

	for _, n := range c.Nodes {
		c.Output(t, n, "lvchange", "-asy", volume)
		c.Output(t, n, "mkdir", "-p", point)
		c.Output(t, n, "mount", "-t", "gfs2", "-o", "noatime", device, point)
	}
	for _, n := range c.Nodes {
		out, err := gfs2(n, "check", point)
		require.NoError(t, err)
		assert.Contains(t, out, "3 journals for 2 nodes, mounted on all 2")
	}
	_, err = gfs2(one, "format", "--yes", volume)
	require.Error(t, err, "it is in use, here and there")

	out, err = gfs2(one, "journals", "--yes", "--add", "2", "--journal-size", "32", point)
	require.NoError(t, err)
	assert.Contains(t, out, "has 5 journals")
	_, err = gfs2(one, "grow", "--yes", point)
	require.ErrorContains(t, err, "lvextend --lockopt shupdate")
	c.Output(t, one, "lvextend", "--lockopt", "shupdate", "-L", "900m", volume)
	c.Output(t, two, "lvchange", "--refresh", volume)
	out, err = gfs2(one, "grow", "--yes", point)
	require.NoError(t, err)
	assert.Contains(t, out, "ok    GFS2 lab:shared")
	c.Output(t, two, "fallocate", "-l", "500M", point+"/more-than-there-was")

	c.Output(t, two, "umount", point)
	_, err = gfs2(one, "check", point)
	require.Error(t, err)
	require.ErrorContains(t, err, "1 problems")
	_, err = gfs2(one, "check", "/mnt")
	require.ErrorContains(t, err, "not a GFS2")

	c.Output(t, one, "lvcreate", "-y", "-aey", "-L", "100m", "--addtag", "one", "--addtag", "vm=1", "--addtag", "disk=0", "-n", "lv-one-1-0", cluster.Group)
	_, err = gfs2(one, "format", "--yes", cluster.Group+"/lv-one-1-0")
	require.ErrorContains(t, err, "is a disk of a VM")
}
