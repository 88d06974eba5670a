package agent

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// imageWithSnapshots is a node with image 7, which is "last", and its snapshots 0 ("first")
// and 1 ("second"), taken while VM 42 used it in place.
func imageWithSnapshots(t *testing.T) *node {
	n := imaged(t)
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	for number, text := range []string{"first", "second"} {
		n.writeImage(text)
		_, err = n.do(n.ofSnapshot(OpSnapshot, number), Transfer{})
		require.NoError(t, err)
	}
	n.writeImage("last")
	_, err = n.do(n.ofImage(OpUnlink), Transfer{})
	require.NoError(t, err)
	return n
}

func (n *node) writeImage(text string) {
	content := make([]byte, extent)
	copy(content, text)
	require.NoError(n, os.WriteFile(n.group.volumes[image7].Path, content, 0o600))
}

// ofImageAlone is a request of the datastore driver.
func (n *node) ofImageAlone(op Op, number int, remove bool) Request {
	return Request{Op: op, Operation: "0123456789ab", Group: "vg-one", Patience: 60, Image: &Image{Group: "vg-one", ID: 7}, Snapshot: &number, Remove: remove}
}

func TestSnapshotsOfAnImageStayWithIt(t *testing.T) {
	n := imageWithSnapshots(t)
	assert.Equal(t, []string{image7, image7 + "_s0", image7 + "_s1"}, n.group.names())
	assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs", "snapshot=0", "op=0123456789ab"), n.group.volumes[image7+"_s0"].Tags, "it is no VM's")
	assert.Equal(t, lvm.Off, n.group.volumes[image7].Mode)
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.ofSnapshot(OpRevert, 0), Transfer{})
	require.NoError(t, err, "the next VM has them, too")
	assert.Equal(t, "first", n.content(image7))
	_, err = n.do(n.ofSnapshot(OpRemove, 0), Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{image7, image7 + "_s1"}, n.group.names())
	assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs"), n.group.volumes[image7].Tags)
}

func TestSnapshotsThatOnedForgets(t *testing.T) {
	n := imageWithSnapshots(t)
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	q := n.ofImage(OpUnlink)
	q.Remove = true
	for range 2 {
		_, err = n.do(q, Transfer{})
		require.NoError(t, err)
		assert.Equal(t, []string{image7}, n.group.names())
		assert.Equal(t, "last", n.content(image7))
	}
}

// A snapshot that an administrator has taken is his.
func TestForeignSnapshotsStay(t *testing.T) {
	n := imageWithSnapshots(t)
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	for name, tags := range map[string]lvm.Tags{"before-the-upgrade": nil, "lv-one-42-0_s2147483647": lvm.DiskTags(42, 0, 101).With(tagBackup)} {
		_, err = n.group.Snapshot(t.Context(), lvm.SnapshotRequest{Name: name, Origin: image7, Tags: tags})
		require.NoError(t, err)
	}
	q := n.ofImage(OpUnlink)
	q.Remove = true
	n.group.open[image7] = true
	all := n.group.names()
	_, err = n.do(q, Transfer{})
	require.ErrorIs(t, err, lvm.ErrInUse)
	assert.Equal(t, all, n.group.names(), "the VM still has them")
	n.group.open[image7] = false
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{"before-the-upgrade", image7}, n.group.names())
	assert.Contains(t, n.warnings(), "before-the-upgrade")
}

func TestImageSnapshots(t *testing.T) {
	for name, c := range map[string]struct {
		q       Request
		content string
		left    []string
	}{
		"delete":  {(&node{}).ofImageAlone(OpDropImage, 0, false), "last", []string{image7, image7 + "_s1"}},
		"revert":  {(&node{}).ofImageAlone(OpRevertImage, 0, false), "first", []string{image7, image7 + "_s0", image7 + "_s1"}},
		"flatten": {(&node{}).ofImageAlone(OpRevertImage, 0, true), "first", []string{image7}},
	} {
		n := imageWithSnapshots(t)
		for range 2 { // oned repeats what it did not hear the end of
			_, err := n.do(c.q, Transfer{})
			require.NoError(t, err, name)
			assert.Equal(t, c.content, n.content(image7), name)
			assert.Equal(t, c.left, n.group.names(), name)
			assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs"), n.group.volumes[image7].Tags, name)
			assert.Equal(t, lvm.Off, n.group.volumes[image7].Mode, name)
		}
	}
}

// A flatten that was cut off begins anew as long as its snapshot is there.
func TestFlattenIsRepeated(t *testing.T) {
	n := imageWithSnapshots(t)
	n.group.fail["remove "+image7+"_s1"] = lvm.ErrLocked
	q := n.ofImageAlone(OpRevertImage, 1, true)
	_, err := n.do(q, Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.Equal(t, []string{image7, image7 + "_s1"}, n.group.names(), "the one that is meant goes last")
	assert.Equal(t, lvm.Off, n.group.volumes[image7].Mode)
	delete(n.group.fail, "remove "+image7+"_s1")
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{image7}, n.group.names())
	assert.Equal(t, "second", n.content(image7))
}

func TestImageSnapshotRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*node)
		want string
	}{
		"of a VM":         {func(n *node) { n.group.volumes[image7].Tags = lvm.NewTags("one", "image=7", "vm=0", "disk=0") }, "disk 0 of VM 0"},
		"open":            {func(n *node) { n.group.open[image7] = true }, "in use"},
		"elsewhere":       {func(n *node) { n.group.fail["activate exclusive "+image7] = lvm.ErrLocked }, "locked by another node"},
		"absent":          {func(n *node) { delete(n.group.volumes, image7+"_s0") }, "volume not found"},
		"invalid":         {func(n *node) { n.group.volumes[image7+"_s0"].Invalid = true }, "its content is lost"},
		"somebody else's": {func(n *node) { n.group.volumes[image7+"_s1"].Tags = nil }, "not made by this suite"},
	} {
		n := imageWithSnapshots(t)
		c.edit(n)
		_, err := n.do(n.ofImageAlone(OpRevertImage, 0, false), Transfer{})
		require.ErrorContains(t, err, c.want, name)
		assert.Equal(t, "last", n.content(image7), name)
		assert.Empty(t, n.group.volumes[image7].Tags.Get(tagReverting), name)
	}
}

// An image that is half way is nobody's before it is reverted to the end.
func TestHalfRevertedImageIsRefused(t *testing.T) {
	n := imageWithSnapshots(t)
	n.group.volumes[image7].Tags = n.group.volumes[image7].Tags.With("reverting=0")
	send := n.ofImageAlone(OpSendImage, 0, false)
	send.Snapshot, send.Mode = nil, tarmode.RAW
	for _, q := range []Request{n.ofImage(OpLink), n.cloneOfImage(), send, n.ofImageAlone(OpDropImage, 0, false)} {
		_, err := n.do(q, Transfer{Receive: func(Start) (io.Writer, error) { return io.Discard, nil }})
		assert.ErrorContains(t, err, "revert it again", q.Op)
	}
	_, err := n.do(n.ofImageAlone(OpRevertImage, 1, false), Transfer{})
	require.NoError(t, err, "to another one, too")
	assert.Equal(t, "second", n.content(image7))
	_, err = n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
}

// LVM does not share a volume that has snapshots: such an image is read by one node at a time.
func TestImageWithSnapshotsIsReadExclusively(t *testing.T) {
	n := imageWithSnapshots(t)
	q := n.ofImageAlone(OpSendImage, 0, false)
	q.Snapshot, q.Mode = nil, tarmode.GZIP
	var payload bytes.Buffer
	_, err := n.do(q, Transfer{Receive: func(Start) (io.Writer, error) { return &payload, nil }})
	require.NoError(t, err)
	assert.NotContains(t, n.group.calls, "activate shared "+image7)
	assert.Equal(t, lvm.Off, n.group.volumes[image7].Mode)
	clone := n.cloneOfImage()
	_, err = n.do(clone, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "last", n.content(disk0))
	assert.FileExists(t, filepath.Join(n.base, "101/42/disk.0"))
}

func TestRemoveImageWithSnapshots(t *testing.T) {
	n := imageWithSnapshots(t)
	q := n.ofImageAlone(OpDropImage, 0, false)
	q.Snapshot = nil
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Empty(t, n.group.names())
}
