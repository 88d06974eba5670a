//go:build lab

package lab

import (
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
)

// A card of a VM, its bridge, and the network driver that OpenNebula has for it: scripts that
// note how they are called.
const (
	cardMAC     = "02:00:0a:00:00:2a"
	cardBridge  = "onebr0"
	cardDriver  = "noting"
	cardCalls   = "/tmp/network-calls"
	cardElement = "<NIC><NIC_ID>0</NIC_ID><ATTACH>YES</ATTACH><MAC>" + cardMAC + "</MAC><BRIDGE>" + cardBridge + "</BRIDGE><VN_MAD>" + cardDriver + "</VN_MAD></NIC>"
	cardScript  = "#!/bin/sh\necho \"${0##*/} $*\" >> " + cardCalls + "\n"
)

// plugsIn gives a running VM a network card, and the nodes what that needs.
func (s *site) plugsIn(n *cluster.Node, vm int) {
	s.Helper()
	for _, node := range s.Nodes {
		s.Output(s.T, node, "modprobe", "tun")
		s.Output(s.T, node, "ip", "link", "add", "name", cardBridge, "type", "bridge")
		s.Output(s.T, node, "ip", "link", "set", cardBridge, "up")
		for _, phase := range []string{"pre", "post", "clean"} {
			require.NoError(s, node.Put(s.Context(), cluster.Remotes+"/vnm/"+cardDriver+"/"+phase, strings.NewReader(cardScript), 0o755, cluster.OneadminID))
		}
	}
	document := strings.Replace(s.action(vm), "</TEMPLATE>", cardElement+"</TEMPLATE>", 1)
	for range 2 {
		r := s.driver(n.Name, document, "attach_nic", vm, name(vm), cardMAC, cardBridge, "-", cardDriver, name(vm)+"-0")
		require.Zero(s, r.status, r.stderr)
		s.hasCard(n, vm)
	}
	s.runsOn(n, vm)
}

// hasCard: the running domain has the card, once.
func (s *site) hasCard(n *cluster.Node, vm int) {
	s.Helper()
	cards := s.Output(s.T, n, "virsh", "-c", "qemu:///system", "domiflist", name(vm))
	assert.Equal(s, 1, strings.Count(cards, cardMAC), cards)
	assert.Contains(s, cards, cardBridge)
}

// isConnected: the card came along to the node where the cluster has started the VM, and its
// network driver was called there as OpenNebula does around a deploy.
func (s *site) isConnected(n *cluster.Node, vm int) {
	s.Helper()
	s.hasCard(n, vm)
	r, err := n.Run(s.Context(), run.Cmd{Path: "cat", Args: []string{cardCalls}})
	require.NoError(s, err)
	calls := strings.Split(strings.TrimSpace(string(r.Stdout)), "\n")
	for i := range calls {
		calls[i] = strings.TrimSpace(calls[i])
	}
	assert.Equal(s, []string{"pre", "post " + name(vm)}, calls)
}
