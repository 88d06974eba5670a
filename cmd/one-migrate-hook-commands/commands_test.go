package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/hook"
	"one-clvm/hook/spool"
	"one-clvm/internal/command"
)

// called runs the program on words and returns what it printed.
func called(stdin string, words ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = program().Run(words, command.Stdio{In: strings.NewReader(stdin), Out: &out, Err: &err})
	return status, out.String(), err.String()
}

// site is a configuration with directories of the test's own.
func site(t *testing.T) spool.Spool {
	t.Helper()
	dir := t.TempDir()
	s := spool.Spool{Dir: filepath.Join(dir, "spool")}
	for _, name := range []string{"spool", "state", "etc"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	file := filepath.Join(dir, "etc", "hook.conf")
	text := "SPOOL_DIR=" + s.Dir + "\nSTATE_DIR=" + filepath.Join(dir, "state") + "\nVERSION=7.4.0\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	before := configFile
	configFile = file
	t.Cleanup(func() { configFile = before })
	return s
}

func TestHelpAndManual(t *testing.T) {
	status, text, _ := called("", "--help")
	assert.Zero(t, status)
	_, manual, _ := called("", "man")
	for _, c := range program().All() {
		assert.Contains(t, text, "  "+c.Name)
		assert.Contains(t, manual, c.Name)
		status, help, _ := called("", c.Name, "--help")
		assert.Zero(t, status)
		assert.Contains(t, help, c.Sentence)
		c.Flags().VisitAll(func(f *pflag.Flag) { assert.NotEmpty(t, f.Usage) })
	}
	status, _, stderr := called("", "nonsense")
	assert.Equal(t, 2, status)
	assert.NotContains(t, stderr, "verb")
	_, completion, _ := called("", "completion", "bash")
	assert.Contains(t, completion, "complete -F _one_migrate_hook one-migrate-hook")
}

// A front-end takes no events, and has no spool.
func TestStatusOfAFrontEnd(t *testing.T) {
	s := site(t)
	require.NoError(t, os.Remove(s.Dir))
	status, stdout, stderr := called("", "status")
	assert.Zero(t, status, stderr)
	assert.Contains(t, stdout, "spool: 0 events")

	r := hook.Receiver{StateDir: filepath.Join(filepath.Dir(s.Dir), "state"), Now: time.Now}
	require.NoError(t, r.Remember([]hook.Finding{{VM: 42, Outcome: hook.Person, Why: "it runs"}, {VM: 43, Outcome: hook.Nothing}}, nil))
	status, stdout, stderr = called("", "status")
	assert.Equal(t, 1, status)
	assert.Contains(t, stdout, "2 VMs, 1 disagreements")
	assert.Contains(t, stderr, "1 disagreements are left")

	require.NoError(t, r.Remember(nil, errors.Join(errors.New("node n3: timeout"), errors.New("node n4: no quorum"))))
	status, stdout, _ = called("", "status")
	assert.Equal(t, 1, status, "their VMs were not compared")
	assert.Contains(t, stdout, "node n4: no quorum")
}

func TestNotConfiguredForACluster(t *testing.T) {
	s := site(t)
	for _, words := range [][]string{{"deliver"}, {"status"}, {"reconcile"}} {
		if words[0] == "deliver" {
			status, _, stderr := called("", "report", "42")
			require.Zero(t, status, stderr)
		}
		status, stdout, _ := called("", words...)
		assert.NotZero(t, status, words)
		if words[0] == "reconcile" {
			assert.Empty(t, stdout, "nobody was looked at")
		}
	}
	entries, err := s.List()
	require.NoError(t, err)
	assert.Len(t, entries, 1, "what cannot be delivered stays")
}
