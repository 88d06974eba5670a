//go:build embedded

package embedded

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// The same volume, as the node sees it and as the front-end hears of it.
func TestVolumesCommand(t *testing.T) {
	s := start(t, testbed.Options{})
	s.vm(fakeoned.VolatileDisk(0, "", 8))
	s.ok("mkimage", ofMiB("8")...)
	table := s.root(program, "volumes", "--vm", "42", "--state", "exclusive")
	assert.Regexp(t, `vg-one +lv-one-42-0 +42 +0 +8.0 MiB +exclusive +no +here +`, table)
	result, err := s.machine.RunAsOneadmin(t.Context(), program, "volumes", "--cluster", "--json")
	require.NoError(t, err)
	require.Zero(t, result.Status, result.Stderr)
	var rows []struct {
		lvm.Volume
		State   string
		Holders []string
	}
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &rows))
	require.Len(t, rows, 1)
	assert.Equal(t, "lv-one-42-0", rows[0].Name)
	assert.Equal(t, int64(8<<20), rows[0].Size)
	assert.Equal(t, []string{"node1"}, rows[0].Holders)
	result, err = s.machine.Run(t.Context(), testbed.Command{Argv: []string{program, "volumes", "--vm", "43"}, Root: true})
	require.NoError(t, err)
	assert.Zero(t, result.Status, "none matches, and nothing is wrong")
	metrics := filepath.Join(t.TempDir(), "one.prom")
	s.root(program, "volumes", "--prometheus", metrics)
	text, err := os.ReadFile(metrics)
	require.NoError(t, err)
	assert.Contains(t, string(text), `one_clvm_volume_size_bytes{vg="vg-one",volume="lv-one-42-0",vm="42",disk="0",state="exclusive"} 8388608`)
	s.deleteHome()
}
