//go:build embedded

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/test/testbed"
)

// Both front-ends are this machine, over a real ssh; the other one comes by another key before it
// looks, which is after this one has.
func TestTwinFrontends(t *testing.T) {
	m, err := testbed.Start(t.Context(), testbed.Options{Program: "/usr/bin/echo", GroupSize: "-"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Stop()) })
	const (
		key  = "/etc/cluster/fence_xvm.key"
		real = "/usr/libexec/one-clvm/twin"
	)
	text, err := os.ReadFile(testbed.VMM.Path())
	require.NoError(t, err)
	for path, content := range map[string]string{
		key: "ours", real: string(text), installed: "#!/bin/sh\nexec " + real + " \"$@\"\n", "/etc/cluster/cluster.conf": "<cluster/>\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.RemoveAll(path)) // of another test
		require.NoError(t, os.WriteFile(path, []byte(content), 0o755))
	}
	_, err = run.Exec{}.Run(t.Context(), run.Cmd{Path: "chown", Args: []string{"oneadmin", key}})
	require.NoError(t, err)
	compare := func() string {
		r, err := m.RunAsOneadmin(t.Context(), real, "frontend-ha", "check", "/etc/cluster/cluster.conf", "--twin", "node1")
		require.NoError(t, err)
		require.Equal(t, 1, r.Status, "%s%s", r.Stdout, r.Stderr)
		require.Contains(t, r.Stdout, "there is no <rm>")
		return r.Stdout
	}
	assert.NotContains(t, compare(), "the twin")
	require.NoError(t, os.WriteFile(installed, []byte("#!/bin/sh\necho theirs > "+key+"\nexec "+real+" \"$@\"\n"), 0o755))
	said := compare()
	assert.Contains(t, said, key+":1: the twin's is another one\n")
	assert.NotContains(t, said, "cluster.conf:1: the twin")
	require.NoError(t, os.Chmod(key, 0o000))
	_, err = run.Exec{}.Run(t.Context(), run.Cmd{Path: "chown", Args: []string{"root", key}})
	require.NoError(t, err)
	r, err := m.RunAsOneadmin(t.Context(), real, "frontend-ha", "check", "/etc/cluster/cluster.conf", "--twin", "node1")
	require.NoError(t, err)
	assert.Equal(t, 2, r.Status, "what cannot be read is not taken for the same")
	assert.Contains(t, r.Stderr, "root may read it")
}
