package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/test/fakeoned"
)

// newFrontEnd is an OpenNebula 7.4 below ONE_LOCATION, with an image datastore on the SAN
// whose disks are counted elsewhere; oned is what answers.
func newFrontEnd(t *testing.T) (onedConf string, oned *fakeoned.Server) {
	t.Helper()
	location := t.TempDir()
	stock, err := os.ReadFile("../../opennebula/onedconf/testdata/7.4.conf")
	require.NoError(t, err)
	for path, text := range map[string]string{
		"etc/oned.conf": string(stock), "etc/vmm_exec/vmm_execrc": "LIVE_DISK_SNAPSHOTS=\"kvm-qcow2\"\n", "var/remotes/VERSION": "7.4.0\n", "auth": fakeoned.Session + "\n",
	} {
		path = filepath.Join(location, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	oned, err = fakeoned.Listen("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, oned.Close()) })
	oned.Put(fakeoned.Datastores, fakeoned.ImageDS, fakeoned.ImageDatastore(map[string]string{"LN_TARGET": "SYSTEM"}))
	t.Setenv("ONE_LOCATION", location)
	t.Setenv("ONE_XMLRPC", oned.URL())
	t.Setenv("ONE_AUTH", filepath.Join(location, "auth"))
	return filepath.Join(location, "etc/oned.conf"), oned
}

func TestSetupFrontEnd(t *testing.T) {
	conf, oned := newFrontEnd(t)
	text := func() string {
		content, err := os.ReadFile(conf)
		require.NoError(t, err)
		return string(content)
	}
	before := text()
	status, stdout, stderr := tmClvm("setup", "check")
	assert.Equal(t, 1, status, stderr)
	assert.Contains(t, stdout, "missing  "+conf+": oned.conf has no TM_MAD_CONF for clvm")
	assert.Contains(t, stdout, `LN_TARGET="NONE"`)

	status, stdout, _ = tmClvm("setup", "frontend", "--dry-run")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "\n+TM_MAD_CONF = [\n")
	assert.Regexp(t, "^# for OpenNebula 7.4.0: /.*/var/remotes/VERSION says so\n", stdout)
	status, _, stderr = tmClvm("setup", "frontend")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "--yes")
	assert.Equal(t, before, text(), "nobody has agreed")

	status, stdout, stderr = tmClvm("setup", "frontend", "--yes")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "now run: systemctl restart opennebula\n")
	after, err := os.ReadFile("../../opennebula/onedconf/testdata/7.4.golden")
	require.NoError(t, err)
	assert.Equal(t, string(after), text())
	assert.Contains(t, oned.Document(fakeoned.Datastores, fakeoned.ImageDS), "<LN_TARGET><![CDATA[NONE]]>")

	status, stdout, _ = tmClvm("setup", "frontend", "--yes")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "nothing to do\n")
	status, stdout, _ = tmClvm("setup", "check", "frontend")
	assert.Zero(t, status)
	assert.Equal(t, "nothing is missing\n", stdout)

	require.NoError(t, os.WriteFile(conf, []byte("A = [\n"), 0o600))
	status, _, stderr = tmClvm("setup", "check")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "line 2")
}

// Without the file that tells the version, an old one is planned for, and that is said first.
func TestSetupWithoutVersion(t *testing.T) {
	conf, _ := newFrontEnd(t)
	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(conf), "../var/remotes/VERSION")))
	_, stdout, _ := tmClvm("setup", "frontend", "--dry-run")
	assert.Regexp(t, "^# for OpenNebula 4.2 or older: there is no /.*/var/remotes/VERSION, which newer ones have\n", stdout)
}

// Without oned the files are set up all the same; that the datastores are right is not known.
func TestSetupWithoutOned(t *testing.T) {
	_, _ = newFrontEnd(t)
	t.Setenv("ONE_XMLRPC", "http://127.0.0.1:1/RPC2")
	status, _, stderr := tmClvm("setup", "frontend", "--yes")
	assert.Zero(t, status)
	assert.Contains(t, stderr, "were not looked at")
	status, stdout, _ := tmClvm("setup", "check")
	assert.Equal(t, 2, status)
	assert.NotContains(t, stdout, "missing")
}

func TestSetupWords(t *testing.T) {
	for _, words := range [][]string{{"setup"}, {"setup", "oned"}, {"setup", "node", "frontend"}, {"setup", "check", "all"}} {
		status, _, stderr := tmClvm(words...)
		assert.Equal(t, 2, status, words)
		assert.Contains(t, stderr, "usage: tm-clvm setup")
	}
}
