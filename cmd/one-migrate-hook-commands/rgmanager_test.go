package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster/clustertest/double"
	"one-clvm/cluster/clustertest/rhcs"
	"one-clvm/cluster/rgmanager"
	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/hook/spool"
	"one-clvm/internal/run"
)

const twoNodes = `<cluster name="sanone" config_version="17"><clusternodes>
<clusternode name="node1" nodeid="1"><fence><method name="m1"><device name="ipmi"/></method></fence></clusternode>
<clusternode name="node2" nodeid="2"><fence><method name="m1"><device name="ipmi"/></method></fence></clusternode>
</clusternodes><fencedevices><fencedevice name="ipmi" agent="fence_ipmilan"/></fencedevices><rm><failoverdomains/><resources/></rm></cluster>
`

// watched is node1 of a cluster under rgmanager, with its deliveries. It is the clock, the front-end
// and the journal, too.
type watched struct {
	*testing.T
	tools    *rhcs.Cluster
	delivery *hook.Delivery
	now      time.Time
	cut      bool // no ssh reaches the front-end
	told     []string
	journal  []string
}

func (w *watched) Now() time.Time                             { return w.now }
func (w *watched) Sleep(context.Context, time.Duration) error { return nil }
func (w *watched) Note(format string, args ...any) {
	w.journal = append(w.journal, fmt.Sprintf(format, args...))
}
func (w *watched) Alarm(format string, args ...any) { w.Note("ALARM "+format, args...) }

var seenAt = regexp.MustCompile(` seen=[0-9]+`)

func (w *watched) Send(_ context.Context, _, line string) (hook.Answer, error) {
	if w.cut {
		return hook.Answer{}, errors.New("no route to host")
	}
	w.told = append(w.told, seenAt.ReplaceAllString(line, ""))
	return hook.Answer{Outcome: hook.Done}, nil
}

func (w *watched) set(vm int, state string) {
	w.Helper()
	require.NoError(w, w.tools.Set(state, fmt.Sprintf("/var/lib/one/datastores/101/%d", vm), "qemu+ssh://%s/system", w.now))
}

// deliver is what the timer starts, some time after the last one; the result is what was told.
func (w *watched) deliver(after time.Duration) []string {
	w.Helper()
	w.now = w.now.Add(after)
	w.told = nil
	_, err := w.delivery.Run(w.Context())
	require.NoError(w, err)
	return w.told
}

func watch(t *testing.T) *watched {
	t.Helper()
	tools, err := rhcs.New(twoNodes)
	require.NoError(t, err)
	w := &watched{T: t, tools: tools, now: time.Unix(1e9, 0)}
	w.set(42, "delay fence 30\ndelay start 5\nservice one-42 started node2 none\ndomain node2 one-42 running")
	w.set(43, "service one-43 started node1 none\ndomain node1 one-43 running")
	clusterConf = filepath.Join(t.TempDir(), "cluster.conf")
	t.Cleanup(func() { clusterConf = rgmanager.ConfigFile })
	require.NoError(t, os.WriteFile(clusterConf, []byte(tools.Node("node1").Config), 0o600))
	cfg, err := cxmrc.Parse(strings.NewReader("ALLOWED_VGS=vg-one\n"), "agent.conf", cxmrc.Agent)
	require.NoError(t, err)
	nodes, err := ask(cfg, rgmanager.Name, w.node())
	require.NoError(t, err)
	require.True(t, nodes.Silent)
	nodes.Now = w.Now
	w.delivery = &hook.Delivery{
		Spool: spool.Spool{Dir: t.TempDir(), Now: w.Now}, Cluster: nodes, Status: nodes.Manager, Transport: w, FrontEnds: []string{"fe"},
		StateFile: filepath.Join(t.TempDir(), "state"), Now: w.Now, Journal: w,
	}
	return w
}

func (w *watched) node() run.Runner {
	return &double.Node{Name: "node1", Tools: w.tools, Guard: &sync.Mutex{}, Clock: w}
}

func (w *watched) events() int {
	entries, err := w.delivery.Spool.List()
	require.NoError(w, err)
	return len(entries)
}

// TestRgmanagerIsWatched: nobody calls the hook after a failover under rgmanager. The node that has
// the VM now tells it, once its former one is fenced.
func TestRgmanagerIsWatched(t *testing.T) {
	w := watch(t)
	assert.Equal(t, []string{"report/1 vm=43 on=node1 alive=node1,node2 fenced= lost="}, w.deliver(0), "nothing was remembered")
	assert.Empty(t, w.deliver(10*time.Second))

	w.set(42, "before clustat -x => die node2")
	assert.Empty(t, w.deliver(10*time.Second), "it is not fenced yet")
	assert.Empty(t, w.deliver(30*time.Second), "its VM is being started")
	w.cut = true
	assert.Empty(t, w.deliver(5*time.Second))
	assert.Equal(t, 1, w.events(), "it waits for the front-end")
	w.cut = false
	assert.Equal(t, []string{"report/1 vm=42 on=node1 alive=node1 fenced=node2 lost="}, w.deliver(10*time.Second))
	assert.Zero(t, w.events())
	assert.Empty(t, w.deliver(10*time.Second), "once")

	_, err := w.node().Run(t.Context(), run.Cmd{Path: "clusvcadm", Args: []string{"-d", "vm:one-43"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"report/1 vm=43 on= alive=node1 fenced=node2 lost="}, w.deliver(10*time.Second))
}

// A status that nobody gives is told once, and what happened meanwhile is seen afterwards.
func TestRgmanagerCannotBeWatched(t *testing.T) {
	w := watch(t)
	w.deliver(0)
	w.tools.Node("node1").Manager = false
	w.journal = nil
	assert.Empty(t, w.deliver(10*time.Second))
	assert.Empty(t, w.deliver(10*time.Second))
	require.Len(t, w.journal, 1, "%q", w.journal)
	assert.Contains(t, w.journal[0], "ALARM the cluster's status: ")
	w.tools.Node("node1").Manager, w.tools.Quorum = true, false
	w.tools.Services["one-43"].Owner = "node2"
	w.tools.Node("node2").Domains["one-43"] = "running"
	delete(w.tools.Node("node1").Domains, "one-43")
	assert.Empty(t, w.deliver(10*time.Second))
	assert.Contains(t, w.journal[1], "no quorum on node1")
	w.tools.Quorum = true
	assert.Equal(t, []string{"report/1 vm=43 on=node2 alive=node1,node2 fenced= lost="}, w.deliver(10*time.Second))
}

// A full spool loses nothing: what it does not take is not remembered.
func TestRgmanagerIsWatchedWithAFullSpool(t *testing.T) {
	w := watch(t)
	w.cut, w.delivery.Spool.Max = true, 1
	w.set(44, "service one-44 started node1 none\ndomain node1 one-44 running")
	require.NoError(t, os.WriteFile(clusterConf, []byte(w.tools.Node("node1").Config), 0o600))
	w.deliver(0)
	assert.Equal(t, 1, w.events())
	w.cut = false
	assert.Len(t, w.deliver(10*time.Second), 1)
	assert.Len(t, w.deliver(10*time.Second), 1)
	assert.Empty(t, w.deliver(10*time.Second))
}
