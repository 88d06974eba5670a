package mkimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
	"one-clvm/tarmode/archive"
)

// oned knows datastore 100, which keeps files in a directory.
type oned struct {
	datastore  opennebula.Datastore
	template   string             // of the image that was allocated
	allocating func()             // called meanwhile
	err        error              // of allocating
	registered bool               // although err came back
	states     []opennebula.Image // of the image, each time that it is asked for
	asked      func()             // then
	deleted    bool
}

func (o *oned) Image(_ context.Context, id int) (*opennebula.Image, error) {
	if id != 12 || len(o.states) == 0 {
		return nil, opennebula.ErrNoSuchObject
	}
	if o.asked != nil {
		o.asked()
	}
	now := o.states[0]
	o.states = o.states[1:]
	return &now, nil
}

func (o *oned) DeleteImage(_ context.Context, id int) error {
	o.deleted = id == 12
	return nil
}

func (o *oned) Datastore(_ context.Context, id int) (*opennebula.Datastore, error) {
	if id != o.datastore.ID {
		return nil, opennebula.ErrNoSuchObject
	}
	return &o.datastore, nil
}

func (o *oned) AllocateImage(ctx context.Context, template string, _ int) (int, error) {
	o.template = template
	if o.allocating != nil {
		o.allocating()
	}
	return 12, errors.Join(o.err, ctx.Err())
}

func (o *oned) ImageBySource(_ context.Context, source string) (*opennebula.Image, error) {
	if o.registered && strings.Contains(o.template, source) {
		return &opennebula.Image{ID: 13}, nil
	}
	return nil, opennebula.ErrNoSuchObject
}

func maker(t *testing.T) (*Maker, *oned) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cxmrc")
	require.NoError(t, os.WriteFile(file, []byte("VG_NAME=\"vg-one\"\n"), 0o600))
	cfg, err := cxmrc.Load(file)
	require.NoError(t, err)
	o := &oned{datastore: opennebula.Datastore{ID: 100, Name: "images", DSMAD: "fs", TMMAD: "clvm", BasePath: t.TempDir()}}
	return &Maker{Config: cfg, Records: o, Runner: run.Exec{}, Stdin: strings.NewReader(""), Progress: func(int64, int64) {}}, o
}

// tree is a directory with something in it.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/etc", 0o755))
	require.NoError(t, os.WriteFile(dir+"/etc/hostname", []byte("debian\n"), 0o644))
	return dir
}

// members are the names in a tar image.
func members(t *testing.T, path string, mode tarmode.Mode) []string {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	plain, err := tarmode.Decompress(file, mode)
	require.NoError(t, err)
	defer plain.Close()
	var names []string
	for r := archive.NewReader(plain); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		require.NoError(t, err)
		names = append(names, strings.Trim(strings.TrimPrefix(head.Name, "./"), "/"))
	}
}

// nothingIn: the datastore is empty.
func nothingIn(t *testing.T, o *oned) {
	t.Helper()
	entries, err := os.ReadDir(o.datastore.BasePath)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestTarOfADirectory(t *testing.T) {
	for _, mode := range []tarmode.Mode{tarmode.TGZ, tarmode.TZST} {
		m, o := maker(t)
		var last [2]int64
		m.Progress = func(done, total int64) { last = [2]int64{done, total} }
		result, err := m.Make(t.Context(), Request{Datastore: 100, Name: "debian 12", Size: 8 << 30, From: tree(t), Format: Directory, Mode: mode})
		require.NoError(t, err)
		assert.Contains(t, members(t, result.Source, mode), "etc/hostname")
		assert.Equal(t, int64(8<<30), result.Size)
		assert.Equal(t, int64(len("debian\n")), result.Content)
		assert.Equal(t, [2]int64{7, 7}, last)
		assert.Equal(t, "ext4", result.FSType, "DEFAULT_FSTYPE")
		assert.Equal(t, opennebula.None, result.ID)
		assert.Empty(t, o.template, "it was not asked for")
		assert.Equal(t, fmt.Sprintf("NAME=\"debian 12\"\nTYPE=\"OS\"\nFORMAT=\"raw\"\nSOURCE=%q\nSIZE=\"8192\"\nMODE=%q\nFSTYPE=\"ext4\"\n", result.Source, mode), result.Template)
	}
}

func TestTarOfATar(t *testing.T) {
	m, o := maker(t)
	first, err := m.Make(t.Context(), Request{Datastore: 100, Name: "a", Size: 1 << 30, From: tree(t), Format: Directory, Mode: tarmode.TZST})
	require.NoError(t, err)
	second, err := m.Make(t.Context(), Request{Datastore: 100, Name: "b", Size: 1 << 30, From: first.Source, Format: Tar, Mode: tarmode.TGZ, FSType: "xfs"})
	require.NoError(t, err)
	assert.Contains(t, members(t, second.Source, tarmode.TGZ), "etc/hostname")
	packed, err := os.ReadFile(second.Source)
	require.NoError(t, err)
	m.Stdin = bytes.NewReader(packed)
	third, err := m.Make(t.Context(), Request{Datastore: 100, Name: "c", Size: 1 << 30, From: "-", Format: Tar, Mode: tarmode.TGZ})
	require.NoError(t, err)
	assert.Contains(t, members(t, third.Source, tarmode.TGZ), "etc/hostname")

	require.NoError(t, os.RemoveAll(o.datastore.BasePath))
	require.NoError(t, os.Mkdir(o.datastore.BasePath, 0o755))
	for name, content := range map[string][]byte{"cut off": packed[:len(packed)/2], "no tar": bytes.Repeat([]byte("no archive"), 1000), "empty": nil} {
		m.Stdin = bytes.NewReader(content)
		_, err := m.Make(t.Context(), Request{Datastore: 100, Name: "c", Size: 1 << 30, From: "-", Format: Tar, Mode: tarmode.TGZ})
		require.Error(t, err, name)
		nothingIn(t, o)
	}
}

func TestDisks(t *testing.T) {
	raw := make([]byte, 3<<20+100)
	copy(raw[1<<20:], "data")
	file := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	for _, mode := range []tarmode.Mode{tarmode.RAW, tarmode.GZIP, tarmode.ZSTD} {
		m, o := maker(t)
		result, err := m.Make(t.Context(), Request{Datastore: 100, Name: "disk", Size: 4 << 20, From: file, Format: Raw, Mode: mode})
		require.NoError(t, err)
		image, err := os.Open(result.Source)
		require.NoError(t, err)
		plain, err := tarmode.Decompress(image, mode)
		require.NoError(t, err)
		have, err := io.ReadAll(plain)
		require.NoError(t, err)
		require.Len(t, have, 4<<20)
		assert.True(t, bytes.Equal(raw, have[:len(raw)]))
		assert.Less(t, result.Bytes, int64(1<<20), "what is zero takes no space")
		entries, err := os.ReadDir(o.datastore.BasePath)
		require.NoError(t, err)
		assert.Len(t, entries, 1)
		require.NoError(t, image.Close())
	}
	m, o := maker(t)
	_, err := m.Make(t.Context(), Request{Datastore: 100, Name: "disk", Size: 1 << 20, From: file, Format: Raw, Mode: tarmode.RAW})
	require.ErrorContains(t, err, "not cut off")
	nothingIn(t, o)
}

func TestFileSystems(t *testing.T) {
	for name, q := range map[string]Request{
		"empty":          {Size: 16 << 20, FSType: "ext4", Mode: tarmode.RAW},
		"of a directory": {Size: 16 << 20, FSType: "ext3", Mode: tarmode.GZIP, From: tree(t), Format: Directory},
	} {
		m, _ := maker(t)
		q.Datastore, q.Name = 100, "fs"
		result, err := m.Make(t.Context(), q)
		require.NoError(t, err, name)
		image, err := os.Open(result.Source)
		require.NoError(t, err)
		plain, err := tarmode.Decompress(image, q.Mode)
		require.NoError(t, err)
		disk := filepath.Join(t.TempDir(), "disk")
		have, err := io.ReadAll(plain)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(disk, have, 0o600))
		assert.Len(t, have, 16<<20)
		_, err = run.Exec{}.Run(t.Context(), run.Cmd{Path: "e2fsck", Args: []string{"-fn", disk}})
		require.NoError(t, err, name)
		if q.Format == Directory {
			res, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: "debugfs", Args: []string{"-R", "cat /etc/hostname", disk}})
			require.NoError(t, err)
			assert.Equal(t, "debian\n", string(res.Stdout))
		}
		require.NoError(t, image.Close())
	}
}

func TestRefused(t *testing.T) {
	good := Request{Datastore: 100, Name: "x", Size: 1 << 20, From: tree(t), Format: Directory, Mode: tarmode.TGZ}
	for name, c := range map[string]struct {
		change func(q *Request, ds *opennebula.Datastore)
		why    string
	}{
		"a name with a quote":   {func(q *Request, _ *opennebula.Datastore) { q.Name = `a"b` }, "image name"},
		"a name with a line":    {func(q *Request, _ *opennebula.Datastore) { q.Name = "a\nSOURCE=x" }, "image name"},
		"no such datastore":     {func(q *Request, _ *opennebula.Datastore) { q.Datastore = 7 }, "no such object"},
		"a system datastore":    {func(_ *Request, ds *opennebula.Datastore) { ds.Type = opennebula.DatastoreSystem }, "no image datastore"},
		"a node for a file":     {func(q *Request, _ *opennebula.Datastore) { q.Host = "node1" }, "no node makes"},
		"a disk as files":       {func(q *Request, _ *opennebula.Datastore) { q.Format = Raw }, "made of files"},
		"an archive as vfat":    {func(q *Request, _ *opennebula.Datastore) { q.Format, q.Mode, q.FSType = Tar, tarmode.RAW, "vfat" }, "owners and modes"},
		"a directory as swap":   {func(q *Request, _ *opennebula.Datastore) { q.Mode, q.FSType = tarmode.RAW, "swap" }, "owners and modes"},
		"a file system twice":   {func(q *Request, _ *opennebula.Datastore) { q.Format, q.Mode, q.FSType = Raw, tarmode.RAW, "xfs" }, "--fstype"},
		"unknown file system":   {func(q *Request, _ *opennebula.Datastore) { q.FSType = "zfs" }, "zfs"},
		"no size":               {func(q *Request, _ *opennebula.Datastore) { q.Size = 0 }, "--size"},
		"a directory in a pipe": {func(q *Request, _ *opennebula.Datastore) { q.From = "-" }, "pack it"},
		"a source that is not":  {func(q *Request, _ *opennebula.Datastore) { q.From = "/nonexistent" }, "/nonexistent"},
	} {
		m, o := maker(t)
		q := good
		c.change(&q, &o.datastore)
		_, err := m.Make(t.Context(), q)
		require.ErrorContains(t, err, c.why, name)
		nothingIn(t, o)
	}
}

// qcow2 is refused before qemu-img could read what it names.
func TestQCOW2(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.qcow2")
	header := make([]byte, 104)
	copy(header, "QFI\xfb\x00\x00\x00\x03")
	header[15], header[19], header[28] = 100, 10, 1 // a backing file, 16 MiB
	require.NoError(t, os.WriteFile(file, header, 0o600))
	for _, from := range []string{file, "-"} {
		m, o := maker(t)
		m.Stdin = bytes.NewReader(header)
		_, err := m.Make(t.Context(), Request{Datastore: 100, Name: "q", From: from, Format: QCOW2, Mode: tarmode.RAW})
		require.ErrorContains(t, err, "backing file")
		nothingIn(t, o)
	}
}

func TestRegister(t *testing.T) {
	q := Request{Datastore: 100, Name: "x", Size: 1 << 20, From: tree(t), Format: Directory, Mode: tarmode.TGZ, Register: true}
	m, o := maker(t)
	result, err := m.Make(t.Context(), q)
	require.NoError(t, err)
	assert.Equal(t, 12, result.ID)
	assert.Equal(t, result.Template, o.template)
	assert.FileExists(t, result.Source)

	m, o = maker(t)
	o.err = &opennebula.APIError{Text: "NAME is already taken"}
	_, err = m.Make(t.Context(), q)
	require.ErrorContains(t, err, "already taken")
	nothingIn(t, o)

	m, o = maker(t)
	o.err = opennebula.ErrUnreachable
	_, err = m.Make(t.Context(), q)
	require.ErrorIs(t, err, opennebula.ErrUnreachable)
	nothingIn(t, o)

	m, o = maker(t)
	o.err, o.registered = opennebula.ErrUnreachable, true
	result, err = m.Make(t.Context(), q)
	require.NoError(t, err, "only the answer was lost")
	assert.Equal(t, 13, result.ID)
}

// endless is a source without an end, which its reader interrupts.
type endless struct{ cancel func() }

func (e endless) Read(p []byte) (int, error) {
	e.cancel()
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestInterrupted(t *testing.T) {
	for _, q := range []Request{
		{Format: Raw, Mode: tarmode.RAW}, {Format: Raw, Mode: tarmode.GZIP}, {Format: Tar, Mode: tarmode.TGZ, Size: 1 << 30},
	} {
		m, o := maker(t)
		ctx, cancel := context.WithCancel(t.Context())
		m.Stdin = endless{cancel}
		q.Datastore, q.Name, q.From = 100, "x", "-"
		_, err := m.Make(ctx, q)
		require.Error(t, err)
		nothingIn(t, o)
	}
}
