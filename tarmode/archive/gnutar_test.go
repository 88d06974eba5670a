package archive

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReadGNUTar reads what GNU tar writes, in all its formats.
func TestReadGNUTar(t *testing.T) {
	plain := makeTree(t)
	settle(t, plain, 0)
	full := makeTree(t)
	addLong(t, full)
	addSparse(t, full)
	settle(t, full, 0)
	precise := makeTree(t)
	addLong(t, precise)
	addSparse(t, precise)
	settle(t, precise, 123456789)
	for _, c := range []struct {
		name string
		dir  string
		args []string
	}{
		{"v7", plain, []string{"--format=v7"}},
		{"ustar", plain, []string{"--format=ustar"}},
		{"oldgnu", full, []string{"--format=oldgnu", "-S"}},
		{"gnu", full, []string{"--format=gnu", "-S"}},
		{"gnu one record a block", full, []string{"--format=gnu", "-S", "-b1"}},
		{"pax sparse 0.0", precise, []string{"--format=pax", "-S", "--sparse-version=0.0"}},
		{"pax sparse 0.1", precise, []string{"--format=pax", "-S", "--sparse-version=0.1"}},
		{"pax sparse 1.0", precise, []string{"--format=pax", "-S", "--sparse-version=1.0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			archive := program(t, c.dir, "tar", append(c.args, "--numeric-owner", "-cf-", ".")...)
			sameTree(t, treeOf(t, c.dir), treeIn(t, bytes.NewReader(archive)))
		})
	}
}

// TestGNUTarReads lists and unpacks our archives with GNU tar.
func TestGNUTarReads(t *testing.T) {
	dir := makeTree(t)
	addLong(t, dir)
	addSparse(t, dir)
	settle(t, dir, 987654321)
	archive := pack(t, dir)
	assert.Zero(t, len(archive)%recordSize)
	assert.Less(t, len(archive), 1<<20, "holes are not stored")
	assert.Equal(t, archive, pack(t, dir), "the same tree is the same archive")
	sameTree(t, treeOf(t, dir), treeIn(t, bytes.NewReader(archive)))

	to := t.TempDir()
	path := to + "/archive.tar"
	require.NoError(t, os.WriteFile(path, archive, 0o600))
	require.NoError(t, os.Mkdir(to+"/out", 0o700))
	program(t, to, "tar", "-xpf", path, "-C", to+"/out")
	sameTree(t, treeOf(t, dir), treeOf(t, to+"/out"))
}
