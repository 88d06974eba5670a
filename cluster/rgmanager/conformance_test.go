package rgmanager

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/clustertest"
	"one-clvm/cluster/clustertest/double"
	"one-clvm/cluster/clustertest/rhcs"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
	"one-clvm/lvm"
)

func TestMain(m *testing.M) {
	if double.Called() {
		syscall.Exit(double.Main(&rhcs.Cluster{})) // os.Exit would speak of coverage on standard error, where tools have their failures
	}
	os.Exit(m.Run())
}

// hasty is a clock on which a second is a millisecond.
type hasty struct{ start time.Time }

func (h hasty) Now() time.Time { return h.start.Add(1000 * time.Since(h.start)) }

func (h hasty) Sleep(ctx context.Context, d time.Duration) error {
	return cluster.RealClock{}.Sleep(ctx, d/1000)
}

func service(vm int) cluster.Service {
	s := clustertest.Service()
	s.VM, s.Name = vm, fmt.Sprintf("one-%d", vm)
	s.Definition = fmt.Sprintf("/var/lib/one/datastores/101/%d/domain.xml", vm)
	s.Patience = cluster.Patience{Start: 24 * time.Hour, Shutdown: 24 * time.Hour, Stop: 24 * time.Hour, Migrate: 24 * time.Hour, Settle: 24 * time.Hour}
	return s
}

// executor of a node. lock is a file on the file system that the nodes share.
func executor(t *testing.T, runner run.Runner, clock cluster.Clock, lock string, config func() ([]byte, error)) *cluster.Executor {
	stack := &Stack{
		Runner: runner, Virsh: &virsh.Client{Runner: runner, MigrationURI: migrationURI}, Clock: clock, Document: clustertest.Document, Config: config, Scratch: t.TempDir(),
		Lock: func(ctx context.Context) (func(), error) {
			file, err := cluster.LockFile(ctx, lock, clock, 24*time.Hour)
			if err != nil {
				return nil, err
			}
			return func() { _ = file.Close() }, nil
		},
	}
	return &cluster.Executor{
		Stack: stack, Runner: runner, Clock: clock, Log: func(string, ...any) {},
		Volumes: func(context.Context, lvm.Mode) error { return nil },
	}
}

// inProcess is a double that serves in this process, for many callers at once.
func inProcess(t *testing.T, tools *rhcs.Cluster) *clustertest.Subject {
	clock := hasty{time.Now()}
	var guard sync.Mutex
	lock := filepath.Join(t.TempDir(), "lock")
	guarded := func(do func()) {
		guard.Lock()
		defer guard.Unlock()
		do()
	}
	on := map[string]*cluster.Executor{}
	for _, name := range []string{"node1", "node2"} {
		runner := &double.Node{Name: name, Tools: tools, Guard: &guard, Clock: clock}
		on[name] = executor(t, runner, clock, lock, func() (text []byte, err error) {
			guarded(func() { text = []byte(tools.Node(name).Config) })
			return text, nil
		})
	}
	return &clustertest.Subject{
		Nodes: []string{"node1", "node2"}, Service: service, On: func(node string) *cluster.Executor { return on[node] },
		Configuration: func() (text string) {
			guarded(func() { text = tools.Configuration() })
			return text
		},
	}
}

// TestCrowd: 20 deploys and 20 cancels at once, from two nodes.
func TestCrowd(t *testing.T) {
	tools, err := rhcs.New(configuration(2, "automatic"))
	require.NoError(t, err)
	tools.Delays = rhcs.Delays{Start: 3 * time.Second, Stop: 2 * time.Second, Load: time.Second}
	clustertest.Crowd(t, inProcess(t, tools), 20)
	require.Empty(t, tools.Violations)
}

// TestConformance runs against the double as programs, which share a directory.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	tools, err := rhcs.New(configuration(2, "automatic"))
	require.NoError(t, err)
	tools.Delays = rhcs.Delays{Start: 30 * time.Millisecond, Stop: 20 * time.Millisecond, Move: 20 * time.Millisecond, Load: 10 * time.Millisecond} // by the programs' own clock
	require.NoError(t, double.Install(dir, tools, []string{"node1", "node2"}, rhcs.Programs))
	with := func(do func(*rhcs.Cluster)) {
		state := &rhcs.Cluster{}
		require.NoError(t, double.With(dir, state, func() { do(state) }))
	}
	on := map[string]*cluster.Executor{}
	for _, name := range []string{"node1", "node2"} {
		on[name] = executor(t, double.Installed{Dir: dir, Node: name}, hasty{time.Now()}, filepath.Join(dir, "shared"), func() (text []byte, err error) {
			with(func(c *rhcs.Cluster) { text = []byte(c.Node(name).Config) })
			return text, nil
		})
	}
	clustertest.Conformance(t, &clustertest.Subject{
		Nodes: []string{"node1", "node2"}, Service: service, On: func(node string) *cluster.Executor { return on[node] },
		Configuration: func() (text string) {
			with(func(c *rhcs.Cluster) { text = c.Configuration() })
			return text
		},
		Fail: func(node string) {
			with(func(c *rhcs.Cluster) { c.Node(node).Up, c.Node(node).Manager = false, false })
		},
	})
	with(func(c *rhcs.Cluster) { require.Empty(t, c.Violations) })
}
