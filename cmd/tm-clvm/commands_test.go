package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/datastore"
	"one-clvm/internal/command"
	"one-clvm/opennebula"
)

// tmClvm runs the program on words and returns what it printed.
func tmClvm(words ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = tmclvm(words, command.Stdio{In: strings.NewReader(""), Out: &out, Err: &err})
	return status, out.String(), err.String()
}

func TestHelp(t *testing.T) {
	status, stdout, _ := tmClvm("--help")
	assert.Zero(t, status)
	for _, c := range program().All() {
		assert.Contains(t, stdout, "  "+c.Name)
		status, text, _ := tmClvm(c.Name, "--help")
		assert.Zero(t, status)
		assert.Contains(t, text, c.Sentence)
	}
	for _, verb := range opennebula.Verbs {
		assert.Contains(t, stdout, "  "+verb+" ")
		status, text, _ := tmClvm(verb, "--help")
		assert.Zero(t, status)
		assert.Contains(t, text, "tm-clvm "+verb+" ")
		assert.Contains(t, text, "docs/verbs.md")
		_, same, _ := tmClvm("help", verb)
		assert.Equal(t, text, same)
		_, err := opennebula.ParseTM(verb, exampleWords(verb))
		assert.NoError(t, err, "the example of %s", verb)
	}
	for _, verb := range datastore.Verbs() {
		for _, word := range []string{"datastore/" + verb, "/var/lib/one/remotes/datastore/clvm/" + verb} {
			status, text, _ := tmClvm(word, "--help")
			assert.Zero(t, status)
			assert.Contains(t, text, "tm-clvm datastore/"+verb+" ")
		}
	}
	status, _, _ = tmClvm()
	assert.Equal(t, 2, status)
	status, stdout, _ = tmClvm("--version")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "tm-clvm ")
}

func TestWrongWords(t *testing.T) {
	for _, words := range [][]string{
		{"nonsense"}, {"vg"}, {"vg", "grow", "x"}, {"config", "--colour"}, {"volumes", "x"}, {"agent", "x"},
		{"clone"}, {"/var/lib/one/remotes/tm/clvm/clone", "a"}, {"monitor"},
		{"datastore/ln"}, {"datastore/cp"}, {"/var/lib/one/remotes/datastore/clvm/cp"}, {"/var/lib/one/remotes/datastore/clvm/ln", "1"},
	} {
		status, stdout, stderr := tmClvm(words...)
		assert.NotZero(t, status, words)
		assert.NotEqual(t, 42, status, words)
		assert.Empty(t, stdout, words)
		if words[0] != "agent" {
			assert.NotEmpty(t, stderr, words)
		}
		assert.NotContains(t, stderr, "credentials", words)
	}
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cxmrc")
	require.NoError(t, os.WriteFile(file, []byte("VG_NAME=\"vg-one\"\n"), 0o600))
	status, stdout, _ := tmClvm("config", file)
	assert.Zero(t, status)
	assert.Regexp(t, `VG_NAME=vg-one +# .*cxmrc:1`, stdout)
	assert.Regexp(t, `DEFAULT_LV_SIZE=8G +# default`, stdout)
	require.NoError(t, os.WriteFile(file, []byte("VG_NAME=\"vg-one\"\nVG_NAM=x\n"), 0o600))
	status, _, stderr := tmClvm("config", file)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "cxmrc:2")
}

func TestVerbName(t *testing.T) {
	assert.Equal(t, "clone", verbName("/var/lib/one/remotes/tm/clvm/clone"))
	assert.Equal(t, "clone", verbName("CLONE"))
}
