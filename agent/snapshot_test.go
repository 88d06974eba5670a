package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

const (
	disk0     = "lv-one-42-0"
	snapshot0 = "lv-one-42-0_s0"
)

// snapshotted is a node with disk 0 of VM 42 and its snapshot 0.
func snapshotted(t *testing.T) *node {
	n := newNode(t)
	n.group.put(t, disk0, "before", "one", "vm=42", "disk=0", "ds=101", "fs=ext4")
	require.NoError(t, os.MkdirAll(filepath.Join(n.base, "101/42"), 0o755))
	require.NoError(t, os.Symlink(n.group.volumes[disk0].Path, filepath.Join(n.base, "101/42/disk.0")))
	_, err := n.do(n.ofSnapshot(OpSnapshot, 0), Transfer{})
	require.NoError(t, err)
	n.write("after")
	return n
}

func (n *node) ofSnapshot(op Op, number int) Request {
	q := n.request(op)
	q.Snapshot, q.Space = &number, wholeSpace
	return q
}

// write is what the guest does.
func (n *node) write(text string) {
	f, err := os.OpenFile(n.group.volumes[disk0].Path, os.O_WRONLY, 0)
	require.NoError(n, err)
	_, err = f.WriteString(text)
	require.NoError(n, errors.Join(err, f.Close()))
}

func (n *node) content(name string) string {
	content, err := os.ReadFile(n.group.volumes[name].Path)
	require.NoError(n, err)
	return string(bytes.TrimRight(content, "\x00"))
}

func TestTakeSnapshot(t *testing.T) {
	n := snapshotted(t)
	v := n.group.volumes[snapshot0]
	require.NotNil(t, v)
	assert.Equal(t, lvm.NewTags("one", "vm=42", "disk=0", "ds=101", "fs=ext4", "snapshot=0", "op=0123456789ab"), v.Tags)
	assert.Zero(t, n.group.space[snapshot0], "never invalid")
	n.group.open[disk0] = true
	q := n.ofSnapshot(OpSnapshot, 1)
	q.Space, q.Parent = 25, q.Snapshot
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	v = n.group.volumes["lv-one-42-0_s1"]
	assert.True(t, v.Tags.Has("live", "parent=1"))
	assert.InDelta(t, extent/4, n.group.space[v.Name], 100)
	assert.Equal(t, lvm.Exclusive, n.group.volumes[disk0].Mode)
}

// What has the number already was left by an attempt that oned knows to have failed.
func TestTakeSnapshotAgain(t *testing.T) {
	n := snapshotted(t)
	_, err := n.do(n.ofSnapshot(OpSnapshot, 0), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "after", n.content(snapshot0)[:5])
	assert.Equal(t, []string{disk0, snapshot0}, n.group.names())
}

func TestTakeSnapshotRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*node)
		want error
	}{
		{"shared", func(n *node) { n.group.volumes[disk0].Mode = lvm.Shared }, lvm.ErrNotExclusive},
		{"elsewhere", func(n *node) {
			n.group.volumes[disk0].Mode = lvm.Off
			n.group.fail["activate exclusive"] = lvm.ErrLocked
		}, lvm.ErrLocked},
		{"no space", func(n *node) { n.group.fail["snapshot"] = lvm.ErrNoSpace }, lvm.ErrNoSpace},
		{"no disk", func(n *node) { delete(n.group.volumes, disk0) }, lvm.ErrNotFound},
	} {
		n := newNode(t)
		n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101")
		c.edit(n)
		_, err := n.do(n.ofSnapshot(OpSnapshot, 0), Transfer{})
		assert.ErrorIs(t, err, c.want, c.name)
		assert.NotContains(t, n.group.names(), snapshot0)
	}
}

func TestSnapshotOfAnInactiveDiskLeavesItInactive(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101", "parked")
	n.group.volumes[disk0].Mode = lvm.Off
	_, err := n.do(n.ofSnapshot(OpSnapshot, 0), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, n.group.volumes[disk0].Mode)
	assert.True(t, n.group.volumes[disk0].Tags.Has("parked"))
	assert.False(t, n.group.volumes[snapshot0].Tags.Has("parked"))
}

// oned keeps its record of the snapshot: it can be gone back to any number of times.
func TestRevert(t *testing.T) {
	n := snapshotted(t)
	for range 2 {
		n.write("later")
		_, err := n.do(n.ofSnapshot(OpRevert, 0), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, "before", n.content(disk0))
		assert.Equal(t, "before", n.content(snapshot0))
		assert.Empty(t, n.group.volumes[disk0].Tags.Get(tagReverting))
		assert.Equal(t, n.group.volumes[disk0].Path, n.link())
	}
}

func TestRevertKeepsWhatTheDiskHasGrownBy(t *testing.T) {
	n := snapshotted(t)
	n.group.volumes[disk0].Mode = lvm.Off
	q := n.request(OpExtend)
	q.Size = 2 * extent
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.ofSnapshot(OpRevert, 0), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "before", n.content(disk0))
	assert.Equal(t, int64(2*extent), n.group.volumes[disk0].Size)
}

func TestRevertRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*node)
		want error
	}{
		{"in use", func(n *node) { n.group.open[disk0] = true }, lvm.ErrInUse},
		{"no such snapshot", func(n *node) { delete(n.group.volumes, snapshot0) }, lvm.ErrNotFound},
		{"invalid", func(n *node) { n.group.volumes[snapshot0].Invalid = true }, lvm.ErrInvalid},
		{"shared", func(n *node) { n.group.volumes[disk0].Mode = lvm.Shared }, lvm.ErrNotExclusive},
	} {
		n := snapshotted(t)
		c.edit(n)
		_, err := n.do(n.ofSnapshot(OpRevert, 0), Transfer{})
		assert.ErrorIs(t, err, c.want, c.name)
		assert.Equal(t, "aftere", n.content(disk0), c.name)
		assert.Empty(t, n.group.volumes[disk0].Tags.Get(tagReverting), c.name)
		assert.Equal(t, n.group.volumes[disk0].Path, n.link(), c.name)
	}
}

// A disk that is half way is of no use to anybody: only reverting it again, or deleting
// it, helps.
func TestHalfRevertedDiskIsRefused(t *testing.T) {
	n := snapshotted(t)
	n.group.volumes[disk0].Tags = n.group.volumes[disk0].Tags.With("reverting=0")
	save := n.request(OpSave)
	save.Mode = tarmode.RAW
	extend := n.request(OpExtend)
	extend.Size = 2 * extent
	activate := n.request(OpActivate)
	activate.Activate = lvm.Exclusive
	for _, q := range []Request{save, extend, activate, n.request(OpPark), n.ofSnapshot(OpSnapshot, 1), n.ofSnapshot(OpRemove, 0)} {
		_, err := n.do(q, Transfer{Receive: func(Start) (io.Writer, error) { return io.Discard, nil }})
		assert.ErrorContains(t, err, "revert it again", q.Op)
	}
	_, err := n.do(n.ofSnapshot(OpRevert, 0), Transfer{})
	require.NoError(t, err)
	_, err = n.do(activate, Transfer{})
	require.NoError(t, err)
	n.group.volumes[disk0].Tags = n.group.volumes[disk0].Tags.With("reverting=0")
	_, err = n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.Empty(t, n.group.names())
}

func TestRemoveSnapshot(t *testing.T) {
	n := snapshotted(t)
	_, err := n.group.TagGroup(t.Context(), lvm.NewTags(lvm.TagClean), nil)
	require.NoError(t, err)
	_, err = n.do(n.ofSnapshot(OpRemove, 0), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{disk0}, n.group.names())
	info, err := n.group.Info(t.Context())
	require.NoError(t, err)
	assert.False(t, info.Tags.Has(lvm.TagClean), "its blocks are not wiped")
	assert.Equal(t, n.group.volumes[disk0].Path, n.link())
	_, err = n.do(n.ofSnapshot(OpRemove, 0), Transfer{})
	require.NoError(t, err, "what is gone is gone")
	assert.Equal(t, []string{disk0}, n.group.names())
}

func TestDiskGoesWithItsSnapshots(t *testing.T) {
	for _, disk := range []int{0, AllDisks} {
		n := snapshotted(t)
		q := n.request(OpRemove)
		q.Disk = disk
		_, err := n.do(q, Transfer{})
		require.NoError(t, err)
		assert.Empty(t, n.group.names())
	}
	n := snapshotted(t)
	n.group.volumes[snapshot0].Tags = nil
	_, err := n.do(n.request(OpRemove), Transfer{})
	assert.ErrorContains(t, err, "not made by this suite")
	assert.Equal(t, []string{disk0, snapshot0}, n.group.names())
}

func TestSnapshotsKeepADiskOnOneNode(t *testing.T) {
	n := snapshotted(t)
	n.group.put(t, "lv-one-42-1", "", "one", "vm=42", "disk=1", "ds=101")
	q := n.request(OpActivate)
	q.Disk, q.Activate, q.Window = AllDisks, lvm.Shared, &Window{"node1", "node2", 60}
	_, err := n.do(q, Transfer{})
	require.ErrorIs(t, err, lvm.ErrSnapshots)
	assert.ErrorContains(t, err, "no live migration")
	assert.Equal(t, lvm.Exclusive, n.group.volumes["lv-one-42-1"].Mode, "refused before any disk changes")
	n.group.open[disk0] = true
	extend := n.request(OpExtend)
	extend.Size = 2 * extent
	_, err = n.do(extend, Transfer{})
	require.ErrorIs(t, err, lvm.ErrSnapshots)
	assert.Empty(t, n.group.volumes[disk0].Tags.Get(tagUnzeroed))
}

func TestSaveASnapshot(t *testing.T) {
	n := snapshotted(t)
	n.group.volumes[disk0].Mode = lvm.Off
	n.group.volumes[snapshot0].Mode = lvm.Off
	q := n.ofSnapshot(OpSave, 0)
	q.Mode, q.Space = tarmode.GZIP, 0
	var payload bytes.Buffer
	receive := Transfer{Receive: func(Start) (io.Writer, error) { return &payload, nil }}
	_, err := n.do(q, receive)
	require.NoError(t, err)
	plain, err := tarmode.Decompress(&payload, tarmode.GZIP)
	require.NoError(t, err)
	content, err := io.ReadAll(plain)
	require.NoError(t, err)
	assert.Equal(t, "before", string(content[:6]))
	assert.Len(t, content, extent)
	assert.Equal(t, lvm.Off, n.group.volumes[disk0].Mode)
	n.group.volumes[snapshot0].Invalid = true
	_, err = n.do(q, receive)
	assert.ErrorIs(t, err, lvm.ErrInvalid)
	assert.ErrorContains(t, err, "SNAPSHOT_SPACE")
}

func TestSnapshotRequestsAreValidated(t *testing.T) {
	n := newNode(t)
	negative := -1
	for name, edit := range map[string]func(*Request){
		"no number":    func(q *Request) { q.Snapshot = nil },
		"negative":     func(q *Request) { q.Snapshot = &negative },
		"parent":       func(q *Request) { q.Parent = &negative },
		"no space":     func(q *Request) { q.Space = 0 },
		"much space":   func(q *Request) { q.Space = 101 },
		"all disks":    func(q *Request) { q.Disk = AllDisks },
		"no snapshots": func(q *Request) { q.Op = OpPark },
		"save, much":   func(q *Request) { q.Op, q.Mode, q.Snapshot, q.Space = OpSave, tarmode.RAW, nil, 101 },
		"save, remove": func(q *Request) { q.Op, q.Mode, q.Remove = OpSave, tarmode.RAW, true },
	} {
		q := n.ofSnapshot(OpSnapshot, 0)
		edit(&q)
		assert.Error(t, q.validate(&n.server.Config), name)
	}
	q := n.ofSnapshot(OpSnapshot, 0)
	assert.NoError(t, q.validate(&n.server.Config))
}

func TestCopyChunksWritesOnlyWhatDiffers(t *testing.T) {
	const size = 9<<20 + 512
	want := bytes.Repeat([]byte("x"), size)
	have := bytes.Clone(want)
	for _, at := range []int{0, lvm.SnapshotChunk - 1, 3*lvm.SnapshotChunk + 7, size - 1} {
		have[at] = 'y'
	}
	path := filepath.Join(t.TempDir(), "target")
	require.NoError(t, os.WriteFile(path, have, 0o600))
	require.NoError(t, os.WriteFile(path+".ro", have, 0o400))
	target, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer target.Close()
	var done int64
	require.NoError(t, copyChunks(t.Context(), bytes.NewReader(want), target, size, func(n int64) { done = n }))
	assert.EqualValues(t, size, done)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	readOnly, err := os.Open(path)
	require.NoError(t, err)
	defer readOnly.Close()
	assert.NoError(t, copyChunks(t.Context(), bytes.NewReader(want), readOnly, size, func(int64) {}), "nothing differs, nothing is written")
}
