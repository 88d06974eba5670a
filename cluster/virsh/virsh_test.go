package virsh

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/internal/run"
)

// says answers every call with the same.
type says struct {
	out, err string
	status   int
	calls    []run.Cmd
}

func (s *says) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	s.calls = append(s.calls, c)
	if s.status != 0 {
		return run.Result{Status: s.status}, &run.Error{Argv: []string{"virsh"}, Status: s.status, Stderr: s.err, Err: errors.New("exit status")}
	}
	return run.Result{Stdout: []byte(s.out)}, nil
}

var service = cluster.Service{Name: "one-42", Hypervisor: "qemu:///system"}

func TestStates(t *testing.T) {
	for word, want := range map[string]cluster.Domain{
		"running": cluster.Active, "idle": cluster.Active, "blocked": cluster.Active, "no state": cluster.Active, "paused": cluster.Paused,
		"in shutdown": cluster.Dying, "shut off": cluster.Absent, "crashed": cluster.Crashed, "pmsuspended": cluster.Asleep,
		"": cluster.Unknown, "läuft": cluster.Unknown, "running\nidle": cluster.Unknown,
	} {
		runner := &says{out: word + "\n\n"}
		state, reason := (&Client{Runner: runner}).State(t.Context(), service)
		assert.Equal(t, want, state, word)
		assert.Empty(t, reason)
		assert.Equal(t, []string{"-c", "qemu:///system", "domstate", "one-42"}, runner.calls[0].Args)
	}
}

// TestOnlyTheRightWordsMeanAbsent: a VM that is taken for gone may be started twice.
func TestOnlyTheRightWordsMeanAbsent(t *testing.T) {
	for text, want := range map[string]cluster.Domain{
		"error: failed to get domain 'one-42'": cluster.Absent,
		"error: failed to get domain 'one-42'\nerror: Domain not found: no domain with matching name 'one-42'": cluster.Absent,
		"error: failed to connect to the hypervisor\nerror: failed to get domain 'one-42'":                     cluster.Unknown,
		"error: failed to connect to the hypervisor":                                                           cluster.Unknown,
		"error: Disconnected from qemu:///system due to end of file":                                           cluster.Unknown,
		"": cluster.Unknown,
	} {
		state, reason := (&Client{Runner: &says{err: text, status: 1}}).State(t.Context(), service)
		assert.Equal(t, want, state, text)
		assert.Equal(t, want == cluster.Unknown, reason != "", text)
	}
}

func TestCommands(t *testing.T) {
	v := &Client{MigrationURI: "qemu+ssh://%s/system", MigrateOptions: []string{"--auto-converge"}}
	document := func() (string, error) { return "<domain/>", nil }
	for _, c := range []struct {
		step cluster.Step
		want string
	}{
		{cluster.Step{Action: cluster.Ask}, "virsh -c qemu:///system shutdown one-42"},
		{cluster.Step{Action: cluster.Destroy}, "virsh -c qemu:///system destroy one-42"},
		{cluster.Step{Action: cluster.Reboot}, "virsh -c qemu:///system reboot one-42"},
		{cluster.Step{Action: cluster.Reset}, "virsh -c qemu:///system reset one-42"},
		{cluster.Step{Action: cluster.Save, File: "/h/checkpoint"}, "virsh -c qemu:///system save one-42 /h/checkpoint"},
		{cluster.Step{Action: cluster.Move, Node: "node2"}, "virsh -c qemu:///system migrate --live --auto-converge one-42 qemu+ssh://node2/system"},
		{cluster.Step{Action: cluster.Resume}, "virsh -c qemu:///system resume one-42"},
		{cluster.Step{Action: cluster.Abort}, "virsh -c qemu:///system domjobabort one-42"},
		{cluster.Step{Action: cluster.Create}, "virsh -c qemu:///system create /dev/stdin <<< <domain/>"},
		{cluster.Step{Action: cluster.Restore, File: "/h/checkpoint"}, "virsh -c qemu:///system restore /h/checkpoint --xml /dev/stdin --paused <<< <domain/>"},
	} {
		commands, err := v.Commands(cluster.Order{Service: service}, c.step, document)
		require.NoError(t, err)
		require.Len(t, commands, 1)
		assert.Equal(t, c.want, commands[0].String())
	}
	none, err := v.Commands(cluster.Order{Service: service}, cluster.Step{Action: cluster.Define}, document)
	require.NoError(t, err)
	assert.Empty(t, none)
	bad := errors.New("refused")
	_, err = v.Commands(cluster.Order{Service: service}, cluster.Step{Action: cluster.Create}, func() (string, error) { return "", bad })
	require.ErrorIs(t, err, bad)
}

func TestActive(t *testing.T) {
	for node, uri := range map[string]string{"": "qemu:///system", "n2": "qemu+ssh://n2/system"} {
		runner := &says{out: "one-41\nweb\n\n"}
		client := &Client{Runner: runner, MigrationURI: "qemu+ssh://%s/system"}
		names, err := client.Active(t.Context(), "qemu:///system", node)
		require.NoError(t, err)
		assert.Equal(t, []string{"one-41", "web"}, names)
		assert.Equal(t, []string{"-c", uri, "list", "--name"}, runner.calls[0].Args)
	}
	_, err := (&Client{Runner: &says{err: "error: failed to connect", status: 1}}).Active(t.Context(), "qemu:///system", "")
	require.ErrorIs(t, err, cluster.ErrHypervisor)
}
