package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFrontend(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	status, example, _ := call("frontend-ha", "show")
	require.Zero(t, status)
	for _, name := range []string{"NODES", "ADDRESS", "DATABASE", "FENCE_PORTS"} {
		example = strings.Replace(example, "#"+name+"=", name+"=", 1)
	}
	site := write("site.conf", example, 0o600)
	status, conf, stderr := call("frontend-ha", "show", site)
	require.Zero(t, status, stderr)
	key := write("key", strings.Repeat("k", 32), 0o644)
	conf = strings.Replace(conf, "/etc/cluster/fence_xvm.key", key, 1)
	file := write("cluster.conf", conf, 0o600)
	status, _, stderr = call("frontend-ha", "check", file)
	assert.Zero(t, status, stderr)

	status, stdout, _ := call("frontend-ha", "check", "--keys", file, write("other", conf+"\n", 0o600))
	assert.Equal(t, 1, status)
	assert.Contains(t, stdout, key+":1: mode 0644\n")
	assert.Contains(t, stdout, "other:")
	status, stdout, _ = call("frontend-ha", "check", "--json", file)
	assert.Zero(t, status)
	assert.Equal(t, "[]\n", stdout)
	for _, words := range [][]string{{"check", "/nowhere"}, {"check"}, {"show", site, "x"}, {"show", "--form", "poem", site}} {
		status, _, _ = call(append([]string{"frontend-ha"}, words...)...)
		assert.Equal(t, 2, status, words)
	}
}
