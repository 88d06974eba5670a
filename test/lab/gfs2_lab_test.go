//go:build lab

package lab

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
	"one-clvm/test/build"
)

// killer runs the program's gfs2 on a node and kills it at a failpoint.
func killer(t *testing.T, n *cluster.Node) func(at string, words ...string) {
	const program, failpoints = "/run/lab/tm-clvm", "/run/failpoints"
	built := filepath.Join(t.TempDir(), "tm-clvm")
	require.NoError(t, build.Program(t.Context(), built, "./cmd/tm-clvm", "-tags", "failpoint"))
	require.NoError(t, n.PutFile(t.Context(), built, program, 0o755))
	return func(at string, words ...string) {
		t.Helper()
		require.NoError(t, n.Put(t.Context(), failpoints+"/stop", strings.NewReader(at+" 0"), 0o600, 0))
		ended := make(chan error, 1)
		go func() {
			_, err := n.Run(t.Context(), run.Cmd{Path: program, Args: append([]string{"gfs2"}, words...), Env: []string{"ONE_CLVM_FAILPOINTS=" + failpoints}})
			ended <- err
		}()
		_, err := n.Output(t.Context(), "kill", "-KILL", reached(t, n, failpoints, at))
		require.NoError(t, err)
		require.Error(t, <-ended)
		_, err = n.Output(t.Context(), "rm", failpoints+"/reached")
		require.NoError(t, err)
	}
}

// The shared file system from its making to its growing, with the real tools. Each command is
// killed at each of its steps first, and goes on from there.
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
	format := []string{"format", "--yes", "--name", "shared", "--journal-size", "32", volume}
	killed := killer(t, one)
	for _, at := range []string{"gfs2.exclusive", "gfs2.made", "gfs2.released"} {
		killed(at, format...)
	}
	out, err := gfs2(one, format...)
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

	killed("gfs2.journals", "journals", "--yes", "--add", "1", "--journal-size", "32", point)
	out, err = gfs2(one, "journals", "--yes", "--add", "1", "--journal-size", "32", point)
	require.NoError(t, err)
	assert.Contains(t, out, "has 5 journals")
	_, err = gfs2(one, "grow", "--yes", point)
	require.ErrorContains(t, err, "lvextend --lockopt shupdate")
	c.Output(t, one, "lvextend", "--lockopt", "shupdate", "-L", "900m", volume)
	c.Output(t, two, "lvchange", "--refresh", volume)
	killed("gfs2.grown", "grow", "--yes", point)
	out, err = gfs2(one, "check", point)
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
