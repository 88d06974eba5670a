package tm

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/internal/qcow2"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

// qcow2Of is the header of a QCOW2 file of that size.
func qcow2Of(size, backing uint64) []byte {
	raw := make([]byte, 512)
	copy(raw, qcow2.Magic)
	binary.BigEndian.PutUint32(raw[4:], 3)
	binary.BigEndian.PutUint64(raw[8:], backing)
	binary.BigEndian.PutUint64(raw[24:], size)
	return raw
}

// converter stands in for qemu-img: what it writes begins with "converted".
type converter struct{ cmds []run.Cmd }

func (c *converter) Run(_ context.Context, cmd run.Cmd) (run.Result, error) {
	c.cmds = append(c.cmds, cmd)
	_, err := cmd.Files[1].WriteAt([]byte("converted"), 0)
	return run.Result{}, err
}

func qcow2Bench(t *testing.T, content []byte) (*bench, *converter) {
	b := newBench(t)
	c := &converter{}
	b.Runner = c
	require.NoError(t, os.WriteFile(b.image, content, 0o600))
	for _, image := range b.oned.images {
		image.Template, image.FSType, image.Format = map[string]string{}, "", "qcow2"
	}
	return b, c
}

func TestCloneOfQCOW2(t *testing.T) {
	b, c := qcow2Bench(t, qcow2Of(3<<30, 0))
	line := "clone frontend:IMAGE node1:" + home + "/disk.0 0 100"
	require.NoError(t, b.call(line))
	q := b.nodes.reqs[0]
	assert.Equal(t, agent.ContentExtents, q.Content)
	assert.Equal(t, tarmode.RAW, q.Mode)
	assert.EqualValues(t, 3<<30, q.Size, "what the disk has, not what its file has")
	assert.Contains(t, string(b.nodes.sent["create"]), "converted")
	require.Len(t, c.cmds, 1)
	assert.Contains(t, c.cmds[0].Args, `json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"/proc/self/fd/3"}}`)

	b, c = qcow2Bench(t, qcow2Of(3<<30, 512))
	require.ErrorIs(t, b.call(line), qcow2.ErrRefused, "a backing file")
	assert.Empty(t, b.nodes.asked)
	assert.Empty(t, c.cmds)
	b, _ = qcow2Bench(t, []byte("something else"))
	require.ErrorIs(t, b.call(line), qcow2.ErrFormat)
	assert.Empty(t, b.nodes.asked)
}

// extentsOf is a raw disk as it travels.
func extentsOf(t *testing.T, content []byte) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.Write(content)
	require.NoError(t, err)
	var out bytes.Buffer
	_, err = tarmode.SendExtents(t.Context(), &out, f, int64(len(content)), nil)
	require.NoError(t, err)
	return out.Bytes()
}

// What the record says goes before what a disk's driver says, and MODE before both.
func TestFormOf(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		disk  opennebula.Disk
		image opennebula.Image
		want  imageForm
	}{
		"nothing":          {opennebula.Disk{}, opennebula.Image{}, imageForm{mode: tarmode.RAW}},
		"record":           {opennebula.Disk{Driver: "raw"}, opennebula.Image{Format: "qcow2"}, imageForm{mode: tarmode.RAW, qcow2: true}},
		"template":         {opennebula.Disk{}, opennebula.Image{Template: map[string]string{"DRIVER": "QCOW2"}}, imageForm{mode: tarmode.RAW, qcow2: true}},
		"disk":             {opennebula.Disk{Driver: "qcow2"}, opennebula.Image{}, imageForm{mode: tarmode.RAW, qcow2: true}},
		"raw record":       {opennebula.Disk{Driver: "qcow2"}, opennebula.Image{Format: "raw"}, imageForm{mode: tarmode.RAW}},
		"file system, too": {opennebula.Disk{}, opennebula.Image{Format: "qcow2", FSType: "ext4"}, imageForm{mode: tarmode.RAW, qcow2: true}},
		"MODE":             {opennebula.Disk{Driver: "qcow2"}, opennebula.Image{Format: "qcow2", Template: map[string]string{"MODE": "GZIP"}}, imageForm{mode: tarmode.GZIP}},
		"file system":      {opennebula.Disk{}, opennebula.Image{FSType: "ext4"}, imageForm{mode: tarmode.TGZ}},
	} {
		form, err := formOf(&c.disk, &c.image, b.Config)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, form, name)
	}
}

// A persistent QCOW2 image comes back as one; with MODE in its template, as what that says.
func TestSaveToQCOW2(t *testing.T) {
	for mode, want := range map[string]string{"": "converted", "GZIP": "packed"} {
		b, c := qcow2Bench(t, qcow2Of(3<<30, 0))
		b.nodes.reply[agent.OpSave] = []byte("packed")
		b.nodes.start = agent.Start{Mode: tarmode.GZIP, Size: 3 << 30}
		for _, image := range b.oned.images {
			if mode != "" {
				image.Template["MODE"] = mode
			}
		}
		if mode == "" {
			b.nodes.start = agent.Start{Mode: tarmode.RAW, Extents: true, Size: 3 << 30}
			b.nodes.reply[agent.OpSave] = extentsOf(t, []byte("raw"))
		}
		require.NoError(t, b.call("mvds node1:"+home+"/disk.1 IMAGE 0 100"))
		saved, err := os.ReadFile(b.image)
		require.NoError(t, err)
		assert.Equal(t, want, string(saved))
		assert.Equal(t, mode == "", len(c.cmds) == 1, mode)
		b.onlyTheImage()
	}
}
