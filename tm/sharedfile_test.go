package tm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cxmrc"
)

const sharedISO = "/srv/iso/boot.iso"

// sharingBench has disk 1 of VM 0 on a file that all nodes share.
func sharingBench(t *testing.T) *bench {
	b := newBench(t)
	cfg, err := cxmrc.Parse(strings.NewReader("SHARED_DIRS=\"/mnt/a /srv/iso\"\nVG_NAME=vg-one\n"), "cxmrc", cxmrc.Driver)
	require.NoError(t, err)
	b.Config = cfg
	disk, err := b.oned.vm.Disk(1)
	require.NoError(t, err)
	disk.Source, disk.Type, disk.ReadOnly = sharedISO, "CDROM", true
	return b
}

func TestSharedFilesAreLinked(t *testing.T) {
	of := " 0 100"
	for _, c := range []struct {
		line  string
		asked []string
	}{
		{"ln frontend:" + sharedISO + " node1:" + home + "/disk.1" + of, []string{"node1 linkfile disk 1"}},
		{"clone frontend:" + sharedISO + " node1:" + home + "/disk.1" + of, []string{"node1 linkfile disk 1"}},
		{"mv node1:" + home + "/disk.1 node2:" + home + "/disk.1" + of, nil},
		{"mv node1:" + home + "/disk.1 frontend:" + home + "/disk.1" + of, nil},
		{"mv node1:" + home + "/disk.1 node2:" + strings.Replace(home, "/101/", "/102/", 1) + "/disk.1" + of, []string{"node2 linkfile disk 1"}},
		{"mvds node1:" + home + "/disk.1 " + sharedISO + of, []string{"node1 remove disk 1"}},
		{"delete node1:" + home + "/disk.1" + of, []string{"node1 remove disk 1"}},
	} {
		b := sharingBench(t)
		b.oned.datastores[102] = b.oned.datastores[101]
		require.NoError(t, b.call(c.line), c.line)
		assert.Equal(t, c.asked, b.nodes.asked, c.line)
		for _, q := range b.nodes.reqs {
			assert.Equal(t, q.Op == agent.OpLinkFile, q.Path == sharedISO, c.line)
		}
	}
}

func TestSharedFilesAreNotCopied(t *testing.T) {
	b := sharingBench(t)
	disk, err := b.oned.vm.Disk(1)
	require.NoError(t, err)
	disk.Type, disk.ReadOnly = "FILE", false
	for _, line := range []string{"clone frontend:" + sharedISO + " node1:" + home + "/disk.1 0 100", "cpds node1:" + home + "/disk.0 " + sharedISO + " -1 0 100"} {
		require.ErrorIs(t, b.call(line), ErrNotYet, line)
	}
	require.ErrorContains(t, b.call("ln frontend:/srv/isolated node1:"+home+"/disk.1 0 100"), "no such file", "another directory")
	assert.Empty(t, b.nodes.asked)
}
