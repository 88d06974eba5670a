//go:build lab

package udev

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
)

// The real udev gives exactly the volumes that are ours to oneadmin, takes them back when
// they are deleted, and leaves everybody else's alone.
func TestRulesOnARealNode(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Single)
	n := c.Nodes[0]
	require.NoError(t, n.Put(t.Context(), "/etc/udev/rules.d/"+RulesFile, strings.NewReader(Rules), 0o644, 0))
	c.Output(t, n, "udevadm", "control", "--reload")
	owner := func(name string) string {
		c.Output(t, n, "udevadm", "settle")
		return strings.TrimSpace(c.Output(t, n, "stat", "-L", "-c", "%U:%G %a", "/dev/"+cluster.Group+"/"+name))
	}
	create := func(name string) {
		c.Output(t, n, "lvcreate", "-y", "-Wn", "-Zn", "-L", "8m", "-n", name, cluster.Group)
	}
	for _, name := range []string{"lv-one-42-0", "lv-oneimg-7", "other", "lv-one-x-0"} {
		create(name)
	}
	c.Output(t, n, "lvcreate", "-y", "-s", "-L", "4m", "-n", "lv-one-42-0_s1", cluster.Group+"/lv-one-42-0")
	foreign := owner("other")
	assert.NotContains(t, foreign, "oneadmin")
	assert.Equal(t, foreign, owner("lv-one-x-0"))
	for _, name := range []string{"lv-one-42-0", "lv-one-42-0_s1", "lv-oneimg-7"} {
		assert.Equal(t, "oneadmin:oneadmin 660", owner(name), name)
	}
	hidden := c.Output(t, n, "stat", "-L", "-c", "%U", "/dev/mapper/"+strings.ReplaceAll(cluster.Group, "-", "--")+"-lv--one--42--0-real")
	assert.Equal(t, "root", strings.TrimSpace(hidden))
	c.Output(t, n, "lvremove", "-y", cluster.Group+"/lv-one-42-0_s1")
	c.Output(t, n, "lvrename", cluster.Group, "lv-one-42-0", "lv-onedel-00112233aabb")
	assert.Equal(t, "root:root 600", owner("lv-onedel-00112233aabb"))
	c.Output(t, n, "lvchange", "-an", cluster.Group+"/lv-oneimg-7")
	c.Output(t, n, "lvchange", "-ay", cluster.Group+"/lv-oneimg-7")
	assert.Equal(t, "oneadmin:oneadmin 660", owner("lv-oneimg-7"))
}
