package tm

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/tarmode"
)

func TestSaveAsANewImage(t *testing.T) {
	b := newBench(t)
	b.oned.images[0].Template = map[string]string{}
	b.nodes.reply[agent.OpSave] = []byte("a compressed tar")
	b.nodes.start = agent.Start{Mode: tarmode.TGZ, Size: 8 << 30, FSType: "ext4"}
	require.NoError(t, b.call("cpds node1:"+home+"/disk.0 IMAGE -1 0 100"))
	content, err := os.ReadFile(b.image)
	require.NoError(t, err)
	assert.Equal(t, "a compressed tar", string(content))
	assert.Equal(t, tarmode.TGZ, b.nodes.reqs[0].Mode, "MODE of cxmrc")
	assert.False(t, b.nodes.reqs[0].Remove)
	assert.Equal(t, 100, b.nodes.reqs[0].Space, "SNAPSHOT_SPACE: the VM may run")
	require.Len(t, b.oned.updates, 1)
	assert.Contains(t, b.oned.updates[0], `MODE="TGZ"`)
	assert.Contains(t, b.oned.updates[0], `FSTYPE="ext4"`)
	assert.Contains(t, b.oned.updates[0], `SIZE="8192M"`)
	b.onlyTheImage()
}

func TestSaveOfExtents(t *testing.T) {
	b := newBench(t)
	b.oned.vm.Disks[1].ImageID = 1
	source := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(source, []byte("data"), 0o600))
	require.NoError(t, os.Truncate(source, 64<<20))
	f, err := os.Open(source)
	require.NoError(t, err)
	defer f.Close()
	var stream bytes.Buffer
	_, err = tarmode.SendExtents(context.Background(), &stream, f, 64<<20, func(int64) {})
	require.NoError(t, err)
	b.nodes.reply[agent.OpSave] = stream.Bytes()
	b.nodes.start = agent.Start{Mode: tarmode.RAW, Extents: true, Size: 64 << 20}
	require.NoError(t, b.call("mvds node1:"+home+"/disk.1 IMAGE 0 100"))
	st, err := os.Stat(b.image)
	require.NoError(t, err)
	assert.Equal(t, int64(64<<20), st.Size())
	assert.True(t, b.nodes.reqs[0].Remove)
	assert.Zero(t, b.nodes.reqs[0].Space, "no VM has it open")
	assert.Equal(t, tarmode.RAW, b.nodes.reqs[0].Mode, "what the image's record says it is")
	assert.Empty(t, b.oned.updates)
}

func TestSaveThatFailsKeepsTheOldImage(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.WriteFile(b.image, []byte("old"), 0o600))
	b.nodes.reply[agent.OpSave] = []byte("new")
	b.nodes.start = agent.Start{Mode: tarmode.GZIP, Size: 1 << 30}
	b.Records = &noUpdates{b.oned}
	require.ErrorContains(t, b.call("cpds node1:"+home+"/disk.0 IMAGE -1 0 100"), "record that image")
	content, err := os.ReadFile(b.image)
	require.NoError(t, err)
	assert.Equal(t, "old", string(content))
	b.onlyTheImage()
	b.nodes.fail["node1 save"] = agent.ErrStream
	require.ErrorIs(t, b.call("cpds node1:"+home+"/disk.0 IMAGE -1 0 100"), agent.ErrStream)
	b.onlyTheImage()
}

type noUpdates struct{ *oned }
