package adoption

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent/facts"
	"one-clvm/internal/membership"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
)

func TestConversion(t *testing.T) {
	s := laidOut()
	s.Unasked["node3"] = "no route"
	ready := &facts.Facts{
		Tools: map[string]bool{"lvmlockctl": true}, LVM: &lvm2.Inspection{Settings: map[string]string{"use_lvmlockd": "1"}},
		Cluster: &membership.Cluster{}, DLM: &membership.DLM{}, FenceDevices: []string{"f"},
	}
	c := ConversionOf(s, map[string]*facts.Facts{"node1": ready})
	assert.Equal(t, lvm.NoLockManager, c.Manager)
	assert.Equal(t, []string{"node2: it did not tell what it has", "node3: it could not be asked, and must see no active volume of the group"}, c.Needs)
	assert.Equal(t, []string{"volume gfs2 on node2", "VM 42 on node1"}, c.Stops)

	bare := &facts.Facts{Tools: map[string]bool{}}
	c = ConversionOf(s, map[string]*facts.Facts{"node1": bare, "node2": ready})
	assert.Len(t, c.Needs, 5)
	bare.Sanlock = &facts.Sanlock{}
	c = ConversionOf(s, map[string]*facts.Facts{"node1": bare, "node2": ready})
	assert.Len(t, c.Needs, 3)

	s.Nodes[0].Report.Info = &lvm.GroupInfo{LockManager: "dlm"}
	assert.Equal(t, Conversion{Manager: "dlm"}, ConversionOf(s, nil))
}

func TestSavings(t *testing.T) {
	s := laidOut()
	source := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(source, make([]byte, 1<<20), 0o600))
	require.NoError(t, os.Truncate(source, 8<<20)) // the rest is a hole
	for id, vm := range s.VMs {
		vm.Disks[0].Source = source
		s.VMs[id] = vm
	}
	all := Savings(s, os.Stat)
	require.Len(t, all, 1)
	assert.Equal(t, Saving{Image: 7, Source: source, Disk: 8 << 20, Data: all[0].Data, Disks: 2}, all[0])
	assert.Less(t, all[0].Data, int64(2<<20))
	require.NoError(t, os.Remove(source))
	assert.Empty(t, Savings(s, os.Stat))
}
