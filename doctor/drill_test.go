package doctor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent/facts"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

func drill(t *testing.T, name string) Drill {
	t.Helper()
	for _, d := range Drills() {
		if d.Name == name {
			assert.NotEmpty(t, d.Do(Subject{Node: "node1"}))
			assert.NotEmpty(t, d.Undo(Subject{Node: "node1"}))
			return d
		}
	}
	t.Fatalf("no drill %s", name)
	return Drill{}
}

func TestDrillsWantHealth(t *testing.T) {
	d, s := drill(t, "san"), Subject{Node: "node1"}
	require.NoError(t, d.Ready(s, healthy(t)))
	v := healthy(t)
	v.Nodes[1].Facts.DLM.Waiting = []int{1}
	require.ErrorIs(t, d.Ready(s, v), ErrNotReady)
	require.ErrorIs(t, d.Ready(Subject{Node: "node9"}, healthy(t)), ErrNotReady)
	migration := drill(t, "migration")
	require.NoError(t, migration.Ready(Subject{Node: "node2", VM: 42}, healthy(t)))
	require.ErrorIs(t, migration.Ready(Subject{Node: "node1", VM: 42}, healthy(t)), ErrNotReady, "it is there")
	require.ErrorIs(t, migration.Ready(Subject{Node: "node2", VM: 43}, healthy(t)), ErrNotReady)
}

func TestPathDrill(t *testing.T) {
	d, s := drill(t, "path"), Subject{Node: "node1"}
	assert.Len(t, d.Judge(s, healthy(t), healthy(t)), 1, "nothing was pulled")
	after := healthy(t)
	after.Nodes[0].Facts.Disks = []facts.Disk{{Name: "dm-1", Multipath: "mpatha", Paths: []facts.Disk{{Name: "sda", State: "running"}, {Name: "sdb", State: "offline"}}}}
	assert.Empty(t, d.Judge(s, healthy(t), after))
	after.Nodes[0].Facts.LVM.Groups = nil
	assert.Len(t, d.Judge(s, healthy(t), after), 1, "the group went, too")
	after.Oned.VMs = nil
	assert.Len(t, d.Judge(s, healthy(t), after), 2, "and a VM")
	after.Nodes[0].Facts = nil
	assert.Len(t, d.Judge(s, healthy(t), after), 1)
}

func TestLossDrills(t *testing.T) {
	for _, name := range []string{"san", "network"} {
		d, s := drill(t, name), Subject{Node: "node1"}
		before := healthy(t)
		assert.Len(t, d.Judge(s, before, healthy(t)), 2, "it is still there, and so is its VM")
		after := healthy(t)
		after.Nodes[0].Facts = nil
		two := after.Nodes[1].Facts
		two.Cluster.Nodes[0].Present = false
		two.DLM.Waiting, two.DLM.Lockspaces[0].Changing = []int{1}, true
		assert.Len(t, d.Judge(s, before, after), 3, "not fenced, a lock space waits, and the VM is not elsewhere")
		two.DLM.Waiting, two.DLM.Lockspaces[0].Changing = nil, false
		after.Oned.VMs = []opennebula.VM{vm(42, opennebula.StateActive, "node2")}
		assert.Empty(t, d.Judge(s, before, after))
		after.Nodes[1].Facts = nil
		assert.Len(t, d.Judge(s, before, after), 1, "nobody is left")
	}
}

func TestMigrationDrill(t *testing.T) {
	d, s := drill(t, "migration"), Subject{Node: "node2", VM: 42}
	assert.Len(t, d.Judge(s, healthy(t), healthy(t)), 3, "oned, the old node and the new one")
	after := healthy(t)
	one, two := after.Nodes[0].Facts, after.Nodes[1].Facts
	after.Oned.VMs = []opennebula.VM{vm(42, opennebula.StateActive, "node2")}
	two.Active, two.LVM.Volumes, two.LVM.Locks = one.Active, one.LVM.Volumes, map[string]lvm.Mode{one.Active[0].UUID: lvm.Shared}
	one.Active = nil
	assert.Len(t, d.Judge(s, healthy(t), after), 1, "it is still shared")
	two.LVM.Locks[two.Active[0].UUID] = lvm.Exclusive
	assert.Empty(t, d.Judge(s, healthy(t), after))
}
