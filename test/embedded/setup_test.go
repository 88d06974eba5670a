//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// Killed at any instant, a file is as it was, or as it is to be, and what it was is kept; done
// again, setup finishes.
func TestSetupIsKilled(t *testing.T) {
	s := withFailpoints(t, start)
	stock, err := os.ReadFile("../../opennebula/onedconf/testdata/7.4.conf")
	require.NoError(t, err)
	want, err := os.ReadFile("../../opennebula/onedconf/testdata/7.4.golden")
	require.NoError(t, err)
	for at, now := range map[string][]byte{"setup.kept": stock, "setup.written": want} {
		dir := public(t)
		conf := filepath.Join(dir, "oned.conf")
		require.NoError(t, os.WriteFile(conf, stock, 0o644))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "vmm_exec"), 0o755))
		argv := []string{program, "setup", "frontend", "--oned-conf", conf, "--yes"}
		s.killAt(at, 0, testbed.Command{Argv: argv, Root: true})
		content, err := os.ReadFile(conf)
		require.NoError(t, err)
		assert.Equal(t, string(now), string(content), at)
		kept, err := filepath.Glob(conf + ".*.bak")
		require.NoError(t, err)
		require.Len(t, kept, 1)
		content, err = os.ReadFile(kept[0])
		require.NoError(t, err)
		assert.Equal(t, string(stock), string(content))

		s.root(argv...)
		content, err = os.ReadFile(conf)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(content), at)
		half, err := filepath.Glob(dir + "/.*")
		require.NoError(t, err)
		assert.Empty(t, half)
		assert.Contains(t, s.root(argv...), "nothing to do\n")
	}
}

// Killed behind an update of a datastore, setup finds what it has done, and does the rest.
func TestSetupOfDatastoresIsKilled(t *testing.T) {
	s := withFailpoints(t, start)
	want, err := os.ReadFile("../../opennebula/onedconf/testdata/7.4.golden")
	require.NoError(t, err)
	conf := filepath.Join(public(t), "oned.conf")
	require.NoError(t, os.WriteFile(conf, want, 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(conf), "vmm_exec"), 0o755))
	const more = fakeoned.ImageDS + 10
	elsewhere := map[string]string{"LN_TARGET": "SYSTEM", "CLONE_TARGET": "SYSTEM"}
	s.oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(elsewhere))
	s.oned.Put(fakeoned.Datastores, more, fakeoned.ImageDatastore(elsewhere))
	s.oned.Change(fakeoned.Datastores, more, map[string]string{"ID": fmt.Sprint(more)})
	argv := []string{program, "setup", "frontend", "--oned-conf", conf, "--yes"}
	s.killAt("datastore.merged", 0, testbed.Command{Argv: argv, Root: true})
	said := s.root(argv...)
	assert.NotContains(t, said, fmt.Sprintf("datastore %d has", fakeoned.ImageDS))
	assert.Contains(t, said, fmt.Sprintf("datastore %d has LN_TARGET=\"NONE\" CLONE_TARGET=\"SELF\"\n", more))
	assert.Contains(t, s.root(argv...), "nothing to do\n")
}
