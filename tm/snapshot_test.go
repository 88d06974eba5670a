package tm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

func TestSnapshots(t *testing.T) {
	for _, c := range []struct {
		verb string
		op   agent.Op
	}{
		{"snap_create", agent.OpSnapshot}, {"snap_create_live", agent.OpSnapshot},
		{"snap_delete", agent.OpRemove}, {"snap_revert", agent.OpRevert},
	} {
		b := newBench(t)
		b.oned.datastores[101].Template["SNAPSHOT_SPACE"] = "20"
		b.oned.vm.Snapshots[0] = []opennebula.Snapshot{{ID: 0, Parent: -1}, {ID: 1, Parent: 0}}
		require.NoError(t, b.call(c.verb+" node2:"+home+"/disk.0 1 0 100"), c.verb)
		require.Len(t, b.nodes.reqs, 1, "one connection")
		q := b.nodes.reqs[0]
		assert.Equal(t, c.op, q.Op)
		assert.Contains(t, b.nodes.asked[0], "node2 ")
		assert.Equal(t, 1, *q.Snapshot)
		if c.op == agent.OpSnapshot {
			assert.Equal(t, 20, q.Space)
			assert.Equal(t, 0, *q.Parent)
		}
	}
	b := newBench(t)
	require.NoError(t, b.call("snap_create node1:"+home+"/disk.0 0 0 100"))
	assert.Nil(t, b.nodes.reqs[0].Parent)
	assert.Equal(t, 100, b.nodes.reqs[0].Space, "never invalid")
	b.nodes.fail["node1 snapshot"] = lvm.ErrNoSpace
	err := b.call("snap_create node1:" + home + "/disk.0 0 0 100")
	require.ErrorIs(t, err, lvm.ErrNoSpace)
	assert.ErrorContains(t, err, "VM 0 disk 0")
}

func TestSaveOfASnapshot(t *testing.T) {
	b := newBench(t)
	b.nodes.start = agent.Start{Mode: tarmode.GZIP, Size: 1 << 30}
	require.NoError(t, b.call("cpds node1:"+home+"/disk.0 IMAGE 1 0 100"))
	assert.Equal(t, 1, *b.nodes.reqs[0].Snapshot)
	require.NoError(t, b.call("cpds node1:"+home+"/disk.0 IMAGE -1 0 100"))
	assert.Nil(t, b.nodes.reqs[1].Snapshot)
	require.NoError(t, b.call("cpds node1:"+home+"/disk.0 IMAGE 0 100"), "up to 4.12")
	assert.Nil(t, b.nodes.reqs[2].Snapshot)
}
