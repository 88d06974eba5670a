package pacemaker

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest"
)

// TestRemoveWithoutAfter: PACEMAKER_AFTER may be gone from agent.conf since the VM was deployed.
// The configuration refuses to lose a primitive that a constraint refers to.
func TestRemoveWithoutAfter(t *testing.T) {
	deployed := clustertest.Service()
	deployed.After = "gfs2-clone"
	made, err := (&Stack{}).Commands(cluster.Order{Service: deployed}, cluster.Step{Action: cluster.Define, Node: "node1"})
	require.NoError(t, err)
	assert.Contains(t, made[0].Stdin, `<rsc_order id="order-one-42"`)
	assert.Contains(t, made[0].Stdin, `<rsc_colocation id="with-one-42"`)
	commands, err := (&Stack{}).Commands(cluster.Order{Service: clustertest.Service()}, cluster.Step{Action: cluster.Remove})
	require.NoError(t, err)
	var removed []string
	for _, c := range commands {
		removed = append(removed, c.Args[len(c.Args)-1])
	}
	assert.Equal(t, []string{`<rsc_location id="loc-one-42"/>`, `<rsc_order id="order-one-42"/>`, `<rsc_colocation id="with-one-42"/>`, `<primitive id="one-42"/>`}, removed)
}
