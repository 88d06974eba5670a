package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

func TestExtend(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "ds=101")
	n.group.after = func(op, name string) {
		if op == "extend" { // what a SAN hands out
			f, err := os.OpenFile(n.group.volumes[name].Path, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("old bytes"), extent+512)
			require.NoError(t, errors.Join(err, f.Close()))
		}
	}
	q := n.request(OpExtend)
	q.Size = 2 * extent
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	v := n.group.volumes["lv-one-42-0"]
	content, err := os.ReadFile(v.Path)
	require.NoError(t, err)
	assert.Len(t, content, 2*extent)
	assert.Empty(t, bytes.Trim(content[extent:], "\x00"))
	assert.Empty(t, v.Tags.Get(tagUnzeroed))
	_, err = n.do(q, Transfer{})
	assert.NoError(t, err, "the same size is fine")
	q.Size = extent
	_, err = n.do(q, Transfer{})
	assert.ErrorIs(t, err, lvm.ErrNotLarger)
}

func TestExtendGoesOnAfterACrash(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "ds=101", fmt.Sprintf("unzeroed=%d", extent))
	v := n.group.volumes["lv-one-42-0"]
	v.Size, v.Mode = 2*extent, lvm.Off
	require.NoError(t, os.WriteFile(v.Path, bytes.Repeat([]byte("x"), 2*extent), 0o600))
	q := n.request(OpExtend)
	q.Size = 2 * extent
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	content, err := os.ReadFile(v.Path)
	require.NoError(t, err)
	assert.Empty(t, bytes.Trim(content[extent:], "\x00"))
	assert.Equal(t, byte('x'), content[extent-1])
	assert.Equal(t, lvm.Off, v.Mode)
}

func TestOthersEndAnExtension(t *testing.T) {
	for _, c := range []struct {
		op   Op
		open bool
		zero bool
	}{{OpActivate, false, true}, {OpSave, false, true}, {OpSnapshot, false, true}, {OpDigest, false, true}, {OpActivate, true, false}} {
		n := newNode(t)
		n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101", fmt.Sprintf("unzeroed=%d", extent), "parked")
		v := n.group.volumes[disk0]
		v.Size = 2 * extent
		require.NoError(t, os.WriteFile(v.Path, bytes.Repeat([]byte("x"), 2*extent), 0o600))
		n.group.open[disk0] = c.open
		q := n.request(c.op)
		q.Mode, q.Activate, q.Snapshot, q.Space, q.Size = tarmode.GZIP, lvm.Exclusive, nil, 100, extent
		if c.op == OpSnapshot {
			q.Snapshot = new(int)
		}
		_, err := n.do(q, Transfer{Receive: func(Start) (io.Writer, error) { return io.Discard, nil }})
		require.NoError(t, err, c.op)
		content, err := os.ReadFile(v.Path)
		require.NoError(t, err)
		assert.Equal(t, c.zero, len(bytes.Trim(content[extent:], "\x00")) == 0, c.op)
		assert.Equal(t, c.zero, v.Tags.Get(tagUnzeroed) == "", c.op)
		assert.Equal(t, byte('x'), content[extent-1])
	}
}
