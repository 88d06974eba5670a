package command

import (
	"bytes"
	"context"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
)

// sample is a program with one command, which keeps the node that it was given.
func sample(node *string) *Program {
	return &Program{Name: "sample", Commands: []Command{{
		Name: "vg", Args: "create NAME | list", Least: 1, Most: 2, Sentence: "Makes groups.",
		Setup: func(flags *pflag.FlagSet) Action {
			flags.StringVar(node, "node", "", "on `NODE`")
			flags.String("state", "off", "only those in state `off|exclusive|shared|parked|building`")
			flags.String("from", "", "of `DIR|FILE`")
			return func(context.Context, []string, Stdio) error { return nil }
		},
	}}}
}

func ran(words ...string) (status int, stdout, stderr, node string) {
	var out, err bytes.Buffer
	status = sample(&node).Run(words, Stdio{Out: &out, Err: &err})
	return status, out.String(), err.String(), node
}

// Help is help, wherever the word stands.
func TestHelpBehindAWord(t *testing.T) {
	_, want, _, _ := ran("vg", "--help")
	assert.Contains(t, want, "sample vg [--node NODE] [--state STATE] [--from DIR|FILE] create NAME | list\n")
	assert.Contains(t, want, "--state STATE     only those in state STATE (off, exclusive, shared, parked, building)\n")
	for _, words := range [][]string{{"vg", "create", "--help"}, {"vg", "create", "x", "-h"}, {"help", "vg"}} {
		status, stdout, stderr, _ := ran(words...)
		assert.Zero(t, status, words)
		assert.Equal(t, want, stdout, words)
		assert.Empty(t, stderr, words)
	}
}

func TestWrongNumberOfWords(t *testing.T) {
	status, stdout, stderr, _ := ran("vg")
	assert.Equal(t, 2, status)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "sample vg: wrong number of arguments: 0 instead of 1 to 2\nusage: sample vg ")
}

// A node is meant by both words.
func TestHostIsNode(t *testing.T) {
	for _, flag := range []string{"--node", "--host"} {
		_, _, _, node := ran("vg", "list", flag, "node1")
		assert.Equal(t, "node1", node)
	}
}

// What a program does not have is not offered.
func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		_, script, _, _ := ran("completion", shell)
		assert.NotContains(t, script, "dry-run", shell)
		assert.Contains(t, script, "exclusive", shell)
		assert.NotContains(t, script, "DIR FILE", shell)
	}
}
