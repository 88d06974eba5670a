package mkimage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

// onSAN makes the datastore one whose images are volumes, made of files in a directory.
func onSAN(t *testing.T, m *Maker, o *oned) (staging string) {
	t.Helper()
	staging = t.TempDir()
	m.Ask = time.Nanosecond
	o.datastore.DSMAD, o.datastore.BasePath = "clvm", filepath.Join(t.TempDir(), "100")
	o.datastore.Template = map[string]string{"SAFE_DIRS": "/nonexistent " + staging}
	return staging
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// A volume is made by oned's driver, of a file that it gets: an archive to be unpacked, or
// a raw disk.
func TestVolumes(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, []byte(strings.Repeat("disk", 128)), 0o600))
	for name, c := range map[string]struct {
		request  Request
		template string
	}{
		"directory": {Request{From: tree(t), Format: Directory, Size: 1 << 30, FSType: "btrfs", Host: "node2"}, "MODE=\"TZST\"\nUNPACK=\"YES\"\nFSTYPE=\"btrfs\"\nSIZE=\"1024\"\nHOST=\"node2\"\n"},
		"nothing":   {Request{Size: 16 << 20, FSType: "vfat", Mode: tarmode.RAW}, "MODE=\"RAW\"\n"},
		"disk":      {Request{From: disk, Format: Raw}, "MODE=\"RAW\"\n"},
	} {
		m, o := maker(t)
		staging := onSAN(t, m, o)
		o.states = []opennebula.Image{{State: 4}, {State: opennebula.ImageReady, Source: "lv-oneimg-12", Size: 1024}}
		q := c.request
		q.Datastore, q.Name, q.Register = 100, "x", true
		waitsFor := 0
		m.Waits = func(id int) { waitsFor = id }
		result, err := m.Make(t.Context(), q)
		require.NoError(t, err, name)
		assert.Equal(t, 12, waitsFor, name)
		assert.Equal(t, []any{12, "lv-oneimg-12", tarmode.RAW, int64(1024 << 20)}, []any{result.ID, result.Source, result.Mode, result.Size}, name)
		path, rest, _ := strings.Cut(strings.TrimPrefix(o.template, "NAME=\"x\"\nTYPE=\"OS\"\nPATH=\""), "\"\n")
		assert.Equal(t, staging, filepath.Dir(path), name)
		assert.Equal(t, c.template, rest, name)
		assert.False(t, o.deleted)
		empty(t, staging)
	}
}

// What goes wrong after oned knows of the image takes it away again, and the file.
func TestVolumesThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		allocate error
		states   []opennebula.Image
		why      string
		deleted  bool
	}{
		"refused":       {&opennebula.APIError{Text: "NAME is already taken"}, nil, "already taken", false},
		"driver failed": {nil, []opennebula.Image{{State: opennebula.ImageError, Template: map[string]string{"ERROR": "no space"}}}, "no space", true},
		"oned is gone":  {nil, nil, "no such object", true},
		"answer lost":   {opennebula.ErrUnreachable, nil, "oneimage list", false},
	} {
		m, o := maker(t)
		staging := onSAN(t, m, o)
		o.err, o.states = c.allocate, c.states
		_, err := m.Make(t.Context(), Request{Datastore: 100, Name: "x", Size: 1 << 20, From: tree(t), Format: Directory, Register: true})
		require.ErrorContains(t, err, c.why, name)
		assert.Equal(t, c.deleted, o.deleted, name)
		empty(t, staging)
	}
	for name, interrupt := range map[string]func(o *oned, with func()){
		"while oned is told":       func(o *oned, with func()) { o.allocating = with },
		"while its driver is busy": func(o *oned, with func()) { o.asked = with },
	} {
		m, o := maker(t)
		staging := onSAN(t, m, o)
		ctx, cancel := context.WithCancelCause(t.Context())
		o.states = []opennebula.Image{{State: 4}}
		cause := errors.New("Ctrl-C")
		m.Ask = time.Hour
		interrupt(o, func() { cancel(cause) })
		_, err := m.Make(ctx, Request{Datastore: 100, Name: "x", Size: 1 << 20, From: tree(t), Format: Directory, Register: true})
		require.ErrorIs(t, err, cause, name)
		assert.True(t, o.deleted, name)
		empty(t, staging)
	}
}

// On the SAN there are files, too, where somebody wants them.
func TestFilesOfADatastoreOnTheSAN(t *testing.T) {
	q := Request{Datastore: 100, Name: "x", Size: 1 << 20, From: tree(t), Format: Directory}
	m, o := maker(t)
	base := o.datastore.BasePath
	onSAN(t, m, o)
	_, err := m.Make(t.Context(), q)
	require.ErrorContains(t, err, "--register")
	o.datastore.BasePath = base
	q.Mode = tarmode.TGZ
	result, err := m.Make(t.Context(), q)
	require.NoError(t, err)
	assert.Equal(t, base, filepath.Dir(result.Source))
	q.Mode, o.datastore.Template["MODE"] = "", "TZST"
	result, err = m.Make(t.Context(), q)
	require.NoError(t, err)
	assert.Equal(t, tarmode.TZST, result.Mode)

	q.Register, q.Mode = true, tarmode.RAW
	o.datastore.Template["SAFE_DIRS"] = "/nonexistent"
	_, err = m.Make(t.Context(), q)
	require.ErrorContains(t, err, "SAFE_DIRS")
}
