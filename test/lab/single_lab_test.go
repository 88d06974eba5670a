//go:build lab

package lab

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"one-clvm/lab/profile"
)

// A cluster of one node starts its VMs again in place, and says clearly that they cannot
// move.
func TestClusterOfOneNode(t *testing.T) {
	s := startHA(t, profile.HASingle)
	n := s.Nodes[0]
	s.sub("deploy", func() {
		s.guestVM(vmID, n.Name)
		s.deploy(n.Name, vmID)
		s.runsOn(n, vmID)
	})
	s.sub("migrate is refused", func() {
		r := s.driver(n.Name, "", "migrate", vmID, name(vmID), "node2", n.Name)
		assert.NotZero(s, r.status)
		assert.Contains(s, r.stderr, "the cluster has no other node than node1; nothing was changed")
		s.runsOn(n, vmID)
	})
	s.sub("restart in place", func() {
		s.crashes(n, vmID)
		s.runsOn(n, vmID)
	})
	s.sub("cancel", func() {
		s.drives(n.Name, "cancel", vmID, name(vmID), n.Name)
		s.isOffEverywhere(vmID)
	})
}
