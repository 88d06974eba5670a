package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// halfExtended makes a volume one whose RESIZE was cut off: old bytes from an extent on.
func (n *node) halfExtended(name string) {
	v := n.group.volumes[name]
	v.Size, v.Tags = 2*extent, v.Tags.With(fmt.Sprintf("unzeroed=%d", extent))
	require.NoError(n, os.WriteFile(v.Path, bytes.Repeat([]byte("x"), 2*extent), 0o600))
}

// requireZeros: what is behind the first extent of a file reads as zeros.
func requireZeros(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, content, 2*extent)
	assert.Empty(t, bytes.Trim(content[extent:], "\x00"))
	assert.Equal(t, byte('x'), content[extent-1])
}

func TestBackupEndsAnExtension(t *testing.T) {
	for _, tags := range []string{"ds=101", "parked"} {
		n := newNode(t)
		n.group.put(t, disk0, "", "one", "vm=42", "disk=0", tags)
		n.halfExtended(disk0)
		_, err := n.do(n.backupRequest(0), sendBytes([]byte("<VM/>")))
		require.NoError(t, err)
		requireZeros(t, filepath.Join(n.base, "101/42/backup/disk.0.0"))
		assert.Empty(t, n.group.volumes[disk0].Tags.Get(tagUnzeroed))
	}
}

// What the VM of a disk in use has seen, and written, is not known: nobody reads the disk.
func TestHalfExtendedDiskInUseIsNotRead(t *testing.T) {
	for _, op := range []Op{OpBackup, OpSave, OpStore, OpSnapshot} {
		n := newNode(t)
		n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101")
		n.halfExtended(disk0)
		n.group.open[disk0] = true
		q := n.request(op)
		switch op {
		case OpBackup:
			q = n.backupRequest(0)
		case OpStore:
			q = n.ofImage(op)
		case OpSnapshot:
			q = n.ofSnapshot(op, 0)
		default:
			q.Mode = tarmode.RAW
		}
		_, err := n.do(q, Transfer{Send: sendBytes([]byte("<VM/>")).Send, Receive: func(Start) (io.Writer, error) { return io.Discard, nil }})
		require.ErrorContains(t, err, "RESIZE it again", op)
		assert.Equal(t, []string{disk0}, n.group.names(), op)
	}
}

// An image that a VM gives back after a RESIZE that was cut off shows the next tenant nothing.
func TestUnlinkEndsAnExtension(t *testing.T) {
	for name, tags := range map[string]lvm.Tags{"running": nil, "parked": lvm.NewTags("parked")} {
		n := imaged(t)
		_, err := n.do(n.ofImage(OpLink), Transfer{})
		require.NoError(t, err, name)
		v := n.group.volumes[image7]
		v.Tags = v.Tags.With(tags...)
		n.halfExtended(image7)
		_, err = n.do(n.ofImage(OpUnlink), Transfer{})
		require.NoError(t, err, name)
		requireZeros(t, v.Path)
		assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs"), v.Tags, name)
		assert.Equal(t, lvm.Off, v.Mode, name)
		_, err = n.do(n.as(n.cloneOfImage(), 43, 0), Transfer{})
		require.NoError(t, err, name)
		requireZeros(t, n.group.volumes["lv-one-43-0"].Path)
	}
}

// An image that was given back with old bytes is copied by nobody; LN zeroes them.
func TestHalfExtendedImage(t *testing.T) {
	n := imaged(t)
	n.halfExtended(image7)
	send := n.ofImageAlone(OpSendImage, 0, false)
	send.Snapshot, send.Mode = nil, tarmode.RAW
	for _, q := range []Request{n.cloneOfImage(), n.snapClone(42, 0), send, n.ofImageAlone(OpRevertImage, 0, false)} {
		_, err := n.do(q, Transfer{Receive: func(Start) (io.Writer, error) { return io.Discard, nil }})
		assert.ErrorContains(t, err, "may show old data", q.Op)
	}
	v := n.group.volumes[image7]
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	requireZeros(t, v.Path)
	assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs", "vm=42", "disk=0", "ds=101"), v.Tags)
	assert.Equal(t, lvm.Exclusive, v.Mode)
}

// What is stored in a half-extended image is not zeroed later.
func TestStoreIntoHalfExtendedImage(t *testing.T) {
	n := imaged(t)
	n.halfExtended(image7)
	n.group.put(t, disk0, "the disk", "one", "vm=42", "disk=0", "ds=101")
	_, err := n.do(n.ofImage(OpStore), Transfer{})
	require.NoError(t, err)
	assert.Empty(t, n.group.volumes[image7].Tags.Get(tagUnzeroed))
	assert.Equal(t, "the disk", n.content(image7))
}

// Free space that was wiped after a volume had got its own does not make that clean.
func TestCleanSpaceIsNotThatOfOldVolumes(t *testing.T) {
	n := newNode(t)
	n.group.tags = lvm.NewTags(lvm.TagClean)
	const size, hidden = 16 * extent, 10<<20 + 600<<10 // hardly a sample is there
	dirty := func(name string, from int64, tags ...string) string {
		n.group.put(t, name, "", tags...)
		v := n.group.volumes[name]
		v.Size = size
		require.NoError(t, os.Truncate(v.Path, size))
		f, err := os.OpenFile(v.Path, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("another tenant's key"), from+hidden)
		require.NoError(t, errors.Join(err, f.Close()))
		return v.Path
	}
	n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101")
	stored := dirty(image7, 0, "one", "image=7", "building")
	_, err := n.do(n.ofImage(OpStore), Transfer{})
	require.NoError(t, err)
	delete(n.group.volumes, disk0)
	grown := dirty(disk0, extent, "one", "vm=42", "disk=0", "ds=101", fmt.Sprintf("unzeroed=%d", extent))
	q := n.request(OpExtend)
	q.Size = size
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	for path, at := range map[string]int64{stored: hidden, grown: extent + hidden} {
		f, err := os.Open(path)
		require.NoError(t, err)
		found := make([]byte, 20)
		_, err = f.ReadAt(found, at)
		require.NoError(t, errors.Join(err, f.Close()))
		assert.Equal(t, make([]byte, 20), found, path)
	}
	assert.True(t, n.group.tags.Has(lvm.TagClean), "free space is as it was")
}

// LVM rounds up to extents: what it has given once is enough the next time.
func TestExtendToLessThanAnExtentMore(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101")
	q := n.request(OpExtend)
	for _, size := range []int64{extent + 1<<20, extent + 1<<20, extent + 2<<20} {
		q.Size = size
		res, err := n.do(q, Transfer{})
		require.NoError(t, err)
		assert.EqualValues(t, 2*extent, res.Size)
		assert.Empty(t, n.group.volumes[disk0].Tags.Get(tagUnzeroed))
	}
	q.Size = extent
	_, err := n.do(q, Transfer{})
	require.ErrorIs(t, err, lvm.ErrNotLarger)
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
