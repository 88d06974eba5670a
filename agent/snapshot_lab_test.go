//go:build lab

package agent

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

// saveRaw saves the disk as its VM runs; received is called when the agent begins to send.
// The disk is much larger than what is on its way then.
func (l labNodes) saveRaw(space int, received func()) (content []byte, err error) {
	l.Helper()
	q := l.request(OpSave)
	q.Mode, q.Space = tarmode.RAW, space
	var payload bytes.Buffer
	_, err = l.do(0, q, Transfer{Receive: func(Start) (io.Writer, error) { received(); return &payload, nil }})
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(l.TempDir(), "saved"))
	require.NoError(l, err)
	_, _, err = tarmode.ReceiveExtents(l.Context(), &payload, file, 16<<20, func(int64) {})
	require.NoError(l, errors.Join(err, file.Close()))
	content, err = os.ReadFile(file.Name())
	require.NoError(l, err)
	require.Len(l, content, 16<<20)
	return content, nil
}

// counts writes 1, 2, 3, … to the first and then to the last sector of a disk, as long as
// there is a file, and says in another one how far it has come.
const counts = `i=0
while test -e /run/counting; do
	i=$((i+1))
	for at in 0 32767; do printf %512d $i | dd of=$1 bs=512 seek=$at oflag=direct conv=notrunc status=none; done
	echo $i >/run/counted.new; mv /run/counted.new /run/counted
done
`

const countsOn = `is() { cat /run/counted 2>/dev/null || echo 0; }; n=$(is); until test $(is) -ge $((n+2)); do sleep 0.05; done`

// saveWhileWritten: what is saved is what the disk was at one instant, between two writes.
func (l labNodes) saveWhileWritten() {
	l.Helper()
	n := l.cluster.Nodes[0]
	require.NoError(l, n.Put(l.Context(), "/run/counts", strings.NewReader(counts), 0o700, 0))
	pid := strings.TrimSpace(l.cluster.Output(l.T, n, "sh", "-c", "touch /run/counting; sh /run/counts "+cluster.Home+"/42/disk.0 >/dev/null 2>&1 & echo $!"))
	goesOn := func() { l.cluster.Output(l.T, n, "sh", "-c", countsOn) }
	goesOn()
	content, err := l.saveRaw(wholeSpace, goesOn)
	require.NoError(l, err)
	l.cluster.Output(l.T, n, "sh", "-c", "rm /run/counting; while test -d /proc/"+pid+"; do sleep 0.05; done")
	var first, last int
	_, err = fmt.Sscan(string(content[:512]), &first)
	require.NoError(l, err)
	_, err = fmt.Sscan(string(content[len(content)-512:]), &last)
	require.NoError(l, err)
	assert.Contains(l, []int{last, last + 1}, first, "of the two ends")
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
	l.saveWhileWritten()
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

	c.Output(t, c.Nodes[0], "dmsetup", "create", "guest", "--table", "0 32768 linear /dev/"+cluster.Group+"/"+disk0+" 0")
	_, err = l.saveRaw(20, func() { l.guest("third") })
	require.ErrorIs(t, err, lvm.ErrInvalid, "the VM writes more than the snapshot has space for")
	assert.ErrorContains(t, err, "SNAPSHOT_SPACE")
	c.Output(t, c.Nodes[0], "dmsetup", "remove", "guest")
	assert.NotContains(t, c.Output(t, c.Nodes[0], "lvs", "--noheadings", "-o", "lv_name", cluster.Group), "2147483647")
	l.must(0, l.request(OpRemove), Transfer{})
	l.imageLife() // on the same nodes
}
