package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
	"one-clvm/vmm"
)

func call(argv ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = vmmrhcs(argv, stdio{strings.NewReader(""), &out, &err})
	return status, out.String(), err.String()
}

func TestEveryVerbHasItsScript(t *testing.T) {
	scripts, err := filepath.Glob("../../remotes/vmm/rhcs/*")
	require.NoError(t, err)
	var names []string
	for _, script := range append(scripts, "../../ocf/VirtualDomain", "../../libvirt/hooks/qemu") {
		text, err := os.ReadFile(script)
		require.NoError(t, err)
		assert.Equal(t, "#!"+installed+"\n", string(text), script)
		info, err := os.Stat(script)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o111), info.Mode().Perm()&0o111, script)
		names = append(names, filepath.Base(script))
	}
	assert.ElementsMatch(t, append([]string{"VirtualDomain", "qemu"}, opennebula.VMMVerbs...), names)
}

func TestEveryProbeHasItsScript(t *testing.T) {
	scripts, err := filepath.Glob("../../remotes/im/*/vm/*/*")
	require.NoError(t, err)
	var probes []vmm.Probe
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		require.NoError(t, err)
		assert.Equal(t, "#!"+installed+"\n", string(text), script)
		info, err := os.Stat(script)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o111), info.Mode().Perm()&0o111, script)
		probes = append(probes, vmm.ProbeOf(script))
	}
	assert.ElementsMatch(t, []vmm.Probe{vmm.ProbeMonitor, vmm.ProbeStatus}, probes)
}

// TestProbeThatFails prints nothing that would count as an answer.
func TestProbeThatFails(t *testing.T) {
	for _, argv := range [][]string{
		{filepath.Join(t.TempDir(), "im/rhcs-probes.d/vm/status/one-clvm"), "rhcs", "0", "node1"},
		{filepath.Join(t.TempDir(), "vmm/rhcs/poll"), "-t"},
	} {
		status, stdout, stderr := call(argv...)
		assert.NotZero(t, status, argv)
		assert.Empty(t, stdout, argv)
		assert.NotEmpty(t, stderr, argv)
	}
}

func TestHelp(t *testing.T) {
	status, stdout, _ := call("--help")
	assert.Zero(t, status)
	for _, verb := range opennebula.VMMVerbs {
		assert.Contains(t, stdout, "  "+verb+" ")
		status, usage, _ := call(verb, "--help")
		assert.Zero(t, status)
		assert.True(t, strings.HasPrefix(usage, "vmm-rhcs "+verb+" "), usage)
		_, same, _ := call("help", verb)
		assert.Equal(t, usage, same)
	}
	for _, c := range people().All() {
		assert.Contains(t, stdout, "  "+c.Name+" ")
	}
	status, usage, _ := call("frontend-ha", "show", "--help")
	assert.Zero(t, status)
	assert.Contains(t, usage, "--twin")
	status, stdout, _ = call("version")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "vmm-rhcs ")
}

func TestWrongCalls(t *testing.T) {
	for _, argv := range [][]string{{}, {"frobnicate"}, {"agent", "x"}, {"resource"}, {"resource", "start", "x"}, {"libvirt-hook"}, {"/etc/libvirt/hooks/qemu", "one-42"}, {"networks"}, {"networks", "post"}} {
		status, stdout, stderr := call(argv...)
		assert.Equal(t, 2, status, argv)
		assert.Empty(t, stdout, argv)
		assert.NotEmpty(t, stderr, argv)
	}
	remotes := t.TempDir()
	status, stdout, stderr := call(filepath.Join(remotes, "vmm/rhcs/cancel"), "one-42")
	assert.Equal(t, 2, status)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "usage: cancel DEPLOY_ID HOST VM_ID HOST")
}

func TestMetadataByTheScriptOfTheResourceAgent(t *testing.T) {
	status, stdout, _ := call("/usr/lib/ocf/resource.d/one-clvm/VirtualDomain", "meta-data")
	assert.Zero(t, status)
	assert.Contains(t, stdout, `<resource-agent name="VirtualDomain"`)
}

func TestRemotesOfAScript(t *testing.T) {
	assert.Equal(t, "/var/tmp/one", remotesOf("/var/tmp/one/vmm/rhcs/deploy"))
	assert.Equal(t, "/var/tmp/one", remotesOf("deploy"))
}
