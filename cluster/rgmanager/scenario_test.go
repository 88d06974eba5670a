package rgmanager

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest"
	"one-clvm/cluster/clustertest/rhcs"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
)

const (
	home         = "/var/lib/one/datastores/101/42"
	migrationURI = "qemu+ssh://%s/system"
)

// configuration of a cluster with so many nodes. fence is that of each: automatic, manual
// or none.
func configuration(nodes int, fence string) string {
	var out strings.Builder
	out.WriteString(`<?xml version="1.0"?>` + "\n" + `<cluster name="sanone" config_version="17">` + "\n  <clusternodes>\n")
	for n := 1; n <= nodes; n++ {
		device := `<fence><method name="m1"><device name="` + fence + `"/></method></fence>`
		if fence == "none" {
			device = "<fence/>"
		}
		fmt.Fprintf(&out, "    <clusternode name=\"node%d\" nodeid=\"%d\">%s</clusternode>\n", n, n, device)
	}
	out.WriteString("  </clusternodes>\n  <fencedevices>\n    <fencedevice name=\"automatic\" agent=\"fence_ipmilan\"/>\n    <fencedevice name=\"manual\" agent=\"fence_manual\"/>\n  </fencedevices>\n")
	out.WriteString("  <rm>\n    <failoverdomains/>\n    <resources/>\n  </rm>\n</cluster>\n")
	return out.String()
}

// TestScenarios: the first line of a state is the cluster's size and its fencing.
func TestScenarios(t *testing.T) {
	clustertest.RunStateful(t, "../testdata/scenarios/rgmanager", 60, func(t *testing.T, state string, runner run.Runner, clock cluster.Clock) clustertest.Bench {
		var nodes int
		var fence string
		first, rest, _ := strings.Cut(state, "\n")
		_, err := fmt.Sscanf(first, "nodes %d fencing %s", &nodes, &fence)
		require.NoError(t, err, first)
		tools, err := rhcs.New(configuration(nodes, fence))
		require.NoError(t, err)
		xen := strings.Contains(rest, "xen\n")
		require.NoError(t, tools.Set(strings.Replace(rest, "xen\n", "", 1), home, migrationURI, clock.Now()))
		stack := newStack(t, tools, clustertest.Self, runner, clock)
		bench := clustertest.Bench{Tools: tools, Stack: stack, Scratch: stack.Scratch}
		if xen {
			bench.Service = func(s *cluster.Service) { s.Hypervisor, s.Definition = "xen:///", "/etc/xen/vm/one-42" }
		}
		return bench
	})
}

// TestWordsOfClusvcadm: no scenario asks it for anything but what is known to be safe. -s would
// stop a VM until the next transition, -R and -r stop it to start it, -l and -S are the
// manager's own, and a name without its kind may be another service's.
func TestWordsOfClusvcadm(t *testing.T) {
	logs, err := filepath.Glob("../testdata/scenarios/rgmanager/*/log")
	require.NoError(t, err)
	calls := map[string]int{}
	for _, file := range logs {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, call := range called.FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(call[1])
			calls[words[0]]++
			assert.True(t, words[1] == "vm:one-42" && (len(words) == 2 || len(words) == 4 && words[2] == "-m"), "%s: %s", file, call[1])
		}
	}
	assert.Equal(t, []string{"-M", "-U", "-Z", "-d", "-e"}, slices.Sorted(maps.Keys(calls)))
}

var called = regexp.MustCompile(`(?m)run clusvcadm (.*)$`)

func newStack(t testing.TB, tools *rhcs.Cluster, node string, runner run.Runner, clock cluster.Clock) *Stack {
	return &Stack{
		Runner: runner, Virsh: &virsh.Client{Runner: runner, MigrationURI: migrationURI}, Clock: clock, Document: clustertest.Document,
		Config: func() ([]byte, error) { return []byte(tools.Node(node).Config), nil },
		Lock:   clustertest.Lock, Scratch: t.TempDir(), RHEL5: tools.RHEL5,
	}
}
