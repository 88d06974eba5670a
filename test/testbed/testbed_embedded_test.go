//go:build embedded

package testbed

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { Main(m.Run) }

// The installed program is echo here: what the machine does with it is the question.
func start(t *testing.T) *Machine {
	t.Helper()
	m, err := Start(context.Background(), Options{Program: "/usr/bin/echo", GroupSize: "-", AgentEnv: map[string]string{"TESTBED_A": "b c"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Stop()) })
	return m
}

func TestOneadminReachesTheAgentAndNothingElse(t *testing.T) {
	m := start(t)
	for _, c := range []struct {
		name, argv     string
		status         int
		stdout, stderr string
	}{
		{"who", "id -un", 0, "oneadmin\n", ""},
		{"where", "hostname", 0, "frontend\n", ""},
		{"agent", "ssh node1 sudo -n " + installed + " agent", 0, "agent\n", ""},
		{"second node", "ssh node2 sudo -n " + installed + " agent", 0, "agent\n", ""},
		{"agent with more arguments", "ssh node1 sudo -n " + installed + " agent x", 1, "", "sudo: a password is required\n"},
		{"no arguments", "ssh node1 sudo -n " + installed, 1, "", "sudo: a password is required\n"},
		{"another program", "ssh node1 sudo -n id", 1, "", "sudo: a password is required\n"},
		{"no root", "ssh root@node1 id", 255, "", "root@node1: Permission denied (publickey).\r\n"},
		{"unknown node", "ssh node9 id", 255, "", "ssh: Could not resolve hostname node9: Name or service not known\r\n"},
		{"environment", "printenv ONE_XMLRPC ONE_AUTH HOME", 0, "http://127.0.0.1:2633/RPC2\n/var/lib/one/.one/one_auth\n/var/lib/one\n", ""},
		{"no other network", "ssh -o ConnectTimeout=1 192.0.2.1 id", 255, "", "ssh: connect to host 192.0.2.1 port 22: Network is unreachable\r\n"},
		{"set by sshd", "ssh node1 printenv TESTBED_A", 0, "b c\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, err := m.RunAsOneadmin(context.Background(), strings.Fields(c.argv)...)
			require.NoError(t, err)
			assert.Equal(t, c.status, result.Status)
			assert.Equal(t, c.stdout, result.Stdout)
			assert.Equal(t, strings.ReplaceAll(c.stderr, "\r", ""), strings.ReplaceAll(result.Stderr, "\r", ""))
		})
	}
}

func TestProcesses(t *testing.T) {
	m := start(t)
	result, err := m.Run(context.Background(), Command{Argv: []string{"cat"}, Stdin: "text"})
	require.NoError(t, err)
	assert.Equal(t, "text", result.Stdout)
	assert.NotZero(t, result.Elapsed)

	p, err := m.Start(Command{Argv: []string{"sleep", "1000"}, Root: true})
	require.NoError(t, err)
	require.NoError(t, p.Signal(os.Interrupt))
	assert.Equal(t, 130, p.Wait().Status)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = m.Run(ctx, Command{Argv: []string{"sleep", "1000"}})
	assert.ErrorIs(t, err, context.Canceled)
	_, err = m.RunAsOneadmin(context.Background(), "no-such-program")
	assert.Error(t, err)
}

func TestPipe(t *testing.T) {
	m := start(t)
	result, err := m.Pipe(context.Background(), Command{Argv: []string{"seq", "100000"}}, Command{Argv: []string{"ssh", "node1", "tail -1"}}, Command{Argv: []string{"wc", "-c"}})
	require.NoError(t, err)
	assert.Equal(t, "7\n", result.Stdout)
	_, err = m.Pipe(context.Background(), Command{Argv: []string{"false"}}, Command{Argv: []string{"cat"}})
	assert.ErrorContains(t, err, "[false]: exit status 1")
	_, err = m.Pipe(context.Background(), Command{Argv: []string{"no-such-program"}}, Command{Argv: []string{"cat"}})
	assert.ErrorContains(t, err, "no-such-program")
}

func TestScriptsAndConfiguration(t *testing.T) {
	m := start(t)
	result, err := m.RunAsOneadmin(context.Background(), Verb("clone"), "a", "b")
	require.NoError(t, err)
	assert.Equal(t, Verb("clone")+" a b\n", result.Stdout)

	require.NoError(t, m.Configure(map[string]string{"WIPE_METHOD": "write"}, map[string]string{"VG_NAME": "other"}))
	text, err := os.ReadFile(agentConf)
	require.NoError(t, err)
	assert.Equal(t, "ALLOWED_VGS=\"vg-one\"\nFILE_VG_DIR=\""+GroupsDirectory()+"\"\nHOME_BASE=\"/var/lib/one/datastores\"\nWIPE_METHOD=\"write\"\n", string(text))
	text, err = os.ReadFile(cxmrc)
	require.NoError(t, err)
	assert.Equal(t, "VG_NAME=\"other\"\n", string(text))
}

func TestMount(t *testing.T) {
	m := start(t)
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 64<<20))
	require.NoError(t, m.mustRun(context.Background(), "/usr/sbin/mkfs.ext4", "-q", image))
	result, err := m.Run(context.Background(), Command{Argv: []string{"/usr/sbin/losetup", "--find", "--show", image}, Root: true})
	require.NoError(t, err)
	device := strings.TrimSpace(result.Stdout)
	directory, unmount, err := Mount(device, "ext4", false)
	require.NoError(t, err)
	assert.DirExists(t, filepath.Join(directory, "lost+found"))
	assert.Error(t, os.WriteFile(filepath.Join(directory, "x"), nil, 0o600))
	require.NoError(t, unmount())
	_, _, err = Mount(device, "xfs", true)
	assert.ErrorContains(t, err, "mount "+device+" (xfs)")
	// The loop device stays attached on purpose: the janitor has to see to it.
}
