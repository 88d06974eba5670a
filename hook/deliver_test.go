package hook

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
	"one-clvm/opennebula"
)

func TestTriesAreFurtherAndFurtherApart(t *testing.T) {
	w := newWorld(t, 1)
	w.cut["fe1"] = true
	w.event("node1", 0, "start")
	var tried []time.Duration
	for tries := 0; len(tried) < 9; w.now = w.now.Add(time.Second) {
		_, err := w.nodes["node1"].Run(context.Background())
		require.NoError(t, err)
		state, err := ReadState(w.nodes["node1"].StateFile)
		require.NoError(t, err)
		if state.Waiting[0].Tries > tries {
			tries++
			tried = append(tried, state.Waiting[0].Next.Sub(w.now))
		}
	}
	assert.Equal(t, []time.Duration{5e9, 10e9, 20e9, 40e9, 80e9, 160e9, 300e9, 300e9, 300e9}, tried)
	w.cut["fe1"] = false
	w.pass(6 * time.Minute)
	w.mustAgree()
	state, err := ReadState(w.nodes["node1"].StateFile)
	require.NoError(t, err)
	assert.Empty(t, state.Waiting)
}

func TestOneDeliveryAtATime(t *testing.T) {
	w := newWorld(t, 1)
	node := w.nodes["node1"]
	unlock, err := node.lock()
	require.NoError(t, err)
	_, err = node.Run(context.Background())
	require.ErrorIs(t, err, ErrBusy)
	unlock()
	_, err = node.Run(context.Background())
	require.NoError(t, err)
}

// Where cron starts it, nobody has made the directory before.
func TestDeliveryMakesItsDirectory(t *testing.T) {
	w := newWorld(t, 1)
	w.move(0, "node2")
	node := w.nodes["node2"]
	node.StateFile = filepath.Join(t.TempDir(), "one-clvm/hook/deliveries.json")
	_, err := node.Run(context.Background())
	require.NoError(t, err)
	assert.FileExists(t, node.StateFile)
	info, err := os.Stat(filepath.Dir(node.StateFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestBrokenStateIsForgotten(t *testing.T) {
	w := newWorld(t, 1)
	w.move(0, "node2")
	for _, node := range w.nodes {
		require.NoError(t, os.WriteFile(node.StateFile, []byte("{"), 0o600))
	}
	require.NoError(t, os.WriteFile(w.front["fe1"].toldFile(0), []byte("{"), 0o600))
	w.pass(time.Minute)
	w.mustAgree()
	assert.Contains(t, strings.Join(w.journal, "\n"), "nothing is remembered")
	assert.Contains(t, strings.Join(w.journal, "\n"), "never told of")
}

func TestNobodyToAsk(t *testing.T) {
	w := newWorld(t, 1)
	w.move(0, "node2")
	node := w.nodes["node2"]
	node.Cluster = (&site{down: cluster.ErrDown}).nodes()
	_, err := node.Run(context.Background())
	require.ErrorIs(t, err, ErrNoCluster)
	assert.Equal(t, 2, w.waiting(), "nothing is lost")
}

// ssh is a Runner that answers.
type ssh struct {
	answer string
	err    error
	argv   []string
}

func (s *ssh) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	s.argv = append([]string{c.Path}, c.Args...)
	return run.Result{Stdout: []byte(s.answer)}, s.err
}

func TestSSH(t *testing.T) {
	runner := &ssh{answer: "nothing oned has it\n"}
	transport := SSH{Runner: runner, User: "oneadmin", Key: "/etc/one-clvm/hook.key"}
	answer, err := transport.Send(context.Background(), "fe1", goodReport)
	require.NoError(t, err)
	assert.Equal(t, Answer{Nothing, "oned has it"}, answer)
	assert.Equal(t, []string{"--", "fe1", goodReport}, runner.argv[len(runner.argv)-3:])
	runner.answer = "This account is currently not available.\n"
	_, err = transport.Send(context.Background(), "fe1", goodReport)
	require.ErrorContains(t, err, "authorized_keys")
	runner.err = errors.New("permission denied")
	_, err = transport.Send(context.Background(), "fe1", goodReport)
	require.ErrorContains(t, err, "hook.key")
}

// oned's answers to a call decide what becomes of the report.
func TestRefusalsOfOned(t *testing.T) {
	act := Decision{Outcome: Act, Why: "it runs elsewhere"}
	for code, want := range map[int64]Outcome{0x0800: Retry, 0x0200: Person, 0x0400: Person, 0x2000: Person} {
		assert.Equal(t, want, refusal(act, &opennebula.APIError{Method: "one.vm.migrate", Code: code}).Outcome, "%#x", code)
	}
	assert.Equal(t, Down, refusal(act, opennebula.ErrUnreachable).Outcome)
	assert.Equal(t, Down, refusal(act, errors.New("else")).Outcome)
}

func TestRefusedCommandsAreLogged(t *testing.T) {
	w := newWorld(t, 1)
	for i, line := range notReports() {
		answer := w.serve("fe1", line)
		require.Equal(t, Refused, answer.Outcome, line)
		require.Len(t, w.journal, i+1)
		require.Contains(t, w.journal[i], "ALARM refused")
	}
	assert.Empty(t, w.oned.Calls())
	answer := Serve(context.Background(), goodReport, w, func() (*Receiver, error) { return nil, errors.New("no configuration") })
	assert.Equal(t, Answer{Down, "no configuration"}, answer, "the next front-end may have one")
}
