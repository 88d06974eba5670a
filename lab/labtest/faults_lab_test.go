//go:build lab

package labtest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
)

const volume = cluster.Group + "/lv-one-1-0"

// wait is for what happens by itself, sooner or later.
const wait = 2 * time.Minute

// holding is a cluster whose node1 has a volume exclusively.
func holding(t *testing.T) (c labtest.Cluster, holder, other *cluster.Node) {
	t.Helper()
	c = labtest.Start(t, profile.Cluster)
	holder, other = c.Nodes[0], c.Nodes[1]
	c.Output(t, holder, "lvcreate", "-y", "-Wn", "-Zn", "-aey", "-L", "8m", "-n", "lv-one-1-0", cluster.Group)
	_, err := other.Output(t.Context(), "lvchange", "-aey", volume)
	require.ErrorContains(t, err, "LV locked by other host")
	return c, holder, other
}

// fenced waits until the fence device has answered that way about the node.
func fenced(t *testing.T, c labtest.Cluster, n *cluster.Node, answer string) {
	t.Helper()
	require.Eventually(t, func() bool {
		lines, err := c.Fenced()
		require.NoError(t, err)
		return strings.Contains(strings.Join(lines, "\n"), "off "+n.Name+": "+answer)
	}, wait, 50*time.Millisecond, "%s: %s", n.Name, answer)
}

// takes waits until the node can have the volume.
func takes(t *testing.T, n *cluster.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	require.Eventually(t, func() bool {
		_, err := n.Output(ctx, "lvchange", "-aey", volume)
		return err == nil
	}, wait, 100*time.Millisecond)
}

func TestExclusiveUnderSanlock(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Sanlock)
	c.Output(t, c.Nodes[0], "lvcreate", "-y", "-Wn", "-Zn", "-aey", "-L", "8m", "-n", "lv-one-1-0", cluster.Group)
	_, err := c.Nodes[1].Output(t.Context(), "lvchange", "-aey", volume)
	require.ErrorContains(t, err, "LV locked by other host")
	c.Output(t, c.Nodes[0], "lvchange", "-an", volume)
	c.Output(t, c.Nodes[1], "lvchange", "-aey", volume)
}

func TestKilledHolderIsFencedAndTheOtherTakesOver(t *testing.T) {
	t.Parallel()
	c, holder, other := holding(t)
	require.NoError(t, holder.Kill())
	fenced(t, c, holder, "ok")
	takes(t, other)
	c.Output(t, other, "touch", filepath.Join(cluster.Home, "still-works"))

	require.NoError(t, c.Boot(t.Context(), holder))
	_, err := holder.Output(t.Context(), "lvchange", "-aey", volume)
	require.ErrorContains(t, err, "LV locked by other host", "the roles are exchanged")
	c.Output(t, holder, "test", "-e", filepath.Join(cluster.Home, "still-works"))
}

func TestWithoutFencingNobodyTakesOver(t *testing.T) {
	t.Parallel()
	c, holder, other := holding(t)
	require.NoError(t, c.RefuseFencing(true))
	require.NoError(t, holder.Kill())
	fenced(t, c, holder, "the fence device refuses")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := other.Run(ctx, run.Cmd{Path: "lvchange", Args: []string{"-aey", volume}, Writer: true})
	require.Error(t, err, "dlm gives no lock away while a member's fate is unknown")

	require.NoError(t, c.RefuseFencing(false))
	c.Output(t, other, "dlm_tool", "fence_ack", "1") // an administrator who has looked
	takes(t, other)
}

func TestFrozenNodeIsFenced(t *testing.T) {
	t.Parallel()
	c, holder, other := holding(t)
	require.NoError(t, holder.Pause())
	fenced(t, c, holder, "ok")
	takes(t, other)
	running, err := holder.Running()
	require.NoError(t, err)
	assert.False(t, running)
}

func TestFreezeThatEndsInTime(t *testing.T) {
	t.Parallel()
	c, holder, _ := holding(t)
	require.NoError(t, holder.Pause())
	require.NoError(t, holder.Resume())
	c.Output(t, holder, "lvs", volume)
	lines, err := c.Fenced()
	require.NoError(t, err)
	assert.Empty(t, lines)
}

func TestCutOfThePrivateLinkLeavesOne(t *testing.T) {
	t.Parallel()
	c, holder, _ := holding(t)
	require.NoError(t, holder.Cut(t.Context(), cluster.Private))
	require.Eventually(t, func() bool {
		lines, err := c.Fenced()
		require.NoError(t, err)
		return strings.Contains(strings.Join(lines, "\n"), ": ok")
	}, wait, 50*time.Millisecond)
	alive := 0
	for _, n := range c.Nodes {
		running, err := n.Running()
		require.NoError(t, err)
		if running {
			alive++
			takes(t, n)
		}
	}
	assert.Equal(t, 1, alive)
}

func TestCutOfTheManagementLink(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Single)
	n := c.Nodes[0]
	ssh := func() error {
		_, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "ssh", Args: []string{
			"-F", c.SSHConfig(), "-o", "ControlPath=none", "-o", "ConnectTimeout=3", n.Name, "true"}})
		return err
	}
	require.NoError(t, n.Cut(t.Context(), cluster.Management))
	require.Error(t, ssh())
	c.Output(t, n, "true")
	require.NoError(t, n.Heal(t.Context(), cluster.Management))
	require.NoError(t, ssh())
}

func TestDiskFaultsAreOfOneNode(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Legacy)
	writer, reader := c.Nodes[0], c.Nodes[1]
	const text = "written on node1"
	// The second disk is nobody's in this profile.
	write := func(n *cluster.Node) error {
		_, err := n.Run(t.Context(), run.Cmd{Path: "dd", Args: []string{"of=/dev/sdb", "oflag=sync", "status=none"}, Stdin: strings.NewReader(text)})
		return err
	}
	read := func(n *cluster.Node, count int) error {
		_, err := n.Output(t.Context(), "dd", "if=/dev/sdb", "of=/dev/null", "iflag=direct", "bs=4096", fmt.Sprintf("count=%d", count), "status=none")
		return err
	}
	require.NoError(t, write(writer))
	out := c.Output(t, reader, "dd", "if=/dev/sdb", "iflag=direct", "bs=4096", "count=1", "status=none")
	assert.Equal(t, text, out[:len(text)], "both see the same disk")

	require.NoError(t, writer.BreakDisks(t.Context()))
	require.ErrorContains(t, write(writer), "dd:")
	require.NoError(t, read(reader, 1), "the other node's path is its own")
	require.NoError(t, writer.MendDisks(t.Context()))
	require.NoError(t, write(writer))

	require.NoError(t, reader.SlowDisks(t.Context(), 20))
	started := time.Now()
	require.NoError(t, read(reader, 60))
	assert.Greater(t, time.Since(started), time.Second, "60 requests at 20 a second")
	require.NoError(t, reader.SlowDisks(t.Context(), 0))
	require.NoError(t, read(reader, 60))
}

func TestFullGroup(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Single)
	n := c.Nodes[0]
	require.NoError(t, n.FillGroup(t.Context()))
	_, err := n.Output(t.Context(), "lvcreate", "-y", "-L", "4m", "-n", "lv-one-1-0", cluster.Group)
	require.ErrorContains(t, err, "insufficient free space")
}

func TestFullHome(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Cluster)
	n := c.Nodes[1]
	require.NoError(t, n.FillHome(t.Context(), 1<<20))
	_, err := n.Output(t.Context(), "fallocate", "-l", "64M", filepath.Join(cluster.Home, "more"))
	require.ErrorContains(t, err, "No space left")
}

// processesOf are the processes that have the text in their command line.
func processesOf(t *testing.T, text string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), text) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
