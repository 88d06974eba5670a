package cxmrc

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the example files")

func TestExamplesAreWhatTheRegistriesSay(t *testing.T) {
	for file, example := range map[string]struct {
		title    string
		registry Registry
	}{
		"cxmrc.example": {"Settings of the clustered LVM drivers, on the front-end: /var/lib/one/remotes/etc/tm/clvm/cxmrc.", Driver},
		"agent.conf.example": {"What the agent may do on this node: " + AgentPath +
			". The file and its directory must belong to root and be writable by root alone.", Agent},
		"hook.conf.example": {"Settings of one-migrate-hook, on nodes and front-ends: " + HookPath +
			". The file and its directory must belong to root and be writable by root alone.", Hook},
	} {
		var out bytes.Buffer
		require.NoError(t, Example(&out, example.title, example.registry))
		if *update {
			require.NoError(t, os.WriteFile(file, out.Bytes(), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(want), out.String(), "%s is old; run: go test ./cxmrc -update", file)

		config, err := Parse(&out, file, example.registry)
		require.NoError(t, err, "an example is valid as it is")
		for _, v := range example.registry {
			assert.Equal(t, v.Default+v.Sample, config.String(v.Name))
		}
		uncommented := bytes.ReplaceAll(want, []byte("\n#"), []byte("\n"))
		for _, v := range example.registry {
			assert.Contains(t, string(uncommented), "\n"+v.Name+"=")
		}
	}
}

// Every example line must also be valid without its comment mark.
func TestExampleAssignmentsAreValid(t *testing.T) {
	for _, registry := range []Registry{Driver, Agent, Hook} {
		for _, v := range registry {
			config, err := Parse(bytes.NewBufferString(v.example()), "example", Registry{v})
			require.NoError(t, err, v.Name)
			assert.Equal(t, v.Default+v.Sample, config.String(v.Name))
		}
	}
}
