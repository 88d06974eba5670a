package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster/clustertest/double"
	"one-clvm/cluster/clustertest/xendouble"
	"one-clvm/cluster/cxm"
	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/internal/run"
)

const web = "alice-web.vm.home.net"

// xenNode runs the programs of the double's first node.
type xenNode struct{ *xendouble.Cluster }

func (n xenNode) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	return double.Result(c, n.Call("node1", c.Path, c.Args, "", time.Now()))
}

// TestWhereCXMHasVMs: whose a VM is stands in its file, where it is all nodes' Xen say.
func TestWhereCXMHasVMs(t *testing.T) {
	files := t.TempDir()
	require.NoError(t, os.Chmod(files, 0o755))
	for name, text := range map[string]string{web: "#O VM_ID = 42\n", "off": "#O VM_ID = 43\n", "by-hand": "name = 'x'\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(files, name), []byte(text), 0o600))
	}
	tools, err := xendouble.New(t.TempDir(), 2)
	require.NoError(t, err)
	tools.Node("node2").Domains[web] = "-b----"
	cfg, err := cxmrc.Parse(strings.NewReader("ALLOWED_VGS=vg-one\nCFG_DIR="+files+"\n"), "agent.conf", cxmrc.Agent)
	require.NoError(t, err)
	nodes, err := ask(cfg, cxm.Name, xenNode{tools})
	require.NoError(t, err)

	all, err := nodes.All(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"node1", "node2"}, all.Nodes)
	require.Len(t, all.Truths, 2)
	assert.Equal(t, []any{42, "node2", 43, ""}, []any{all.Truths[0].VM, all.Truths[0].On, all.Truths[1].VM, all.Truths[1].On})
	vm, err := nodes.Identify(t.Context(), web)
	require.NoError(t, err)
	assert.Equal(t, 42, vm)
	_, err = nodes.Identify(t.Context(), "by-hand")
	require.ErrorIs(t, err, hook.ErrForeign)

	where := func() string {
		truth, err := nodes.Where(t.Context(), 42)
		require.NoError(t, err)
		return fmt.Sprintf("%q moving: %t, doubt: %t", truth.On, truth.Moving, truth.Doubt != "")
	}
	assert.Equal(t, `"node2" moving: false, doubt: false`, where())
	delete(tools.Node("node2").Domains, web)
	assert.Equal(t, `"" moving: false, doubt: false`, where(), "it is off")
	tools.State = "recovery"
	assert.Equal(t, `"" moving: true, doubt: false`, where(), "its node failed: cxm is about to start it")
	tools.Node("node1").Domains[web], tools.Node("node2").Domains[web] = "r-----", "--p---"
	assert.Equal(t, `"" moving: false, doubt: true`, where(), "on two nodes")
	tools.Node("node1").NoCxmd = true
	_, err = nodes.Where(t.Context(), 42)
	require.ErrorIs(t, err, hook.ErrNoCluster)
	_, err = ask(cfg, "standalone", xenNode{tools})
	require.ErrorIs(t, err, hook.ErrNoCluster)
}
