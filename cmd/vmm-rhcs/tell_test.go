package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/hook/spool"
)

func TestLibvirtHookTellsTheOtherOne(t *testing.T) {
	dir := t.TempDir()
	s := spool.Spool{Dir: filepath.Join(dir, "spool")}
	require.NoError(t, os.Mkdir(s.Dir, 0o700))
	config := filepath.Join(dir, "hook.conf")
	const domain = `<domain><metadata><one:vm xmlns:one="http://opennebula.org/xmlns/libvirt/1.0"><one:system_datastore>/var/lib/one//datastores/101/42</one:system_datastore></one:vm></metadata></domain>`
	said := func(operation, part string) int {
		tell(config, []string{"one-42", operation, part, "-"}, stdio{strings.NewReader(domain), os.Stdout, os.Stderr})
		entries, err := s.List()
		require.NoError(t, err)
		return len(entries)
	}
	assert.Zero(t, said("started", "begin"), "it is not configured here")
	require.NoError(t, os.WriteFile(config, []byte("SPOOL_DIR="+s.Dir+"\n"), 0o644))
	assert.Zero(t, said("prepare", "begin"))
	assert.Equal(t, 1, said("started", "begin"))
	assert.Equal(t, 2, said("stopped", "end"))
}
