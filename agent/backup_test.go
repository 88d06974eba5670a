package agent

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

func (n *node) backupRequest(disks ...int) Request {
	q := n.request(OpBackup)
	q.Disk, q.Disks, q.Space = AllDisks, disks, wholeSpace
	return q
}

// A disk in use is read from a snapshot, which is gone afterwards.
func TestBackup(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "of the running VM", "one", "vm=42", "disk=0", "ds=101")
	n.group.put(t, "lv-one-42-1", "at rest", "one", "vm=42", "disk=1", "ds=101", "parked")
	n.group.put(t, "lv-one-42-2", "not asked for", "one", "vm=42", "disk=2", "ds=101")
	n.group.open[disk0] = true
	n.group.volumes["lv-one-42-1"].Mode = lvm.Off
	n.group.after = func(op, name string) {
		if op == "snapshot" {
			assert.Equal(t, disk0, name)
			require.NoError(t, os.WriteFile(n.group.volumes[disk0].Path, []byte("THE GUEST GOES ON"), 0o600))
			require.NoError(t, os.Truncate(n.group.volumes[disk0].Path, extent))
		}
	}
	_, err := n.do(n.backupRequest(0, 1), sendBytes([]byte("<VM/>")))
	require.NoError(t, err)
	dir := filepath.Join(n.base, "101/42/backup")
	for file, want := range map[string]string{"disk.0.0": "of the running VM", "disk.1.0": "at rest", "vm.xml": "<VM/>"} {
		content, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		assert.Equal(t, want, string(content[:len(want)]))
		if file != "vm.xml" {
			assert.Len(t, content, extent)
		}
	}
	assert.NoFileExists(t, filepath.Join(dir, "disk.2.0"))
	assert.Equal(t, []string{disk0, "lv-one-42-1", "lv-one-42-2"}, n.group.names(), "no snapshot left")
	assert.Equal(t, lvm.Off, n.group.volumes["lv-one-42-1"].Mode)
	end := n.request(OpUnbackup)
	end.Disk = AllDisks
	for range 2 {
		_, err = n.do(end, Transfer{})
		require.NoError(t, err)
		assert.NoDirExists(t, dir)
	}
}

func TestBackupThatFailsLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*node)
		want error
	}{
		{"no such disk", func(n *node) { delete(n.group.volumes, "lv-one-42-1") }, lvm.ErrNotFound},
		{"no space for a snapshot", func(n *node) { n.group.fail["snapshot lv-one-42-1"] = lvm.ErrNoSpace }, lvm.ErrNoSpace},
		{"shared", func(n *node) { n.group.volumes["lv-one-42-1"].Mode = lvm.Shared }, lvm.ErrNotExclusive},
	} {
		n := newNode(t)
		for _, name := range []string{disk0, "lv-one-42-1"} {
			n.group.put(t, name, "", "one", "vm=42", "disk="+name[len(name)-1:], "ds=101")
			n.group.open[name] = true
		}
		c.edit(n)
		before := n.group.names()
		_, err := n.do(n.backupRequest(0, 1), sendBytes([]byte("<VM/>")))
		assert.ErrorIs(t, err, c.want, c.name)
		assert.Equal(t, before, n.group.names(), c.name)
		assert.NoDirExists(t, filepath.Join(n.base, "101/42/backup"), c.name)
	}
}

// What a killed backup has left is cleared away by the next one, the end, or DELETE.
func TestBackupAfterACrash(t *testing.T) {
	for _, op := range []Op{OpBackup, OpUnbackup, OpRemove} {
		n := newNode(t)
		n.group.put(t, disk0, "", "one", "vm=42", "disk=0", "ds=101")
		_, err := n.group.Snapshot(t.Context(), lvm.SnapshotRequest{
			Name: "lv-one-42-0_s2147483647", Origin: disk0, Tags: lvm.NewTags("one", "vm=42", "disk=0", "snapshot=2147483647", "backup"),
		})
		require.NoError(t, err)
		dir := filepath.Join(n.base, "101/42/backup")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "half"), nil, 0o600))
		q, send := n.request(op), Transfer{}
		q.Disk = AllDisks
		if op == OpBackup {
			q, send = n.backupRequest(0), sendBytes([]byte("<VM/>"))
		}
		_, err = n.do(q, send)
		require.NoError(t, err)
		assert.NotContains(t, n.group.names(), "lv-one-42-0_s2147483647", op)
		assert.NoFileExists(t, filepath.Join(dir, "half"), op)
	}
}

func (n *node) restoreRequest() Request {
	q := n.request(OpRestore)
	q.Content, q.Mode = ContentDisk, tarmode.RAW
	return q
}

func TestRestore(t *testing.T) {
	n := snapshotted(t)
	old := n.group.volumes[disk0].Path
	_, err := n.do(n.restoreRequest(), sendBytes([]byte("from the backup")))
	require.NoError(t, err)
	assert.Equal(t, old, n.link(), "until all is there, nothing changes")
	assert.Len(t, n.group.names(), 3)
	_, err = n.do(n.request(OpReplace), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{disk0}, n.group.names(), "the snapshots go with the old disk")
	assert.Equal(t, "from the backup", n.content(disk0))
	v := n.group.volumes[disk0]
	assert.Equal(t, lvm.NewTags("one", "vm=42", "disk=0", "ds=101", "fs=ext4", "op=0123456789ab"), v.Tags)
	assert.Equal(t, v.Path, n.link())
	_, err = n.do(n.request(OpReplace), Transfer{})
	assert.ErrorContains(t, err, "run RESTORE again")
}

// The payload is not whole: the disk is as it was.
func TestRestoreThatFailsLeavesTheDisk(t *testing.T) {
	n := snapshotted(t)
	_, err := n.do(n.restoreRequest(), Transfer{Send: func(io.Writer) error { return io.ErrUnexpectedEOF }})
	require.Error(t, err)
	_, err = n.do(n.restoreRequest(), sendBytes(make([]byte, extent+1)))
	require.ErrorIs(t, err, tarmode.ErrTooLarge)
	n.group.open[disk0] = true
	_, err = n.do(n.restoreRequest(), sendBytes(nil))
	require.ErrorIs(t, err, lvm.ErrInUse)
	assert.Equal(t, "aftere", n.content(disk0))
	assert.Equal(t, []string{disk0, snapshot0}, n.group.names())
}

// A killed RESTORE that had decided for the new content is finished by the next one, also
// when the old disk was on its way into quarantine.
func TestRestoreAfterACrash(t *testing.T) {
	for at, quarantined := range map[string]bool{"replace.decided": false, "discard.tagged": true} {
		n := snapshotted(t)
		_, err := n.do(n.restoreRequest(), sendBytes([]byte("first")))
		require.NoError(t, err, at)
		for _, v := range n.group.volumes {
			if v.Tags.Has(tagReplacement) {
				v.Tags = v.Tags.Without(lvm.TagQuarantine)
			}
		}
		if quarantined { // its snapshots go first
			delete(n.group.volumes, snapshot0)
			n.group.volumes[disk0].Tags = n.group.volumes[disk0].Tags.With(lvm.TagQuarantine)
		}
		activate := n.request(OpActivate)
		activate.Activate = lvm.Exclusive
		_, err = n.do(activate, Transfer{})
		require.ErrorContains(t, err, "restore it again", at)
		_, err = n.do(n.restoreRequest(), sendBytes([]byte("second")))
		require.NoError(t, err, at)
		assert.Equal(t, "first", n.content(disk0), "%s: finished before the next begins", at)
		_, err = n.do(n.request(OpReplace), Transfer{})
		require.NoError(t, err, at)
		assert.Equal(t, "second", n.content(disk0), at)
		assert.Equal(t, []string{disk0}, n.group.names(), at)
	}
}

func TestRestoreOfAParkedDisk(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "old", "one", "vm=42", "disk=0", "ds=101", "parked")
	n.group.volumes[disk0].Mode = lvm.Off
	_, err := n.do(n.restoreRequest(), sendBytes([]byte("new")))
	require.NoError(t, err)
	_, err = n.do(n.request(OpReplace), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, n.group.volumes[disk0].Mode)
	assert.True(t, n.group.volumes[disk0].Tags.Has("parked"))
}

func TestBackupRequestsAreValidated(t *testing.T) {
	n := newNode(t)
	for name, edit := range map[string]func(*Request){
		"no disks":  func(q *Request) { q.Disks = nil },
		"negative":  func(q *Request) { q.Disks = []int{-1} },
		"twice":     func(q *Request) { q.Disks = []int{1, 1} },
		"one disk":  func(q *Request) { q.Disk = 0 },
		"no space":  func(q *Request) { q.Space = 0 },
		"tar":       func(q *Request) { *q = n.restoreRequest(); q.Content = ContentTar },
		"gzip":      func(q *Request) { *q = n.restoreRequest(); q.Mode = tarmode.GZIP },
		"all disks": func(q *Request) { *q = n.restoreRequest(); q.Disk = AllDisks },
	} {
		q := n.backupRequest(0, 1)
		edit(&q)
		assert.Error(t, q.validate(&n.server.Config), name)
	}
}

// Between its two phases, and while it fills the volume, a RESTORE's replacement is in
// quarantine, but nobody's to wipe: it would be wiped as the disk that it becomes.
func TestReplacementIsNotReaped(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "old", "one", "vm=42", "disk=0", "ds=101")
	_, err := n.do(n.restoreRequest(), sendBytes([]byte("new")))
	require.NoError(t, err)
	n.group.put(t, "lv-onedel-0011223344bb", "half", "one", "vm=7", "disk=0", "ds=101", "quarantine", "building")

	res, err := n.do(Request{Op: OpReap, Operation: "0123456789ab", Group: "vg-one"}, Transfer{})
	require.NoError(t, err)
	assert.Zero(t, res.Wiped)
	_, err = n.do(Request{Op: OpMonitor, Operation: "0123456789ab", Group: "vg-one"}, Transfer{})
	require.NoError(t, err)
	assert.Empty(t, n.warnings(), "nothing to be reaped")
	n.group.free = 0
	other := n.create(ContentNone, "")
	other.VM, other.Home = 8, filepath.Join(n.base, "101/8")
	_, err = n.do(other, Transfer{})
	require.ErrorIs(t, err, lvm.ErrNoSpace)

	_, err = n.do(n.request(OpReplace), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "new", n.content(disk0))
	drop := n.request(OpRemove)
	drop.VM, drop.Home = 7, filepath.Join(n.base, "101/7")
	_, err = n.do(drop, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{disk0}, n.group.names(), "the VM's own verbs remove it")
}
