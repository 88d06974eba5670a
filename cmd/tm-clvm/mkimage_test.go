package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/command"
	"one-clvm/mkimage"
	"one-clvm/tarmode"
)

// What a person types is told from what oned says.
func TestMkimageForPeopleAndForOned(t *testing.T) {
	assert.True(t, isForPeople([]string{"mkimage", "--datastore", "100"}))
	assert.True(t, isForPeople([]string{"mkimage", "--help"}))
	for _, argv := range [][]string{
		{"mkimage"}, {"mkimage", "8", "raw", "h:/p/disk.0", "1", "2"}, {"mkimage", "--dry-run", "8"}, {"clone", "--x"},
		{"/var/lib/one/remotes/tm/clvm/mkimage", "--datastore"},
	} {
		assert.False(t, isForPeople(argv), argv)
	}
	for _, argv := range [][]string{
		{"--name", "x"}, {"--datastore", "1"}, {"--datastore", "1", "--name", "x", "--format", "raw"}, {"--datastore", "1", "--name", "x", "--from", "-"},
		{"--datastore", "1", "--name", "x", "--from", "-", "--format", "vmdk"},
	} {
		status, stdout, stderr := tmClvm(append([]string{"mkimage"}, argv...)...)
		assert.Equal(t, 2, status, argv)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, "usage: tm-clvm mkimage [--datastore ID]")
	}
}

func TestFormatsAreNotGuessed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		return filepath.Join(dir, name)
	}
	q, gz, raw := write("q", "QFI\xfb and more"), write("gz", "\x1f\x8b\x08\x00"), write("raw", "boot")
	for _, c := range []struct {
		from, format, mode string
		want               mkimage.Format
		wrong              string
	}{
		{dir, "", "", mkimage.Directory, ""},
		{raw, "", "", mkimage.Raw, ""},
		{raw, "", "TGZ", mkimage.Tar, ""},
		{gz, "", "TGZ", mkimage.Tar, ""},
		{gz, "", "RAW", mkimage.Raw, ""},
		{gz, "", "", "", "--format tar"},
		{q, "", "", "", "--format qcow2"},
		{q, "", "RAW", "", "--format qcow2"},
		{q, "raw", "", mkimage.Raw, ""},
		{q, "qcow2", "", mkimage.QCOW2, ""},
		{"-", "", "TZST", mkimage.Tar, ""},
		{"-", "", "GZIP", mkimage.Raw, ""},
		{"", "", "", mkimage.Nothing, ""},
	} {
		f := mkimageFlags{request: mkimage.Request{Datastore: 100, Name: "x", From: c.from}, format: c.format, mode: c.mode}
		request, err := f.read()
		if c.wrong != "" {
			require.ErrorIs(t, err, command.ErrUsage)
			require.ErrorContains(t, err, c.wrong)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, c.want, request.Format)
		if c.want == mkimage.Raw && c.mode == "" {
			assert.Equal(t, tarmode.RAW, request.Mode, "a disk stays one")
		}
	}
}
