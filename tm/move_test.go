package tm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

func TestMoves(t *testing.T) {
	disk := home + "/disk.0"
	cold := "mv node1:" + disk + " node2:" + disk + " 0 100"
	offOn, on := []string{"node1 activate disk 0 off", "node2 activate disk 0 exclusive"}, []string{"node2 activate disk 0 exclusive"}
	cases := []struct {
		name, line string
		lcm        opennebula.LCMState
		source     opennebula.HostState
		want       []string
		takeOver   string
	}{
		{"same host", "mv node1:" + disk + " node1:" + disk + " 0 100", 3, 2, nil, ""},
		{"home", "mv node1:" + home + " node2:" + home + " 0 101", 3, 2, nil, ""},
		{"stop", "mv node1:" + disk + " frontend:" + disk + " 0 100", 3, 2, []string{"node1 park disk 0"}, ""},
		{"resume", "mv frontend:" + disk + " node2:" + disk + " 0 100", 3, 2, on, ""},
		{"cold", cold, 8, 2, offOn, ""},
		{"VM unknown, source alive", cold, 60, 2, offOn, ""},
		{"VM unknown, source dead", cold, 60, opennebula.HostError, on, "node1"},
		{"VM unknown, source disabled", cold, 61, opennebula.HostDisabled, on, "node1"},
		{"VM off, source dead", cold, 43, opennebula.HostMonitoringError, on, "node1"},
		{"VM off, source disabled", cold, 43, opennebula.HostDisabled, offOn, ""},
		{"source said to be off", cold, 60, opennebula.HostOffline, on, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.oned.vm.LCMState = c.lcm
			b.oned.hosts[0].State = c.source
			require.NoError(t, b.call(c.line))
			assert.Equal(t, c.want, b.nodes.asked)
			if len(c.want) > 0 {
				assert.Equal(t, c.takeOver, b.nodes.reqs[len(b.nodes.reqs)-1].TakeOver)
			}
		})
	}
	b := newBench(t)
	b.nodes.fail["node2 activate"] = lvm.ErrLocked
	require.Error(t, b.call("mv node1:"+disk+" node2:"+disk+" 0 100"))
	assert.Equal(t, "node1 activate disk 0 exclusive", b.nodes.asked[2], "taken back")
}

// A verb that names a dead node is carried out on another one, and says whose disks it takes.
func TestFailoverNeverContactsTheDeadNode(t *testing.T) {
	for _, line := range []string{
		"delete node1:" + home + "/disk.0 0 100", "delete node1:" + home + " 0 101", "resize node1:" + home + "/disk.0 4096 0 100",
		"snap_create node1:" + home + "/disk.0 0 0 100", "snap_delete node1:" + home + "/disk.0 0 0 100", "snap_revert node1:" + home + "/disk.0 0 0 100",
		"cpds node1:" + home + "/disk.0 IMAGE -1 0 100", "mvds node1:" + home + "/disk.0 IMAGE 0 100",
		"mv node1:" + home + "/disk.0 node2:" + home + "/disk.0 0 100", "mv node1:" + home + " node2:" + home + " 0 101",
	} {
		for state, takeOver := range map[opennebula.HostState]string{opennebula.HostError: "node1", opennebula.HostMonitoringError: "node1", opennebula.HostOffline: ""} {
			b := newBench(t)
			b.nodes.start = agent.Start{Mode: tarmode.TGZ, Size: 1 << 30, FSType: "ext4"}
			b.oned.hosts[0].State = state
			require.NoError(t, b.call(line), line)
			for i, q := range b.nodes.reqs {
				assert.True(t, strings.HasPrefix(b.nodes.asked[i], "node2 "), line)
				assert.Equal(t, takeOver, q.TakeOver, line)
			}
		}
	}
}
