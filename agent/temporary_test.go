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

const temporary0 = "lv-one-42-0_s2147483647"

// running is a node with disk 0 of VM 42, which runs and has written "1" at both ends of the
// disk, and then "2" at its beginning.
func running(t *testing.T) *node {
	n := newNode(t)
	n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101", "fs=ext4")
	n.group.open[disk0] = true
	n.writeAt(0, "1")
	n.writeAt(extent-1, "1")
	n.writeAt(0, "2")
	return n
}

// writeAt is what the guest does.
func (n *node) writeAt(at int64, text string) {
	f, err := os.OpenFile(n.group.volumes[disk0].Path, os.O_WRONLY, 0)
	require.NoError(n, err)
	_, err = f.WriteAt([]byte(text), at)
	require.NoError(n, errors.Join(err, f.Close()))
}

// goesOn writes "2" at the end of the disk, and "3" at both ends.
func (n *node) goesOn() {
	n.writeAt(extent-1, "2")
	n.writeAt(0, "3")
	n.writeAt(extent-1, "3")
}

// ends is what a disk, or a copy of one, has at its two ends.
func ends(content []byte) string {
	return string([]byte{content[0], content[len(content)-1]})
}

func (n *node) endsOf(name string) string {
	content, err := os.ReadFile(n.group.volumes[name].Path)
	require.NoError(n, err)
	return ends(content)
}

func (n *node) saveRunning(op Op) Request {
	q := n.request(op)
	if op == OpStore {
		q = n.ofImage(op)
	}
	q.Space, q.Mode = 25, tarmode.GZIP
	return q
}

func receiveInto(payload *bytes.Buffer) Transfer {
	return Transfer{Receive: func(Start) (io.Writer, error) { return payload, nil }}
}

func unpacked(t *testing.T, payload *bytes.Buffer) []byte {
	plain, err := tarmode.Decompress(payload, tarmode.GZIP)
	require.NoError(t, err)
	content, err := io.ReadAll(plain)
	require.NoError(t, errors.Join(err, plain.Close()))
	require.Len(t, content, extent)
	return content
}

// What is saved while the VM runs is what the disk was at one instant, and nothing is left
// of how that was done.
func TestSaveOfARunningDisk(t *testing.T) {
	n := running(t)
	q := n.saveRunning(OpSave)
	q.Mode = tarmode.TGZ
	n.server.Config.ReadGuestFS = true
	var payload bytes.Buffer
	var snapshot lvm.Volume
	n.group.after = func(op, _ string) {
		if op == "snapshot" {
			snapshot = *n.group.volumes[temporary0]
			n.goesOn()
		}
	}
	res, err := n.do(q, receiveInto(&payload))
	require.NoError(t, err)
	assert.Equal(t, "21", ends(unpacked(t, &payload)), "as a disk: its file system is as after a power cut")
	assert.Equal(t, "33", n.endsOf(disk0))
	assert.Equal(t, disk0, res.Volume)
	assert.Equal(t, lvm.NewTags("one", "vm=42", "disk=0", "ds=101", "fs=ext4", "snapshot=2147483647", "saving", "live"), snapshot.Tags)
	assert.InDelta(t, extent/4, n.group.space[temporary0], 100)
	assert.Equal(t, []string{disk0}, n.group.names())
	assert.NotContains(t, n.warnings(), "in use, and is read")
}

func TestStoreOfARunningDisk(t *testing.T) {
	n := running(t)
	n.group.after = func(op, _ string) {
		if op == "snapshot" {
			assert.Contains(t, n.group.volumes, image7, "there is room for the copy")
			n.goesOn()
		}
	}
	_, err := n.do(n.saveRunning(OpStore), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "21", n.endsOf(image7))
	assert.Equal(t, "33", n.endsOf(disk0))
	assert.Equal(t, "ext4", n.group.volumes[image7].Tags.Get(lvm.TagFSType))
	assert.Equal(t, []string{disk0, image7}, n.group.names())
	assert.Equal(t, lvm.Exclusive, n.mode(disk0))
	assert.Empty(t, n.warnings())
}

// Without a snapshot the disk is saved as before, and that is said.
func TestSaveWithoutASnapshot(t *testing.T) {
	for name, edit := range map[string]func(*node, *Request){
		"no space":         func(n *node, _ *Request) { n.group.fail["snapshot"] = lvm.ErrNoSpace },
		"a group in files": func(n *node, _ *Request) { n.group.fail["snapshot"] = lvm.ErrInUse },
		"shared":           func(n *node, _ *Request) { n.group.volumes[disk0].Mode = lvm.Shared },
		"a snapshot itself": func(n *node, _ *Request) {
			n.group.put(t, image7, "", "one", "image=7")
			v := n.group.volumes[disk0]
			v.Origin, v.Tags = image7, v.Tags.With("clone=7")
		},
		"an older front-end": func(_ *node, q *Request) { q.Space = 0 },
	} {
		n := running(t)
		q := n.saveRunning(OpSave)
		edit(n, &q)
		before := n.group.names()
		var payload bytes.Buffer
		_, err := n.do(q, receiveInto(&payload))
		require.NoError(t, err, name)
		assert.Equal(t, "21", ends(unpacked(t, &payload)), name)
		assert.Contains(t, n.warnings(), disk0+" is in use, and is read without a snapshot", name)
		assert.Equal(t, before, n.group.names(), name)
	}
}

func TestStoreWithoutASnapshot(t *testing.T) {
	n := running(t)
	n.group.fail["snapshot"] = lvm.ErrNoSpace
	_, err := n.do(n.saveRunning(OpStore), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "21", n.endsOf(image7))
	assert.Contains(t, n.warnings(), disk0+" is in use, and is read without a snapshot")
	assert.Equal(t, []string{disk0, image7}, n.group.names())
}

// What may succeed another time, or may have been done, is no reason to read a disk that
// changes.
func TestSaveWhoseSnapshotFails(t *testing.T) {
	for _, op := range []Op{OpSave, OpStore} {
		for _, failure := range []error{lvm.ErrUnlocked, lvm.ErrUnknownOutcome, lvm.ErrLocked} {
			n := running(t)
			n.group.fail["snapshot"] = failure
			_, err := n.do(n.saveRunning(op), receiveInto(&bytes.Buffer{}))
			require.ErrorIs(t, err, failure)
			assert.Equal(t, []string{disk0}, n.group.names(), "%s, %v", op, failure)
		}
	}
}

func TestSaveThatFailsLeavesNoSnapshot(t *testing.T) {
	n := running(t)
	_, err := n.do(n.saveRunning(OpSave), Transfer{Receive: func(Start) (io.Writer, error) { return nil, io.ErrShortWrite }})
	require.ErrorIs(t, err, io.ErrShortWrite)
	assert.Equal(t, []string{disk0}, n.group.names())
}

func TestSaveWhoseSnapshotRunsOutOfSpace(t *testing.T) {
	n := running(t)
	n.group.after = func(op, _ string) {
		if op == "snapshot" {
			n.group.volumes[temporary0].Invalid = true
			assert.NoError(t, os.Truncate(n.group.volumes[temporary0].Path, 0)) // it cannot be read any more
		}
	}
	_, err := n.do(n.saveRunning(OpStore), Transfer{})
	require.ErrorIs(t, err, lvm.ErrInvalid)
	require.ErrorContains(t, err, "SNAPSHOT_SPACE")
	assert.Equal(t, []string{disk0}, n.group.names())
}

// leftOver has a save that died leave its snapshot.
func (n *node) leftOver(origin string) {
	_, err := n.group.Snapshot(n.Context(), lvm.SnapshotRequest{
		Name: temporary0, Origin: origin, Tags: lvm.DiskTags(42, 0, 101).With("snapshot=2147483647", tagSaving, tagLive),
	})
	require.NoError(n, err)
}

// Whatever comes next to the disk and is in the way of a snapshot, or is in its way, removes
// what a save that died has left.
func TestSaveAfterACrash(t *testing.T) {
	shared := Window{Source: "node1", Target: "node2", Seconds: 60}
	for name, q := range map[string]func(n *node) Request{
		"save":     func(n *node) Request { return n.saveRunning(OpSave) },
		"store":    func(n *node) Request { return n.saveRunning(OpStore) },
		"backup":   func(n *node) Request { return n.backupRequest(0) },
		"unbackup": func(n *node) Request { q := n.request(OpUnbackup); q.Disk = AllDisks; return q },
		"extend":   func(n *node) Request { q := n.request(OpExtend); q.Size = 2 * extent; return q },
		"migrate": func(n *node) Request {
			q := n.request(OpActivate)
			q.Activate, q.Window = lvm.Shared, &shared
			return q
		},
		"audit":            func(n *node) Request { return n.ofSnapshot(OpRemove, temporaryNumber) },
		"save of a VM off": func(n *node) Request { n.group.open[disk0] = false; return n.saveRunning(OpSave) },
		"move": func(n *node) Request {
			n.group.open[disk0] = false
			q := n.saveRunning(OpSave)
			q.Remove = true
			return q
		},
		"remove": func(n *node) Request { n.group.open[disk0] = false; return n.request(OpRemove) },
	} {
		n := running(t)
		n.leftOver(disk0)
		request, transfer := q(n), receiveInto(&bytes.Buffer{})
		if request.Op == OpBackup {
			transfer = sendBytes([]byte("<VM/>"))
		}
		_, err := n.do(request, transfer)
		require.NoError(t, err, name)
		assert.NotContains(t, n.group.names(), temporary0, name)
	}
}

// An image that was used in place keeps its own snapshots, and none that a save has left.
func TestImageIsGivenBackWithoutTemporarySnapshots(t *testing.T) {
	for _, q := range []Request{(&node{}).ofImage(OpUnlink), (&node{}).request(OpRemove)} {
		n := imageWithSnapshots(t)
		_, err := n.do(n.ofImage(OpLink), Transfer{})
		require.NoError(t, err)
		before := n.group.names()
		n.leftOver(image7)
		q.Home = filepath.Join(n.base, "101/42")
		_, err = n.do(q, Transfer{})
		require.NoError(t, err, q.Op)
		assert.Equal(t, before, n.group.names(), q.Op)
	}
}

// MVDS copies nothing over the image of a VM that still runs.
func TestMoveOfARunningDiskIsRefused(t *testing.T) {
	for _, op := range []Op{OpSave, OpStore} {
		n := running(t)
		q := n.saveRunning(op)
		q.Space, q.Remove = 0, true
		_, err := n.do(q, Transfer{Receive: func(Start) (io.Writer, error) {
			assert.Fail(t, "something is sent")
			return io.Discard, nil
		}})
		require.ErrorIs(t, err, lvm.ErrInUse)
		assert.ErrorContains(t, err, "VM 42 still runs on it")
		assert.Equal(t, []string{disk0}, n.group.names())
	}
}
