package standalone

import (
	"testing"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
)

func TestScenarios(t *testing.T) {
	clustertest.Run(t, "../testdata/scenarios/standalone", 30, func(r run.Runner) cluster.Stack {
		return &Stack{Virsh: &virsh.Client{Runner: r, MigrationURI: "qemu+ssh://%s/system"}, Document: clustertest.Document}
	})
}
