package cxm

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest"
	"one-clvm/cluster/clustertest/xendouble"
	"one-clvm/cluster/xen"
	"one-clvm/internal/run"
)

const name = "alice-web-42.vm.home.net"

// TestScenarios: the first line of a state is the number of nodes, and a line of cxm.conf.
func TestScenarios(t *testing.T) {
	clustertest.RunStateful(t, "../testdata/scenarios/cxm", 60, func(t *testing.T, state string, runner run.Runner, _ cluster.Clock) clustertest.Bench {
		first, rest, _ := strings.Cut(state, "\n")
		var nodes int
		_, err := fmt.Sscanf(first, "nodes %d", &nodes)
		require.NoError(t, err, first)
		_, config, _ := strings.Cut(first, ":")
		base := t.TempDir()
		tools, err := xendouble.New(base, nodes)
		require.NoError(t, err)
		definition := filepath.Join(base, name)
		require.NoError(t, tools.Set(rest, name, definition))
		return clustertest.Bench{
			Tools: tools, Scratch: base,
			Stack: &Stack{
				Runner: runner, Hypervisor: &xen.Client{Runner: runner, Program: xen.XM}, Self: clustertest.Self, AutoDir: tools.Auto(clustertest.Self),
				Config: func() ([]byte, error) { return []byte(strings.TrimSpace(config)), nil },
			},
			Service: func(s *cluster.Service) { s.Name, s.Definition, s.Hypervisor = name, definition, "" },
		}
	})
}
