package standalone

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest"
	"one-clvm/cluster/clustertest/xendouble"
	"one-clvm/cluster/virsh"
	"one-clvm/cluster/xen"
	"one-clvm/internal/run"
)

func TestScenarios(t *testing.T) {
	clustertest.Run(t, "../testdata/scenarios/standalone", 30, func(r run.Runner) cluster.Stack {
		return &Stack{Hypervisor: &virsh.Client{Runner: r, MigrationURI: "qemu+ssh://%s/system"}, Document: clustertest.Document}
	})
}

// TestXenScenarios: the first line of a state is the client, xl or xm.
func TestXenScenarios(t *testing.T) {
	const name = "alice-web-42.vm.home.net"
	clustertest.RunStateful(t, "../testdata/scenarios/standalone-xen", 30, func(t *testing.T, state string, runner run.Runner, _ cluster.Clock) clustertest.Bench {
		program, rest, _ := strings.Cut(state, "\n")
		base := t.TempDir()
		tools, err := xendouble.New(base, 2)
		require.NoError(t, err)
		definition := filepath.Join(base, name)
		require.NoError(t, tools.Set(rest, name, definition))
		return clustertest.Bench{
			Tools: tools, Scratch: base,
			Stack:   &Stack{Hypervisor: &xen.Client{Runner: runner, Program: program}, Manager: Xen(program)},
			Service: func(s *cluster.Service) { s.Name, s.Definition, s.Hypervisor = name, definition, "" },
		}
	})
}
