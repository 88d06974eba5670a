package vmm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// libvirt has it call its hook with what a domain as n.own has.
func (n *node) libvirt(t *testing.T, operation, part string) error {
	t.Helper()
	return n.hook(t, n.own(t), "one-42", operation, part, "-")
}

// later is the process that the hook left behind.
func (n *node) later(t *testing.T, p phase) error {
	t.Helper()
	return n.libvirtHook().Networks(t.Context(), string(p), "one-42")
}

// TestNetworksFollowAStartByLibvirtAlone: rgmanager has libvirt start a VM, and stop it.
func TestNetworksFollowAStartByLibvirtAlone(t *testing.T) {
	n := networked(t, strings.Replace(twoDrivers, "<TEMPLATE>", "<DEPLOY_ID>one-42</DEPLOY_ID><TEMPLATE>", 1))
	require.NoError(t, n.libvirt(t, "prepare", "begin"))
	assert.Equal(t, append(phases("pre"), exclusive), n.calls)
	for _, document := range n.documents {
		assert.NotContains(t, document, "DEPLOY_ID", "the drivers of 5.x ask libvirt of a VM that has one, and libvirt waits for the hook")
	}
	n.calls, n.documents = nil, nil
	require.NoError(t, n.libvirt(t, "started", "begin"))
	assert.Equal(t, []string{"later post one-42"}, n.calls)
	n.calls, n.state = nil, "running"
	require.NoError(t, n.later(t, post))
	assert.Equal(t, phases("post"), n.calls)
	assert.Contains(t, n.documents[0], "DEPLOY_ID")
	n.calls = nil
	require.NoError(t, n.later(t, post))
	assert.Empty(t, n.calls, "it is done")
	n.state = ""
	require.NoError(t, n.libvirt(t, "release", "end"))
	require.NoError(t, n.later(t, clean))
	assert.Equal(t, append([]string{off, "later clean one-42"}, phases("clean")...), n.calls)
	n.calls = nil
	require.NoError(t, n.later(t, clean))
	assert.Empty(t, n.calls)
}

// TestNetworksOfARestartInPlace: the clean of before must not undo the pre of now.
func TestNetworksOfARestartInPlace(t *testing.T) {
	n := networked(t, twoDrivers)
	require.NoError(t, n.libvirt(t, "prepare", "begin"))
	require.NoError(t, n.libvirt(t, "release", "end"))
	require.NoError(t, n.libvirt(t, "prepare", "begin"))
	n.calls = nil
	require.NoError(t, n.later(t, clean), "which was slow to come")
	assert.Empty(t, n.calls)
}

// TestNetworksOfAMigrationByOpenNebula are OpenNebula's: a post that fails twice would end a VM
// that has just moved.
func TestNetworksOfAMigrationByOpenNebula(t *testing.T) {
	n := networked(t, twoDrivers)
	n.window(n.now.Add(time.Hour))
	require.NoError(t, n.libvirt(t, "migrate", "begin"))
	require.NoError(t, n.libvirt(t, "prepare", "begin"))
	require.NoError(t, n.libvirt(t, "started", "begin"))
	assert.Empty(t, n.calls)
	require.NoError(t, n.libvirt(t, "release", "end"))
	assert.Equal(t, []string{off, "later clean one-42"}, n.calls, "rgmanager may have ended it")
}

func TestNetworksThatFailWithoutOpenNebula(t *testing.T) {
	t.Run("pre", func(t *testing.T) {
		n := networked(t, twoDrivers)
		n.fail[script+"vxlan/pre"] = errors.New("no such bridge")
		require.ErrorContains(t, n.libvirt(t, "prepare", "begin"), "no such bridge")
		assert.Equal(t, phases("pre"), n.calls, "the volumes are nobody's")
	})
	t.Run("pre that hangs", func(t *testing.T) {
		n := networked(t, twoDrivers)
		n.hangs, n.phaseLimit = true, 10*time.Millisecond
		require.ErrorIs(t, n.libvirt(t, "prepare", "begin"), context.DeadlineExceeded)
		assert.Len(t, n.calls, 1)
	})
	t.Run("post", func(t *testing.T) {
		n := networked(t, twoDrivers)
		require.NoError(t, n.libvirt(t, "prepare", "begin"))
		n.calls, n.state = nil, "running"
		n.fail[script+"vxlan/post"] = errors.New("no such chain")
		require.ErrorContains(t, n.later(t, post), "no such chain")
		assert.Equal(t, append(phases("post"), "virsh destroy one-42", off), n.calls, "a VM without its security groups")
	})
	t.Run("the domain is gone", func(t *testing.T) {
		n := networked(t, twoDrivers)
		require.NoError(t, n.libvirt(t, "prepare", "begin"))
		n.calls = nil
		require.NoError(t, n.later(t, post))
		assert.Empty(t, n.calls)
	})
	t.Run("the domain never runs", func(t *testing.T) {
		n := networked(t, twoDrivers)
		require.NoError(t, n.libvirt(t, "prepare", "begin"))
		n.calls, n.state = nil, "paused"
		require.ErrorContains(t, n.later(t, post), "does not run after")
		assert.Empty(t, n.calls)
	})
	t.Run("the home is gone", func(t *testing.T) {
		n := networked(t, twoDrivers)
		require.NoError(t, n.libvirt(t, "prepare", "begin"))
		require.NoError(t, n.libvirt(t, "release", "end"))
		n.calls = nil
		require.NoError(t, os.RemoveAll(n.home()))
		require.NoError(t, n.later(t, clean))
		assert.Empty(t, n.calls)
	})
	t.Run("no process can be started", func(t *testing.T) {
		n := networked(t, twoDrivers)
		require.NoError(t, n.libvirt(t, "prepare", "begin"))
		n.fail["later post"] = errors.New("no systemd-run")
		require.ErrorContains(t, n.libvirt(t, "started", "begin"), "no systemd-run")
	})
}

func TestNetworksAreOfAVMAndAPhase(t *testing.T) {
	n := newNode(t)
	for _, words := range [][2]string{{"pre", "one-42"}, {"", "one-42"}, {"post", "web"}, {"post", "one-042"}, {"clean", "one-4/../../x"}} {
		require.Error(t, n.libvirtHook().Networks(t.Context(), words[0], words[1]), words)
	}
	n.volumes = []lvm.Volume{}
	require.NoError(t, n.later(t, post), "nothing is due")
	assert.Empty(t, n.calls)
}

// TestRgmanagerTakesTheNetworksAlong: a node dies, and rgmanager starts the VM on the other one.
func TestRgmanagerTakesTheNetworksAlong(t *testing.T) {
	b, n := rhcsBench(t), networked(t, twoDrivers)
	n.base, n.volumes = filepath.Dir(filepath.Dir(b.home)), n.volumes[:1]
	require.NoError(t, os.WriteFile(filepath.Join(b.home, vmName), []byte(twoDrivers), 0o600))
	b.domain = "<domain type='kvm'><name>one-42</name><devices><disk type='block' device='disk'><source dev='/dev/vg-one/lv-one-42-0'/><target dev='vda'/><driver name='qemu' type='raw'/></disk></devices></domain>"
	var left []func()
	hooks := map[string]*LibvirtHook{}
	for name, a := range b.agents {
		h := n.libvirtHook()
		h.Config.LockDir = t.TempDir()
		h.Runner = onNode{n, a.Runner}
		h.Later = func(_ context.Context, p, domain string) error {
			left = append(left, func() { assert.NoError(t, h.Networks(t.Context(), p, domain)) })
			return nil
		}
		hooks[name] = h
	}
	b.rhcs.Hook = func(node, name, operation, part, document string) error {
		require.NoError(t, n.note(node+" "+operation))
		return hooks[node].Do(t.Context(), ParseHookCall([]string{name, operation, part, "-"}), strings.NewReader(document))
	}
	behind := func() []string {
		for _, do := range left {
			do()
		}
		calls := n.calls
		left, n.calls = nil, nil
		return calls
	}
	started := func(node string) []string {
		want := append([]string{node + " prepare"}, phases("pre")...)
		return append(append(want, exclusive, node+" started"), phases("post")...)
	}
	require.NoError(t, b.do(cluster.VerbStart, "node1", nil))
	assert.Equal(t, started("node1"), behind())
	b.rhcs.Happen("die node1", n.Now())
	b.rhcs.Happen("fenced node1", n.Now())
	assert.Equal(t, started("node2"), behind())
	require.NoError(t, b.do(cluster.VerbCancel, "node2", nil))
	assert.Equal(t, append([]string{"node2 release", off}, phases("clean")...), behind())
}

// onNode runs network drivers on one double, and the rest on another.
type onNode struct{ drivers, tools run.Runner }

func (o onNode) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if c.Path == "runuser" {
		return o.drivers.Run(ctx, c)
	}
	return o.tools.Run(ctx, c)
}
