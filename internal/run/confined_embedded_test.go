//go:build embedded

package run

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConfinedHasItsOwnNamespaces needs root.
func TestConfinedHasItsOwnNamespaces(t *testing.T) {
	for _, kind := range []string{"mnt", "pid", "net", "ipc"} {
		cmd := Cmd{Path: "readlink", Args: []string{"/proc/self/ns/" + kind}}
		outside, err := Exec{}.Run(t.Context(), cmd)
		require.NoError(t, err)
		cmd.Confined = true
		inside, err := Exec{}.Run(t.Context(), cmd)
		require.NoError(t, err)
		assert.NotEqual(t, string(outside.Stdout), string(inside.Stdout), kind)
	}
}
