//go:build lab

package labtest_test

import (
	"fmt"
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

func TestEveryProfileComesUp(t *testing.T) {
	t.Parallel()
	for _, p := range profile.All() {
		if p.Pacemaker {
			continue // they come up for the tests of VMs
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			c := labtest.Start(t, p)
			require.Len(t, c.Nodes, p.Nodes)
			for _, n := range c.Nodes {
				lockType := c.Output(t, n, "vgs", "--noheadings", "-o", "vg_lock_type", cluster.Group)
				want := p.LockManager
				if want == profile.LockNone {
					want = ""
				}
				assert.Equal(t, want, strings.TrimSpace(lockType), n.Name)
				assert.Equal(t, n.Name+"\n", c.Output(t, n, "hostname"))
				assert.Equal(t, "manual\n", c.Output(t, n, "cat", "/sys/module/scsi_mod/parameters/scan"), "or sda and sdb change places now and then")
				assert.Equal(t, "9869:9869\n", c.Output(t, n, "stat", "-c", "%u:%g", cluster.Home))
				home := c.Output(t, n, "stat", "-f", "-c", "%T", cluster.Home)
				assert.Equal(t, p.SharedHome, home == "gfs/gfs2\n", home)
			}
		})
	}
}

func TestSSHReachesTheAgent(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Cluster)
	for _, n := range c.Nodes {
		for _, x := range []struct{ user, command, want string }{
			{"root", "id -un", "root"},
			{"oneadmin", "id -un", "oneadmin"},
			{"oneadmin", "sudo -n " + cluster.Program + " agent < /dev/null | head -c 15 | tail -c 14", "one-clvm-agent"},
			{"oneadmin", "ssh node2 hostname", "node2"},
		} {
			result, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "ssh", Args: []string{"-F", c.SSHConfig(), "-l", x.user, n.Name, x.command}})
			require.NoError(t, err)
			assert.Equal(t, x.want, strings.TrimSpace(string(result.Stdout)), "%s: %s", n.Name, x.command)
		}
	}
}

// TestClocks: a node's clock goes as this machine's does, also one that booted while others kept
// the processors busy.
func TestClocks(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Single)
	uptime := func() time.Duration {
		var seconds float64
		_, err := fmt.Sscan(c.Output(t, c.Nodes[0], "cat", "/proc/uptime"), &seconds)
		require.NoError(t, err)
		return time.Duration(seconds * float64(time.Second))
	}
	began, first := time.Now(), uptime()
	c.Output(t, c.Nodes[0], "sleep", "10")
	there, here := uptime()-first, time.Since(began)
	assert.InEpsilon(t, here, there, 0.2, "%s there, %s here", there, here)
}
