package profile

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNamed(t *testing.T) {
	for _, p := range All() {
		found, err := Named(p.Name)
		require.NoError(t, err)
		assert.Equal(t, p, found)
		assert.True(t, !p.SharedHome || p.LockManager == LockDLM, "GFS2 needs dlm")
		assert.True(t, !p.Pacemaker || p.SharedHome, "Pacemaker starts VMs from their homes")
		assert.Equal(t, p.Name, p.Trees()[len(p.Trees())-1], "its own files come last")
	}
	_, err := Named("none")
	assert.ErrorContains(t, err, "[single cluster sanlock legacy ha ha-single]")
}
