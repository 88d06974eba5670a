package membership

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// What corosync 3.1.7 and dlm 4.2.0 print on a node of the lab.
const (
	cmapctl = `nodelist.local_node_pos (u32) = 0
nodelist.node.0.name (str) = node1
nodelist.node.0.nodeid (u32) = 1
nodelist.node.0.ring0_addr (str) = 10.77.0.1
nodelist.node.1.name (str) = node2
nodelist.node.1.nodeid (u32) = 2
nodelist.node.1.ring0_addr (str) = 10.77.0.2
quorum.expected_votes (u32) = 2
runtime.config.totem.token (u32) = 8000
runtime.config.totem.token_warning (u32) = 75
runtime.members.1.ip (str) = r(0) ip(10.77.0.1) 
runtime.members.1.status (str) = joined
runtime.members.2.ip (str) = r(0) ip(10.77.0.2) 
runtime.members.2.status (str) = left
totem.cluster_name (str) = lab
totem.token (u32) = 8000
`
	quorumtool = `Quorum information
------------------
Date:             Sat Nov 21 12:27:35 2026
Quorum provider:  corosync_votequorum
Nodes:            2
Quorate:          Yes

Votequorum information
----------------------
Flags:            2Node Quorate 
`
	lockspaces = `dlm lockspaces
name          home
id            0xf8ee17aa
flags         0x00000000 
change        member 2 joined 1 remove 0 failed 0 seq 2,2
members       1 2 

name          lvm_vg-one
id            0xb303f514
flags         0x00000004 kern_stop
change        member 2 joined 1 remove 0 failed 0 seq 2,2
members       1 2 
new change    member 1 joined 0 remove 1 failed 1 seq 3,3
new status    wait fencing
new members   1 

`
	status = `cluster nodeid 1 quorate 1 ring seq 13 13
daemon now 120 fence_pid 0 
node 1 M add 20 rem 0 fail 0 fence 0 at 0 0
node 2 X add 20 rem 118 fail 118 fence 0 at 0 0
`
	config = "daemon_debug=0\nenable_fencing=1 (dlm.conf)\nenable_startup_fencing=1\n"
)

// programs answers by the program's name and arguments.
type programs map[string]string

var errGone = errors.New("not found")

func (p programs) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	name := strings.Join(append([]string{c.Path}, c.Args...), " ")
	text, ok := p[name]
	if !ok {
		return run.Result{Status: 1}, &run.Error{Argv: []string{name}, Status: 1, Err: errGone}
	}
	return run.Result{Stdout: []byte(text)}, nil
}

func TestRead(t *testing.T) {
	c, err := Read(t.Context(), programs{"corosync-cmapctl": cmapctl, "corosync-quorumtool -s": quorumtool})
	require.NoError(t, err)
	assert.Equal(t, Cluster{Name: "lab", Token: 8000, Quorate: true, Nodes: []Node{{1, "node1", true}, {2, "node2", false}}}, c)
	assert.Equal(t, []int{1}, c.Present())
	assert.Equal(t, "node2", c.NodeName(2))
	assert.Equal(t, "node id 3", c.NodeName(3))

	_, err = Read(t.Context(), programs{})
	require.ErrorIs(t, err, ErrNoCluster)
	_, err = Read(t.Context(), programs{"corosync-cmapctl": cmapctl})
	require.ErrorContains(t, err, "quorum")
}

// corosync 2 has its members in another place, and perhaps no names.
func TestReadOld(t *testing.T) {
	text := strings.NewReplacer("runtime.members.", "runtime.totem.pg.mrp.srp.members.", "nodelist.node.1.name (str) = node2\n", "").Replace(cmapctl)
	c := parseMap(text)
	assert.Equal(t, []Node{{1, "node1", true}, {2, "10.77.0.2", false}}, c.Nodes)
}

func TestCman(t *testing.T) {
	c := parseCman("Version: 6.2.0\nCluster Name: sanone\nQuorum: 2 Activity blocked\nNode ID: 1\n", "0 M /dev/quorum\n1 M n1 \n2 X n2 \n")
	assert.Equal(t, Cluster{Name: "sanone", Nodes: []Node{{1, "n1", true}, {2, "n2", false}}}, c)
	assert.True(t, parseCman("Quorum: 1  \n", "").Quorate)
}

func TestReadDLM(t *testing.T) {
	d, err := ReadDLM(t.Context(), programs{"dlm_tool ls": lockspaces, "dlm_tool status": status, "dlm_tool dump_config": config})
	require.NoError(t, err)
	assert.True(t, d.Fencing)
	assert.Equal(t, []int{2}, d.Waiting)
	home, ok := d.Lockspace("home")
	assert.True(t, ok)
	assert.Equal(t, Lockspace{Name: "home", Members: []int{1, 2}}, home)
	vg, _ := d.Lockspace("lvm_vg-one")
	assert.Equal(t, Lockspace{Name: "lvm_vg-one", Members: []int{1, 2}, Changing: true}, vg)
	_, ok = d.Lockspace("other")
	assert.False(t, ok)

	d, err = ReadDLM(t.Context(), programs{"dlm_tool ls": "dlm lockspaces\n", "dlm_tool status": strings.Replace(status, "fail 118 fence 0", "fail 118 fence 119", 1), "dlm_tool dump_config": "enable_fencing=0\n"})
	require.NoError(t, err)
	assert.False(t, d.Fencing)
	assert.Empty(t, d.Waiting, "it was fenced")

	_, err = ReadDLM(t.Context(), programs{"dlm_tool ls": lockspaces})
	require.ErrorContains(t, err, "state of dlm")
}
