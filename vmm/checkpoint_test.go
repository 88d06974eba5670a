package vmm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
)

// TestNoCheckpointBesideARunningVM: a memory that is older than the disks is never left for a
// later restore, and one that is not is never lost.
func TestNoCheckpointBesideARunningVM(t *testing.T) {
	for name, c := range map[string]struct {
		state string // of the domain, before and then
		verb  cluster.Verb
		fails string // the beginning of a call
		left  string // of the checkpoint
		then  string
	}{
		"saved anew":                         {"running", cluster.VerbSave, "", "its memory", ""},
		"the node fails before it is saved":  {"running", cluster.VerbSave, "virsh save", "", "running"},
		"saved already":                      {"", cluster.VerbSave, "", "older", ""},
		"restored":                           {"", cluster.VerbRestore, "", "", "running"},
		"not restored":                       {"", cluster.VerbRestore, "virsh restore", "older", ""},
		"its disks are not had":              {"", cluster.VerbRestore, "here: activate", "older", ""},
		"restored before, and nobody saw it": {"running", cluster.VerbRestore, "", "", "running"},
		"restored before, and still paused":  {"paused", cluster.VerbRestore, "", "", "running"},
		"restored before, and stays paused":  {"paused", cluster.VerbRestore, "virsh resume", "older", "paused"},
		"restored, and does not go on":       {"", cluster.VerbRestore, "virsh resume", "older", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := defined(t)
			n.state = c.state
			file := filepath.Join(n.home(), checkpointName)
			require.NoError(t, os.WriteFile(file, []byte("older"), 0o600))
			if c.fails != "" {
				n.fail[c.fails] = errors.New("it fails")
			}
			failed := serve(t, n.agent(), n.request(c.verb))
			assert.Equal(t, c.fails != "" || name == "saved already", failed != "", failed)
			assert.Equal(t, c.then, n.state)
			if c.left == "" {
				assert.NoFileExists(t, file)
				return
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, c.left, string(text))
		})
	}
}

// TestCheckpointThatStays: a VM is not saved over what cannot be removed, and one that was
// restored runs on.
func TestCheckpointThatStays(t *testing.T) {
	for verb, state := range map[cluster.Verb]string{cluster.VerbSave: "running", cluster.VerbRestore: ""} {
		n := defined(t)
		n.state = state
		file := filepath.Join(n.home(), checkpointName)
		require.NoError(t, os.MkdirAll(filepath.Join(file, "in use"), 0o755))
		assert.Contains(t, serve(t, n.agent(), n.request(verb)), "its checkpoint is older than its disks", verb)
		assert.Equal(t, "running", n.state)
		require.NoError(t, os.RemoveAll(file))
		require.Empty(t, serve(t, n.agent(), n.request(verb)))
	}
}

// TestDeathOfARestore: whatever was the last change, the same verb again leaves no checkpoint.
func TestDeathOfARestore(t *testing.T) {
	for changes := 1; ; changes++ {
		n := defined(t)
		file := filepath.Join(n.home(), checkpointName)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		if !dying(t, n, n.request(cluster.VerbRestore), changes) {
			assert.Greater(t, changes, 1)
			return
		}
		assert.FileExists(t, file, "until the VM is known to run")
		require.Empty(t, serve(t, n.agent(), n.request(cluster.VerbRestore)))
		assert.NoFileExists(t, file)
	}
}
