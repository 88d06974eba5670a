package agent

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent/facts"
)

func TestFacts(t *testing.T) {
	n := newNode(t)
	asked := ""
	n.server.Facts = func(_ context.Context, frontEnd string) *facts.Facts {
		asked = frontEnd
		return &facts.Facts{Hostname: "node1"}
	}
	res, err := n.do(Request{Op: OpFacts, Operation: "0123456789ab", FrontEnd: "fe.example"}, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "node1", res.Facts.Hostname)
	assert.Equal(t, "fe.example", asked)
	for _, q := range []Request{
		{Op: OpFacts, Operation: "0123456789ab", FrontEnd: "fe; reboot"},
		{Op: OpVolumes, Operation: "0123456789ab", Group: n.server.Config.Groups[0], FrontEnd: "fe"},
	} {
		_, err := n.do(q, Transfer{})
		assert.ErrorContains(t, err, "front-end")
	}
}
