package main

import (
	"bytes"
	"fmt"
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
	scripts = append(scripts, "../../remotes/im/rhcs-probes.d/poll.sh")
	var probes []vmm.Probe
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		require.NoError(t, err)
		assert.Equal(t, "#!"+installed+"\n", string(text), script)
		info, err := os.Stat(script)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o111), info.Mode().Perm()&0o111, script)
		probe, _ := vmm.ProbeOf(script)
		probes = append(probes, probe)
	}
	assert.ElementsMatch(t, []vmm.Probe{vmm.ProbeMonitor, vmm.ProbeStatus, vmm.ProbePoll}, probes)
}

// TestHostProbesOfOldReleases: up to 5.10 a host's probes are called by their names, in their
// directory, with what the collector was started with; the stock one calls poll with two options.
func TestHostProbesOfOldReleases(t *testing.T) {
	remotes := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(remotes, "im/kvm-probes.d"), 0o755))
	t.Chdir(filepath.Join(remotes, "im/kvm-probes.d"))
	probe, found := vmm.ProbeOf("./poll.sh")
	assert.Equal(t, vmm.ProbePoll, probe)
	assert.Equal(t, remotes, found)
	for _, argv := range [][]string{{"./poll.sh", "kvm", "/var/lib/one//datastores", "4124", "20", "0", "node1"}, {"../../vmm/kvm/poll", "--kvm", "-t"}} {
		status, stdout, stderr := call(argv...)
		assert.Equal(t, 1, status, "%s: it is called, and nobody answers", argv)
		assert.Empty(t, stdout, argv)
		assert.Contains(t, stderr, "poll of the VMs of this node", argv)
	}
	for _, script := range []string{"poll.sh", "agent", "/var/tmp/one/vmm/rhcs/poll", "/var/tmp/one/im/kvm.d/run_probes"} {
		probe, _ := vmm.ProbeOf(script)
		assert.Empty(t, probe, script)
	}
	assert.False(t, vmm.IsPollAll("/var/tmp/one/vmm/rhcs/poll", []string{"one-42", "node1", "42", "node1"}))
	assert.False(t, vmm.IsPollAll("/var/tmp/one/vmm/rhcs/poll", []string{"one-42", "-t"}))
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
		assert.Contains(t, usage, "--dry-run")
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
	for _, argv := range [][]string{{"one-42"}, {"--dry-run", "one-42"}, {"one-42", "--dry-run"}} {
		status, stdout, stderr := call(append([]string{filepath.Join(remotes, "vmm/rhcs/cancel")}, argv...)...)
		assert.Equal(t, 2, status)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, fmt.Sprintf("%d given; usage: cancel DEPLOY_ID HOST VM_ID HOST", len(argv)-strings.Count(argv[0], "--dry-run")))
	}
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
