//go:build lab

package agent

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/labtest"
	"one-clvm/lab/profile"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// labNodes are the agents of a cluster, asked as the driver asks them: as oneadmin, over
// ssh and sudo.
type labNodes struct {
	*testing.T
	cluster labtest.Cluster
	client  *Client
}

func (l labNodes) do(node int, q Request, t Transfer) (Result, error) {
	l.Helper()
	n := l.cluster.Nodes[node]
	host := Host{Name: n.Name, Argv: []string{"ssh", "-F", l.cluster.SSHConfig(), "-l", "oneadmin", n.Name, "sudo", "-n", cluster.Program, "agent"}}
	return l.client.Do(context.WithoutCancel(l.Context()), host, q, t)
}

func (l labNodes) must(node int, q Request, t Transfer) Result {
	l.Helper()
	res, err := l.do(node, q, t)
	require.NoError(l, err)
	return res
}

func (l labNodes) request(op Op) Request {
	return Request{Op: op, Operation: "0123456789ab", Group: cluster.Group, VM: 42, Disk: 0, DS: 0, Patience: 60, Home: cluster.Home + "/42"}
}

func (l labNodes) ofSnapshot(op Op, number int) Request {
	q := l.request(op)
	q.Snapshot, q.Space = &number, wholeSpace
	return q
}

// guest writes a text all over the disk, through its link, as the VM on node1 would.
func (l labNodes) guest(text string) {
	l.Helper()
	l.cluster.Output(l.T, l.cluster.Nodes[0], "sh", "-c", "yes "+text+" | head -c 16777216 | dd of="+cluster.Home+"/42/disk.0 bs=1M iflag=fullblock oflag=direct conv=fsync status=none")
}

func (l labNodes) disk(node int) string {
	l.Helper()
	out := l.cluster.Output(l.T, l.cluster.Nodes[node], "dd", "if="+cluster.Home+"/42/disk.0", "bs=512", "count=1", "iflag=direct", "status=none")
	return strings.Fields(out)[0]
}

func (l labNodes) saved(q Request) string {
	l.Helper()
	var payload bytes.Buffer
	l.must(0, q, Transfer{Receive: func(Start) (io.Writer, error) { return &payload, nil }})
	plain, err := tarmode.Decompress(&payload, tarmode.ZSTD)
	require.NoError(l, err)
	content, err := io.ReadAll(plain)
	require.NoError(l, err)
	assert.Len(l, content, 16<<20)
	return strings.Fields(string(content[:64]))[0]
}

// The life of a disk with snapshots, while its VM runs and while it does not, on two nodes
// with real LVM2 and a lock manager.
func TestSnapshotsOnTheLab(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Cluster)
	l := labNodes{t, c, &Client{Runner: run.Exec{}, Version: "lab", StallTimeout: time.Minute, OnLog: func(line LogLine) { t.Log(line.Text) }}}
	create := l.request(OpCreate)
	create.Size, create.Content = 16<<20, ContentNone
	l.must(0, create, Transfer{})
	l.guest("first")
	c.Output(t, c.Nodes[0], "dmsetup", "create", "guest", "--table", "0 32768 linear /dev/"+cluster.Group+"/"+disk0+" 0")

	l.must(0, l.ofSnapshot(OpSnapshot, 0), Transfer{})
	l.guest("second")
	l.must(0, l.ofSnapshot(OpSnapshot, 1), Transfer{})
	l.guest("third")
	_, err := l.do(1, l.ofSnapshot(OpSnapshot, 2), Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked, "the other node")
	_, err = l.do(0, l.ofSnapshot(OpRevert, 0), Transfer{})
	require.ErrorIs(t, err, lvm.ErrInUse)
	shared := l.request(OpActivate)
	shared.Activate, shared.Window = lvm.Shared, &Window{Source: "node1", Target: "node2", Seconds: 60}
	_, err = l.do(0, shared, Transfer{})
	require.ErrorIs(t, err, lvm.ErrSnapshots)
	extend := l.request(OpExtend)
	extend.Size = 24 << 20
	_, err = l.do(0, extend, Transfer{})
	require.ErrorIs(t, err, lvm.ErrSnapshots)
	save := l.ofSnapshot(OpSave, 0)
	save.Mode, save.Level = tarmode.ZSTD, 1
	assert.Equal(t, "first", l.saved(save), "while the VM runs")
	backup := l.request(OpBackup)
	backup.Disk, backup.Disks, backup.Space = AllDisks, []int{0}, wholeSpace
	l.must(0, backup, Transfer{Send: func(w io.Writer) error { _, err := io.WriteString(w, "<VM/>"); return err }})
	file := c.Output(t, c.Nodes[1], "head", "-c", "5", cluster.Home+"/42/backup/disk.0.0")
	assert.Equal(t, "third", file, "on the file system that both nodes have")
	end := l.request(OpUnbackup)
	end.Disk = AllDisks
	l.must(0, end, Transfer{})
	assert.NotContains(t, c.Output(t, c.Nodes[0], "lvs", "--noheadings", "-o", "lv_name", cluster.Group), "2147483647")

	c.Output(t, c.Nodes[0], "dmsetup", "remove", "guest")
	for _, number := range []int{0, 1, 0} {
		l.must(0, l.ofSnapshot(OpRevert, number), Transfer{})
		assert.Equal(t, []string{"first", "second"}[number], l.disk(0))
	}
	l.must(0, extend, Transfer{})
	off, on := l.request(OpActivate), l.request(OpActivate)
	on.Activate, on.Link = lvm.Exclusive, true
	_, err = l.do(1, on, Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	l.must(0, off, Transfer{})
	l.must(1, on, Transfer{})
	l.must(1, l.ofSnapshot(OpRevert, 1), Transfer{})
	assert.Equal(t, "second", l.disk(1))
	l.must(1, l.ofSnapshot(OpRemove, 0), Transfer{})
	remove := l.request(OpRemove)
	remove.Disk = AllDisks
	_, err = l.do(0, remove, Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked, "while the other node has it")
	l.must(1, remove, Transfer{})
	assert.Empty(t, strings.TrimSpace(c.Output(t, c.Nodes[1], "lvs", "--noheadings", "-o", "lv_name", "-S", "lv_name=~42", cluster.Group)))
}

// A snapshot that has run out of space is refused with a sentence, and goes.
func TestInvalidSnapshotOnTheLab(t *testing.T) {
	t.Parallel()
	c := labtest.Start(t, profile.Cluster)
	l := labNodes{t, c, &Client{Runner: run.Exec{}, Version: "lab", StallTimeout: time.Minute}}
	create := l.request(OpCreate)
	create.Size, create.Content = 16<<20, ContentNone
	l.must(0, create, Transfer{})
	l.guest("first")
	small := l.ofSnapshot(OpSnapshot, 0)
	small.Space = 20
	l.must(0, small, Transfer{})
	l.guest("second")
	_, err := l.do(0, l.ofSnapshot(OpRevert, 0), Transfer{})
	require.ErrorIs(t, err, lvm.ErrInvalid)
	assert.ErrorContains(t, err, "SNAPSHOT_SPACE")
	assert.Equal(t, "second", l.disk(0))
	save := l.ofSnapshot(OpSave, 0)
	save.Mode, save.Level = tarmode.ZSTD, 1
	_, err = l.do(0, save, Transfer{Receive: func(Start) (io.Writer, error) { return io.Discard, nil }})
	require.ErrorIs(t, err, lvm.ErrInvalid)
	l.must(0, l.ofSnapshot(OpRemove, 0), Transfer{})
	l.must(0, l.request(OpRemove), Transfer{})
	l.imageLife() // on the same nodes
}
