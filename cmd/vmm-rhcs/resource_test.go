package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
)

// libvirt has one domain, in a state; "" for none.
type libvirt struct {
	state string
	calls []string
}

// Run implements run.Runner.
func (l *libvirt) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	words := strings.Join(c.Args, " ")
	if c.Args[2] != "domstate" {
		l.calls, l.state = append(l.calls, words), ""
		return run.Result{}, nil
	}
	if l.state == "" {
		return run.Result{Status: 1}, &run.Error{Argv: []string{"virsh"}, Status: 1, Stderr: "error: failed to get domain 'one-42'", Err: errors.New("exit status 1")}
	}
	return run.Result{Stdout: []byte(l.state + "\n\n")}, nil
}

// TestResourceAgentWithoutConfiguration: what Pacemaker calls every ten seconds, and what costs
// the node if it fails, must not depend on a file that people edit.
func TestResourceAgentWithoutConfiguration(t *testing.T) {
	t.Setenv("OCF_RESOURCE_INSTANCE", "one-42")
	t.Setenv("OCF_RESKEY_hypervisor", "qemu:///system")
	t.Setenv("OCF_RESKEY_definition", "/var/lib/one/datastores/101/42/domain.xml")
	wrong := filepath.Join(t.TempDir(), "agent.conf")
	require.NoError(t, os.WriteFile(wrong, []byte("ALLOWED_VGS=vg-one\nSHUTDOWN_TIMOUT=300\n"), 0o600))
	for config, off := range map[string]struct{ probe, start int }{
		wrong:                               {7, 1},
		filepath.Join(t.TempDir(), "none"):  {5, 5},
		filepath.Join(t.TempDir(), "a/b/c"): {5, 5},
	} {
		l := &libvirt{state: "running"}
		act := func(action, interval string) (int, string) {
			t.Setenv("OCF_RESKEY_CRM_meta_interval", interval)
			var stderr bytes.Buffer
			status := runResource(t.Context(), config, l, []string{action}, stdio{strings.NewReader(""), &bytes.Buffer{}, &stderr})
			return status, stderr.String()
		}
		for _, interval := range []string{"0", "10000"} {
			status, stderr := act("monitor", interval)
			assert.Zero(t, status, stderr)
		}
		status, stderr := act("stop", "0")
		assert.Zero(t, status, stderr)
		assert.Equal(t, []string{"-c qemu:///system shutdown one-42"}, l.calls)
		assert.Contains(t, stderr, "its volumes stay active here")
		status, _ = act("monitor", "0")
		assert.Equal(t, off.probe, status, config)
		status, _ = act("monitor", "10000")
		assert.Equal(t, 7, status, config)
		status, stderr = act("start", "0")
		assert.Equal(t, off.start, status, config)
		assert.Contains(t, stderr, "ocf-exit-reason:")
	}
}
