package vmm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// peer is a privileged end.
type peer struct {
	says string
	err  error
	argv []string
	got  Request
}

func (p *peer) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	p.argv = append([]string{c.Path}, c.Args...)
	text, err := io.ReadAll(c.Stdin)
	if err == nil {
		err = json.Unmarshal(text, &p.got)
	}
	if err != nil {
		return run.Result{}, err
	}
	for len(p.says) > 0 { // in pieces, as a pipe gives them
		n := min(7, len(p.says))
		if _, err := io.WriteString(c.Stdout, p.says[:n]); err != nil {
			return run.Result{}, err
		}
		p.says = p.says[n:]
	}
	return run.Result{}, p.err
}

func front(p *peer, stdin string) (d *Driver, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &Driver{
		Config: cxmrc.Defaults(cxmrc.Driver), Agent: []string{"sudo", "-n", "/usr/libexec/one-clvm/vmm-rhcs", "agent"}, Runner: p,
		Report: opennebula.NewReporter(stderr, opennebula.Version{Major: 7, Minor: 4}), Stdin: strings.NewReader(stdin), Stdout: stdout,
	}, stdout, stderr
}

const done = `{"log":"one-0: define node1: done in 0s"}` + "\n" + `{"log":"look","warn":true}` + "\n" + `{"done":true}` + "\n"

func TestDeployPrintsTheDeployID(t *testing.T) {
	document, err := os.ReadFile("domain/testdata/deploy.xml")
	require.NoError(t, err)
	p := &peer{says: done}
	d, stdout, stderr := front(p, string(document))
	require.NoError(t, d.Do(t.Context(), "deploy", []string{"/var/lib/one//datastores/101/0/deployment.0", "node1", "0", "node1"}))
	assert.Equal(t, "one-0\n", stdout.String())
	assert.Equal(t, "INFO: one-0: define node1: done in 0s\nWARN: look\n", stderr.String())
	assert.Equal(t, []string{"sudo", "-n", "/usr/libexec/one-clvm/vmm-rhcs", "agent"}, p.argv)
	assert.Equal(t, Request{
		Verb: cluster.VerbStart, VM: 0, DS: 101, Home: "/var/lib/one/datastores/101/0", Node: "node1", Domain: strings.TrimSpace(string(document)),
		Start: 120, Shutdown: 300, Migrate: 3600, Settle: 60,
	}, p.got)
}

func TestOtherVerbs(t *testing.T) {
	for line, want := range map[string]Request{
		"cancel one-42 node1 42 node1":                                            {Verb: cluster.VerbCancel, Node: "node1"},
		"shutdown one-42 node1 42 node1":                                          {Verb: cluster.VerbShutdown, Node: "node1"},
		"migrate one-42 node2 node1 42 node1":                                     {Verb: cluster.VerbMigrate, Node: "node1", To: "node2"},
		"save one-42 /var/lib/one/datastores/101/42/checkpoint node1 42 node1":    {Verb: cluster.VerbSave, Node: "node1", DS: 101, Home: "/var/lib/one/datastores/101/42"},
		"restore /var/lib/one/datastores/101/42/checkpoint node2 one-42 42 node2": {Verb: cluster.VerbRestore, Node: "node2", DS: 101, Home: "/var/lib/one/datastores/101/42"},
		"reset one-42 node1 42 node1":                                             {Verb: cluster.VerbReset, Node: "node1"},
		"reboot one-42 node1 42 node1":                                            {Verb: cluster.VerbReboot, Node: "node1"},
	} {
		p := &peer{says: done}
		d, stdout, _ := front(p, "the stream of the commands that follow")
		words := strings.Fields(line)
		require.NoError(t, d.Do(t.Context(), words[0], words[1:]), line)
		want.VM, want.Start, want.Shutdown, want.Migrate, want.Settle = 42, 120, 300, 3600, 60
		assert.Equal(t, want, p.got)
		assert.Empty(t, stdout.String())
	}
}

func TestVerbsThatAreNotThereYetSaySo(t *testing.T) {
	for _, line := range []string{"poll one-42 node1 42 node1", "detach_nic one-42 02:00:c0:a8:00:01 42 node1", "snapshot_create one-42 0 42 node1",
		"migrate_local one-42 node2 node1 42 node1", "resize one-42 42 node1", "prereconfigure one-42 hda 42 node1"} {
		p := &peer{}
		d, _, _ := front(p, "")
		words := strings.Fields(line)
		require.ErrorIs(t, d.Do(t.Context(), words[0], words[1:]), ErrNotYet, line)
		assert.Empty(t, p.argv)
	}
}

func TestAnswersThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		peer peer
		want string
	}{
		"error":          {peer{says: `{"done":true,"error":"refused: no quorum"}` + "\n", err: errors.New("exit status 1")}, "refused: no quorum"},
		"no sudo":        {peer{err: errors.New("a password is required")}, "sudoers.d/one-clvm-vmm"},
		"no result":      {peer{says: `{"log":"x"}` + "\n"}, "without a result"},
		"half a result":  {peer{says: `{"done":true}`}, "without a result"},
		"another answer": {peer{says: "Killed\n"}, "answer of the privileged end"},
	} {
		d, stdout, _ := front(&c.peer, "<domain/>")
		err := d.Do(t.Context(), "deploy", []string{"/var/lib/one/datastores/101/42/deployment.0", "node1", "42", "node1"})
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, "deploy of VM 42 on node1", name)
		assert.Empty(t, stdout.String(), "no deploy id")
	}
	d, _, _ := front(&peer{}, "")
	require.ErrorContains(t, d.Do(t.Context(), "deploy", []string{"/var/lib/one/datastores/101/42/deployment.0", "node1", "42", "node1"}), "standard input")
	require.ErrorIs(t, d.Do(t.Context(), "cancel", nil), opennebula.ErrUsage)
}
