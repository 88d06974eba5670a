package plan

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cxmrc"
)

func TestConnectionChoosesTheWay(t *testing.T) {
	c := Connection{Config: cxmrc.Defaults(cxmrc.Driver)}
	assert.Equal(t, "ssh", c.host("node1").Argv[0])
	self, err := os.Hostname()
	require.NoError(t, err)
	for _, here := range []string{self, "localhost"} {
		assert.NotContains(t, c.host(here).Argv, "ssh")
	}
}
