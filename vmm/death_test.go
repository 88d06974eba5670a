package vmm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

// dying serves a request until it dies after that many changes; false: it ended before.
func dying(t *testing.T, n *node, q Request, changes int) (died bool) {
	t.Helper()
	n.dies = len(n.calls) + changes
	defer func() {
		n.dies = 0
		if cause := recover(); cause != nil {
			require.Equal(t, death{}, cause)
			died = true
		}
	}()
	require.Empty(t, serve(t, n.agent(), q))
	return false
}

// TestDeathAfterAnyChange: whatever change was the last, the same verb again succeeds, and
// the domain, its volumes and its definition are as it wants them.
func TestDeathAfterAnyChange(t *testing.T) {
	cd := func(n *node) string { return filepath.Join(n.home(), "disk.2") }
	withCD := func(t *testing.T, medium bool) *node {
		n := running(t)
		require.NoError(t, os.WriteFile(cd(n), nil, 0o600))
		n.disks["hdc"] = ""
		if medium {
			n.disks["hdc"] = cd(n)
		}
		return n
	}
	attached := func(t *testing.T) *node {
		n := running(t)
		require.Empty(t, serve(t, n.agent(), n.attachDisk()))
		return n
	}
	onDisk := func(verb cluster.Verb, target string, disk int) func(*node) Request {
		return func(n *node) Request {
			q := n.request(verb)
			q.Target, q.Disk = target, disk
			return q
		}
	}
	plain := func(verb cluster.Verb) func(*node) Request {
		return func(n *node) Request { return n.request(verb) }
	}
	onNIC := func(n *node) Request {
		q := n.request(cluster.VerbAttachNIC)
		q.Device, q.MAC, q.Networks = nic, mac, "<VM><ID>42</ID></VM>"
		return q
	}
	for name, c := range map[string]struct {
		before func(*testing.T) *node
		verb   func(*node) Request
		after  func(*testing.T, *node)
	}{
		"deploy": {newNode, plain(cluster.VerbStart), func(t *testing.T, n *node) {
			assert.Equal(t, "running", n.state)
			assert.Equal(t, n.created, n.stored(t))
		}},
		"restore":  {defined, plain(cluster.VerbRestore), func(t *testing.T, n *node) { assert.Equal(t, "running", n.state) }},
		"shutdown": {running, plain(cluster.VerbShutdown), isOff},
		"cancel":   {running, plain(cluster.VerbCancel), isOff},
		"attach_disk": {running, (*node).attachDisk, func(t *testing.T, n *node) {
			assert.Equal(t, "/dev/vg-one/lv-one-42-0", n.disks["vdb"])
			assert.Equal(t, 1, strings.Count(n.stored(t), "lv-one-42-0"))
		}},
		"detach_disk": {attached, onDisk(cluster.VerbDetachDisk, "vdb", 0), func(t *testing.T, n *node) {
			assert.NotContains(t, n.disks, "vdb")
			assert.NotContains(t, n.stored(t), "lv-one-42-0")
		}},
		"attach_nic": {running, onNIC, func(t *testing.T, n *node) {
			assert.Equal(t, []string{mac}, n.nics)
			assert.Equal(t, 1, strings.Count(n.stored(t), mac))
			assert.FileExists(t, filepath.Join(n.home(), networkName))
		}},
		"resize": {running, func(n *node) Request {
			q := n.request(cluster.VerbResize)
			q.CPUs, q.MemoryMiB = 1, 1024
			return q
		}, func(t *testing.T, n *node) { assert.Contains(t, n.stored(t), ">1048576</currentMemory>") }},
		"prereconfigure": {func(t *testing.T) *node { return withCD(t, true) }, onDisk(cluster.VerbEject, "hdc", 0), func(t *testing.T, n *node) { assert.Empty(t, n.disks["hdc"]) }},
		"reconfigure":    {func(t *testing.T) *node { return withCD(t, false) }, onDisk(cluster.VerbInsert, "hdc", 2), func(t *testing.T, n *node) { assert.Equal(t, cd(n), n.disks["hdc"]) }},
	} {
		deaths := 0
		for changes := 1; ; changes++ {
			n := c.before(t)
			q := c.verb(n)
			if !dying(t, n, q, changes) {
				break
			}
			deaths++
			what := fmt.Sprintf("%s, dead after %s", name, n.calls[len(n.calls)-1])
			require.Empty(t, serve(t, n.agent(), q), what)
			c.after(t, n)
			require.False(t, t.Failed(), what)
			temporary, err := filepath.Glob(filepath.Join(n.home(), ".one-clvm-*"))
			require.NoError(t, err)
			assert.Empty(t, temporary, what)
		}
		assert.Positive(t, deaths, name)
	}
}

func isOff(t *testing.T, n *node) {
	assert.Empty(t, n.state)
	assert.Equal(t, "here: activate off of VM 42 in /101/42", n.calls[len(n.calls)-1])
}
