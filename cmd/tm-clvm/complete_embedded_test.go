//go:build embedded

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/internal/version"
)

// written is what the program prints, as a file.
func written(t *testing.T, words ...string) string {
	t.Helper()
	status, stdout, stderr := tmClvm(words...)
	require.Zero(t, status, stderr)
	file := filepath.Join(t.TempDir(), strings.Join(words, "-"))
	require.NoError(t, os.WriteFile(file, []byte(stdout), 0o600))
	return file
}

// output runs a program that must succeed and say nothing on standard error.
func output(t *testing.T, argv ...string) string {
	t.Helper()
	r, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: argv[0], Args: argv[1:]})
	require.NoError(t, err)
	require.Empty(t, string(r.Stderr), argv)
	return string(r.Stdout)
}

func TestBashCompletes(t *testing.T) {
	file := written(t, "completion", "bash")
	for _, c := range []struct{ typed, offered string }{
		{"tm-clvm aud", "audit"},
		{"tm-clvm snap_create_", "snap_create_live"},
		{"tm-clvm audit --da", "--datastore"},
		{"tm-clvm audit --vg ", ""},
		{"tm-clvm vg cr", "create"},
		{"tm-clvm clone --d", "--dry-run"},
		{"tm-clvm completion f", "fish"},
	} {
		words := strings.Split(c.typed, " ")
		script := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tm_clvm; printf '%s\n' "${COMPREPLY[*]}"`
		out := output(t, append([]string{"bash", "-c", script, "bash", file}, words...)...)
		assert.Equal(t, c.offered, strings.TrimSpace(out), c.typed)
	}
}

func TestOtherShellsReadTheirCompletion(t *testing.T) {
	output(t, "zsh", "-n", written(t, "completion", "zsh"))
	output(t, "fish", "--no-execute", written(t, "completion", "fish"))
	out := output(t, "fish", "--no-config", "-c", "source $argv[1]; complete -C 'tm-clvm audit --da'", written(t, "completion", "fish"))
	assert.Contains(t, out, "--datastore")
}

// A page that a formatter complains about is shown wrong somewhere.
func TestManualRenders(t *testing.T) {
	defer func(date string) { version.Date = date }(version.Date)
	version.Date = "2026-01-02T03:04:05Z" // as the Makefile sets it
	page := written(t, "man")
	output(t, "mandoc", "-T", "lint", "-W", "warning", page)
	text := output(t, "mandoc", "-T", "ascii", page)
	assert.Contains(t, text, "tm-clvm - OpenNebula's disks")
	assert.Contains(t, text, "with the overrides of the template of datastore ID")
}
