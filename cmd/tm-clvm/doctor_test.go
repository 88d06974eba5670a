package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/doctor"
	"one-clvm/internal/command"
	"one-clvm/polkit"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/udev"
)

// What doctor prints is what is shipped, byte by byte: its output is installed.
func TestDoctorPrints(t *testing.T) {
	for name, want := range map[string]string{"sudoers": sudoers.Rule, "sudoers-vmm": sudoers.VMMRule, "sudoers-hook": sudoers.HookRule, "udev": udev.Rules, "polkit": polkit.Rules, "pkla": polkit.Authority} {
		status, stdout, _ := tmClvm("doctor", "print", name)
		assert.Zero(t, status, name)
		assert.Equal(t, want, stdout)
	}
	file, err := os.ReadFile("../../sudoers.d/one-clvm")
	require.NoError(t, err)
	assert.Equal(t, string(file), sudoers.Rule)
	status, _, _ := tmClvm("doctor", "print", "passwd")
	assert.Equal(t, 2, status)
	status, stdout, _ := tmClvm("doctor", "drill")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "migration")
	status, _, _ = tmClvm("doctor", "drill", "fire", "node1")
	assert.Equal(t, 2, status)
	status, _, _ = tmClvm("doctor", "please")
	assert.Equal(t, 2, status)
}

// Without an oned, and without a node to ask, it could not look.
func TestDoctorCouldNotLook(t *testing.T) {
	t.Setenv("ONE_LOCATION", t.TempDir())
	t.Setenv("ONE_XMLRPC", "http://127.0.0.1:1/RPC2")
	auth := filepath.Join(t.TempDir(), "auth")
	require.NoError(t, os.WriteFile(auth, []byte("oneadmin:x\n"), 0o600))
	t.Setenv("ONE_AUTH", auth)
	status, stdout, stderr := tmClvm("doctor")
	assert.Equal(t, 2, status)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "--node")
}

func TestDiagnosis(t *testing.T) {
	var out bytes.Buffer
	found := []doctor.Finding{
		{Check: "ssh", Severity: doctor.OK, Text: "2 nodes answer"},
		{Check: "lock manager", Node: "node2", Severity: doctor.Fail, Text: "not started", Fix: &doctor.Fix{On: "node2", Command: "vgchange --lockstart vg-one"}},
		{Check: "host hook", Severity: doctor.Warn, Text: "hook 7", Fix: &doctor.Fix{Command: "onehook delete 7"}},
	}
	require.NoError(t, printDiagnosis(found, command.Stdio{Out: &out}))
	assert.Equal(t, `ok    ssh: 2 nodes answer
fail  lock manager on node2: not started
      fix on node2: vgchange --lockstart vg-one
warn  host hook: hook 7
      fix on the front-end: onehook delete 7
`, out.String(), "no colours where there is no terminal")
}

func TestGFS2Words(t *testing.T) {
	for _, words := range [][]string{{"gfs2"}, {"gfs2", "format"}, {"gfs2", "erase", "/dev/x"}, {"gfs2", "journals", "--add", "0", "/"}} {
		status, _, stderr := tmClvm(words...)
		assert.Equal(t, 2, status, words)
		assert.NotEmpty(t, stderr)
	}
}

// Where nobody can be asked, nothing is done without --yes.
func TestConsent(t *testing.T) {
	var shown bytes.Buffer
	io := command.Stdio{In: &bytes.Buffer{}, Err: &shown}
	require.ErrorIs(t, consent(false, io, "All of it is destroyed.\n"), errNoConsent)
	assert.Equal(t, "All of it is destroyed.\n", shown.String())
	require.NoError(t, consent(true, io, "x"))
}
