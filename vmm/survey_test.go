package vmm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cluster/pacemaker"
	"one-clvm/internal/run"
)

const domstats = "Domain: 'one-42'\n  state.state=1\n  state.reason=1\n  cpu.time=%CPU%\n  balloon.current=524288\n\nDomain: 'one-43'\n  state.state=3\n  state.reason=1\n\nDomain: 'wild'\n  state.state=1\n\n"

func (n *node) poll(t *testing.T) Survey {
	t.Helper()
	text, err := json.Marshal(n.request(VerbPoll))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, n.agent().Serve(t.Context(), bytes.NewReader(text), &out))
	var l Line
	require.NoError(t, json.Unmarshal(out.Bytes(), &l))
	require.True(t, l.Done)
	require.NotNil(t, l.Survey)
	return *l.Survey
}

func withCPU(nanoseconds string) string {
	return string(bytes.Replace([]byte(domstats), []byte("%CPU%"), []byte(nanoseconds), 1))
}

func TestPollIsOneQuestion(t *testing.T) {
	n := newNode(t)
	n.stats = withCPU("1000000000")
	got := n.poll(t)
	assert.Equal(t, 1, n.asked)
	assert.Empty(t, n.calls)
	assert.False(t, got.Clustered)
	require.Len(t, got.VMs, 2)
	assert.Equal(t, []any{42, cluster.ReportRunning, true, -1.0, int64(524288)}, []any{got.VMs[0].VM, got.VMs[0].Report, got.VMs[0].Here, got.VMs[0].CPU, got.VMs[0].Figures.MemoryKiB})
	assert.Equal(t, []any{43, cluster.ReportSuspended}, []any{got.VMs[1].VM, got.VMs[1].Report})
}

// TestProcessorsSinceAnEarlierPoll: polls that follow each other closely count from the
// same one.
func TestProcessorsSinceAnEarlierPoll(t *testing.T) {
	n := newNode(t)
	poll := func(after time.Duration, used string) float64 {
		n.now = n.now.Add(after)
		n.stats = withCPU(used)
		return n.poll(t).VMs[0].CPU
	}
	assert.InDelta(t, -1, poll(0, "0"), 0)
	assert.InDelta(t, -1, poll(time.Second, "500000000"), 0, "too early")
	assert.InDelta(t, 50, poll(9*time.Second, "5000000000"), 0.001)
	assert.InDelta(t, 50, poll(time.Second, "5500000000"), 0.001, "since the first")
	assert.InDelta(t, 100, poll(9*time.Second, "15000000000"), 0.001, "since the third")
	assert.InDelta(t, -1, poll(9*time.Second, "1"), 0, "it was started anew")
	assert.InDelta(t, -1, poll(2*time.Hour, "900000000000"), 0, "too long ago")
	file := filepath.Join(n.config().LockDir, samplesName)
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	assert.InDelta(t, -1, poll(9*time.Second, "900000000000"), 0)
	assert.InDelta(t, 10, poll(10*time.Second, "901000000000"), 0.001)
}

func TestPollWithoutLibvirt(t *testing.T) {
	n := newNode(t)
	n.down = true
	assert.Contains(t, serve(t, n.agent(), n.request(VerbPoll)), cluster.ErrHypervisor.Error(), "oned keeps what it knows")
}

// TestPollWhileAVerbRuns: a VM between two states is none that oned has to act on.
func TestPollWhileAVerbRuns(t *testing.T) {
	n := newNode(t)
	n.now = time.Now()
	lock, err := lockService(t.Context(), n.config().LockDir, 44, n, 0)
	require.NoError(t, err)
	n.now = n.now.Add(time.Hour)
	want := []Sight{{VM: 44, Report: cluster.ReportUnknown, Here: true, CPU: -1}}
	assert.Equal(t, want, n.poll(t).VMs, "it is held")
	unlock(lock, n)
	assert.Equal(t, want, n.poll(t).VMs, "it has just ended")
	n.now = n.now.Add(lately + time.Second)
	assert.Empty(t, n.poll(t).VMs)
}

// limited refuses calls that could last for ever.
type limited struct{ *node }

func (l limited) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if _, ok := ctx.Deadline(); !ok {
		return run.Result{Status: -1}, fmt.Errorf("%s %s has no deadline", c.Path, strings.Join(c.Args, " "))
	}
	return l.node.Run(ctx, c)
}

// A libvirt that hangs would have every monitoring cycle leave a process behind.
func TestPollHasADeadline(t *testing.T) {
	n := newNode(t)
	n.scenario(t, "reset")
	a := n.agent()
	a.Runner = limited{n}
	a.Stack = func(func() (string, error)) (cluster.Stack, error) {
		return &pacemaker.Stack{Runner: limited{n}, Virsh: a.virsh()}, nil
	}
	require.Empty(t, serve(t, a, n.request(VerbPoll)))
}
