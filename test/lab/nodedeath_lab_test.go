//go:build lab

package lab

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// A node dies in the middle of verbs of several VMs, each at another instant. Once it is
// fenced the other node ends them as oned does (DELETE, with the dead node's name) and the
// VMs are deployed again there. Then the node comes back and finds nothing of its own.
func TestKillMatrixNodeDeath(t *testing.T) {
	t.Parallel()
	m := startMatrix(t, profile.Cluster)
	began, dead := time.Now(), m.Nodes[1]
	snapshot, revert := snapshotLife.acts[1], snapshotLife.acts[2]
	var workers []*worker
	var verbs []*exec.Cmd
	for i, c := range []struct {
		before []act
		act    act
		at     string
	}{
		{nil, mkimage, "create.created"},
		{nil, mkimage, "create.linked"},
		{[]act{mkimage}, park, "park.tagged"},
		{[]act{mkimage, park}, unpark, "activate.activated"},
		{[]act{mkimage}, snapshot, "snapshot.taken"},
		{[]act{mkimage, snapshot}, revert, "revert.unlinked"},
		{[]act{mkimage}, deleteDisk, "discard.tagged"},
		{[]act{mkimage}, deleteDisk, "discard.renamed"},
	} {
		w := m.newWorker(t, 100+i, dead)
		w.vm(w.id, dead.Name, volatileDisk(w))
		for _, a := range c.before {
			w.succeeds(a)
		}
		workers = append(workers, w)
		verbs = append(verbs, w.stopAt(c.act, instant{node: dead, name: c.at}))
	}
	require.NoError(t, dead.Kill())
	for _, verb := range verbs {
		require.Error(t, verb.Wait())
	}
	m.oned.Put(fakeoned.Hosts, 1, fakeoned.Host(1, dead.Name, 3))
	for _, w := range workers {
		m.counted(t, fmt.Sprintf("VM %d", w.id), func(t *testing.T) {
			w.T, w.alive = t, m.Nodes[:1]
			w.cleared()
			w.node = m.Nodes[0]
			w.succeeds(mkimage)
			assert.Equal(t, lvm.Exclusive, w.volumes(w.node)[w.name()].Mode)
			w.cleared()
		})
	}
	fenced, err := m.Fenced()
	require.NoError(t, err)
	require.Contains(t, strings.Join(fenced, "\n"), dead.Name)
	require.NoError(t, m.Boot(t.Context(), dead))
	assert.NotContains(t, m.volumes(dead), "lv-one-100-0")
	m.settled()
	fmt.Printf("kill-matrix: %d cases, %d ok (death of a node, %s)\n", m.all, m.good, time.Since(began).Round(time.Second))
}
