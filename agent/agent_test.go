package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// node is an agent in this process, with a client that talks to it.
type node struct {
	*testing.T
	group  *fileGroup
	server *Server
	client *Client
	base   string
	logs   []LogLine
	before func() // called as the "program" starts
}

func newNode(t *testing.T) *node {
	me, err := user.Current()
	require.NoError(t, err)
	n := &node{T: t, group: newFileGroup(t), base: t.TempDir(), before: func() {}}
	n.server = &Server{
		Runner: run.Exec{}, Version: "test", Self: "/nonexistent",
		OpenGroup: func(string) (lvm.Group, error) { return n.group, nil },
		Config: Config{
			Groups: []string{"vg-one"}, Prefix: "lv-one", HomeBases: []string{n.base}, FSTypes: makerNames(),
			Wipe: WipeCreate, WipeJobs: 2, RunDir: t.TempDir(), LockDir: t.TempDir(), Owner: me.Username,
			StallTimeout: time.Minute,
		},
	}
	n.client = &Client{Runner: n, Version: "test", StallTimeout: time.Minute, OnLog: func(l LogLine) { n.logs = append(n.logs, l) }}
	require.NoError(t, os.MkdirAll(filepath.Join(n.base, "101"), 0o755))
	return n
}

// Run stands in for ssh: it is the agent itself.
func (n *node) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	n.before()
	return run.Result{}, n.server.Serve(ctx, c.Stdin, c.Stdout)
}

func (n *node) do(q Request, t Transfer) (Result, error) {
	return n.client.Do(context.Background(), Host{"node1", []string{"agent"}}, q, t)
}

func (n *node) request(op Op) Request {
	return Request{Op: op, Operation: "0123456789ab", Group: "vg-one", VM: 42, Disk: 0, DS: 101, Patience: 60, Home: filepath.Join(n.base, "101/42")}
}

func (n *node) create(content Content, mode tarmode.Mode) Request {
	q := n.request(OpCreate)
	q.Size, q.Content, q.Mode = 8<<20, content, mode
	return q
}

func sendBytes(b []byte) Transfer {
	return Transfer{Send: func(w io.Writer) error { _, err := w.Write(b); return err }}
}

func (n *node) link() string {
	target, err := os.Readlink(filepath.Join(n.base, "101/42/disk.0"))
	require.NoError(n, err)
	return target
}

func TestCreateEmptyDisk(t *testing.T) {
	n := newNode(t)
	res, err := n.do(n.create(ContentNone, ""), Transfer{})
	require.NoError(t, err)
	v := n.group.volumes["lv-one-42-0"]
	require.NotNil(t, v)
	assert.Equal(t, lvm.NewTags("one", "vm=42", "disk=0", "ds=101", "op=0123456789ab"), v.Tags, "complete: no tag building")
	assert.Equal(t, v.Path, n.link())
	assert.Equal(t, "lv-one-42-0", res.Volume)
	assert.Positive(t, res.PeakRSS)
	content, err := os.ReadFile(v.Path)
	require.NoError(t, err)
	assert.Empty(t, bytes.Trim(content, "\x00"), "no tenant sees another's blocks")
}

func TestCreateFileSystem(t *testing.T) {
	n := newNode(t)
	q := n.create(ContentFS, "")
	q.FSType, q.FSLabel, q.FSUUID = "ext4", "data", "0b2dd2ab-3f4c-4a52-8f18-3ecb2f0f3a3c"
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	uuid, label := identify(context.Background(), run.Exec{}, n.link())
	assert.Equal(t, q.FSUUID, uuid)
	assert.Equal(t, "data", label)
	assert.Contains(t, n.group.volumes["lv-one-42-0"].Tags, "fs=ext4")
}

func TestCreateFromDisk(t *testing.T) {
	disk := append(bytes.Repeat([]byte("boot"), 100_000), make([]byte, 1<<20)...)
	for _, mode := range []tarmode.Mode{tarmode.RAW, tarmode.GZIP, tarmode.ZSTD} {
		t.Run(string(mode), func(t *testing.T) {
			n := newNode(t)
			var image bytes.Buffer
			w, err := tarmode.NewCompressor(&image, mode.Compression(), 1)
			require.NoError(t, err)
			_, err = w.Write(disk)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			_, err = n.do(n.create(ContentDisk, mode), sendBytes(image.Bytes()))
			require.NoError(t, err)
			content, err := os.ReadFile(n.link())
			require.NoError(t, err)
			assert.True(t, bytes.Equal(disk, content[:len(disk)]))
			assert.Empty(t, bytes.Trim(content[len(disk):], "\x00"))
		})
	}
}

// A raw disk may begin with anything: its record says that it is raw.
func TestRawImageWithForeignMagicIsRaw(t *testing.T) {
	for _, magic := range []string{"\x1f\x8b\x08", "QFI\xfb", "\x28\xb5\x2f\xfd"} {
		n := newNode(t)
		_, err := n.do(n.create(ContentDisk, tarmode.RAW), sendBytes([]byte(magic+"rest of a disk")))
		require.NoError(t, err)
		content, err := os.ReadFile(n.link())
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(content), magic))
	}
}

func TestCreateFromExtents(t *testing.T) {
	n := newNode(t)
	source := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(source, []byte("begin"), 0o600))
	f, err := os.OpenFile(source, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("end"), 4<<20)
	require.NoError(t, err)
	_, err = n.do(n.create(ContentExtents, tarmode.RAW), Transfer{Send: func(w io.Writer) error {
		_, err := tarmode.SendExtents(context.Background(), w, f, 4<<20+3, func(int64) {})
		return err
	}})
	require.NoError(t, err)
	content, err := os.ReadFile(n.link())
	require.NoError(t, err)
	assert.Equal(t, "begin", string(content[:5]))
	assert.Equal(t, "end", string(content[4<<20:4<<20+3]))
	assert.Empty(t, bytes.Trim(content[5:4<<20], "\x00"))
}

func TestBadContentLeavesNothing(t *testing.T) {
	cases := []struct {
		name     string
		q        func(*node) Request
		transfer Transfer
		want     error
		text     string
	}{
		{"image larger than the volume", func(n *node) Request { return n.create(ContentDisk, tarmode.RAW) },
			sendBytes(bytes.Repeat([]byte("x"), 9<<20)), tarmode.ErrTooLarge, ""},
		{"empty gzip", func(n *node) Request { return n.create(ContentDisk, tarmode.GZIP) }, sendBytes(nil), tarmode.ErrTruncated, "empty"},
		{"not gzip", func(n *node) Request { return n.create(ContentDisk, tarmode.GZIP) }, sendBytes([]byte("plain text, no magic")), tarmode.ErrFormat, ""},
		{"source fails", func(n *node) Request { return n.create(ContentDisk, tarmode.RAW) },
			Transfer{Send: func(io.Writer) error { return errors.New("image file is gone") }}, nil, "image file is gone"},
		{"volume larger than the group", func(n *node) Request { q := n.create(ContentNone, ""); q.Size = 1 << 50; return q }, Transfer{}, lvm.ErrNoSpace, ""},
		{"mkfs fails", func(n *node) Request {
			q := n.create(ContentFS, "")
			q.FSType, q.Size = "xfs", 8<<20 // xfs wants more
			return q
		}, Transfer{}, nil, "mkfs.xfs"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			_, err := n.do(c.q(n), c.transfer)
			require.Error(t, err)
			if c.want != nil {
				assert.ErrorIs(t, err, c.want)
			}
			assert.ErrorContains(t, err, c.text)
			assert.Empty(t, n.group.names())
			_, err = os.Lstat(filepath.Join(n.base, "101/42/disk.0"))
			assert.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}

func TestCleanUpThatFailsIsReported(t *testing.T) {
	n := newNode(t)
	n.group.fail["remove lv-onedel"] = lvm.ErrLocked
	_, err := n.do(n.create(ContentDisk, tarmode.GZIP), sendBytes([]byte("no gzip at all, really")))
	require.ErrorContains(t, err, "a GZIP image starts with")
	assert.ErrorContains(t, err, "stays in quarantine")
}

func TestCreateAgain(t *testing.T) {
	ours := []string{"one", "vm=42", "disk=0", "ds=101"}
	cases := []struct {
		name    string
		volume  string
		tags    []string
		open    bool
		wantErr error
	}{
		{"an interrupted attempt is replaced", "lv-one-42-0", append(ours, "building"), false, nil},
		{"a finished attempt of the same prolog is replaced", "lv-one-42-0", ours, false, nil},
		{"a half-removed one is removed first", "lv-onedel-00112233aabb", append(ours, "quarantine"), false, nil},
		{"a disk in use is not touched", "lv-one-42-0", ours, true, lvm.ErrInUse},
		{"a parked disk is not touched", "lv-one-42-0", append(ours, "parked"), false, lvm.ErrExists},
		{"a volume without our tags is not touched", "lv-one-42-0", nil, false, lvm.ErrExists},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			n.group.put(t, c.volume, "old", c.tags...)
			n.group.open[c.volume] = c.open
			_, err := n.do(n.create(ContentNone, ""), Transfer{})
			if c.wantErr != nil {
				assert.ErrorIs(t, err, c.wantErr)
				assert.Equal(t, []string{c.volume}, n.group.names())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{"lv-one-42-0"}, n.group.names())
		})
	}
}

func TestRemoveDisk(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "secret", "one", "vm=42", "disk=0", "ds=101")
	n.group.put(t, "lv-one-42-1", "", "one", "vm=42", "disk=1", "ds=101")
	n.group.put(t, "lv-one-421-0", "", "one", "vm=421", "disk=0", "ds=101")
	path := n.group.volumes["lv-one-42-0"].Path
	require.NoError(t, os.MkdirAll(filepath.Join(n.base, "101/42"), 0o755))
	require.NoError(t, os.Symlink(path, filepath.Join(n.base, "101/42/disk.0")))
	_, err := n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{"lv-one-42-1", "lv-one-421-0"}, n.group.names())
	assert.NoFileExists(t, filepath.Join(n.base, "101/42/disk.0"))
	_, err = n.do(n.request(OpRemove), Transfer{})
	assert.NoError(t, err, "what is gone is gone")
}

func TestRemoveHomeTakesEveryDiskOfExactlyThisVM(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "ds=101")
	n.group.put(t, "lv-onedel-0011223344aa", "", "one", "vm=42", "disk=1", "quarantine")
	n.group.put(t, "lv-one-4-2", "", "one", "vm=4", "disk=2", "ds=101")
	n.group.put(t, "lv-oneimg-7", "", "one", "vm=42", "image=7")
	home := filepath.Join(n.base, "101/42")
	require.NoError(t, os.MkdirAll(home, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "deployment.0"), nil, 0o600))
	q := n.request(OpRemove)
	q.Disk = AllDisks
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{"lv-one-4-2", "lv-oneimg-7"}, n.group.names())
	assert.NoDirExists(t, home)
}

func TestRemoveRefuses(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "ds=101")
	n.group.open["lv-one-42-0"] = true
	_, err := n.do(n.request(OpRemove), Transfer{})
	assert.ErrorIs(t, err, lvm.ErrInUse)
	n = newNode(t)
	n.group.put(t, "lv-one-42-0", "of another tool")
	_, err = n.do(n.request(OpRemove), Transfer{})
	assert.ErrorContains(t, err, "does not carry its tags")
	assert.Equal(t, []string{"lv-one-42-0"}, n.group.names())
}

// Without a lock manager nothing tells whether a node that is lost still uses the disks.
func TestTakeOverNeedsALockManager(t *testing.T) {
	for _, c := range []struct {
		name, manager string
		tags          []string
		want          error
	}{
		{"none", "none", nil, lvm.ErrLocked},
		{"none, parked", "none", []string{"parked"}, nil},
		{"dlm", "dlm", nil, nil},
	} {
		n := newNode(t)
		n.group.manager = c.manager
		n.group.put(t, "lv-one-42-0", "", append(c.tags, "one", "vm=42", "disk=0", "ds=101")...)
		q := n.request(OpRemove)
		q.TakeOver = "node2"
		_, err := n.do(q, Transfer{})
		require.ErrorIs(t, err, c.want, c.name)
		if c.want != nil {
			assert.ErrorContains(t, err, "onehost offline node2")
			assert.Equal(t, []string{"lv-one-42-0"}, n.group.names())
		}
	}
}

func TestFailingReportIsNotAbsence(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "ds=101")
	n.group.fail["report"] = errors.New("device gone")
	_, err := n.do(n.request(OpRemove), Transfer{})
	assert.ErrorContains(t, err, "device gone")
}

// TestWipeFailureKeepsQuarantine: blocks that could not be wiped are not handed out.
func TestWipeFailureKeepsQuarantine(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "secret", "one", "vm=42", "disk=0", "ds=101")
	n.group.after = func(op, _ string) {
		if op == "rename" { // the device breaks before it is wiped
			for _, v := range n.group.volumes {
				require.NoError(t, os.Remove(v.Path))
			}
		}
	}
	_, err := n.do(n.request(OpRemove), Transfer{})
	require.ErrorContains(t, err, "stays in quarantine")
	names := n.group.names()
	require.Len(t, names, 1)
	assert.True(t, n.group.volumes[names[0]].Tags.Has("quarantine", "vm=42", "disk=0"))
	n.group.after = func(string, string) {}
	require.NoError(t, os.WriteFile(n.group.volumes[names[0]].Path, make([]byte, extent), 0o600))
	_, err = n.do(n.request(OpRemove), Transfer{})
	assert.NoError(t, err, "a later removal tries again")
	assert.Empty(t, n.group.names())
}

func TestSaveKeepsTheContent(t *testing.T) {
	for _, mode := range []tarmode.Mode{tarmode.RAW, tarmode.GZIP, tarmode.ZSTD} {
		t.Run(string(mode), func(t *testing.T) {
			n := newNode(t)
			n.group.put(t, "lv-one-42-0", "the disk's data", "one", "vm=42", "disk=0", "ds=101")
			n.group.volumes["lv-one-42-0"].Mode = lvm.Off
			content := n.save(t, mode)
			require.Len(t, content, extent)
			assert.True(t, strings.HasPrefix(string(content), "the disk's data"))
			assert.Equal(t, lvm.Off, n.group.volumes["lv-one-42-0"].Mode, "as it was found")
		})
	}
}

// save saves disk 0 and returns the disk's bytes.
func (n *node) save(t *testing.T, mode tarmode.Mode) []byte {
	q := n.request(OpSave)
	q.Mode = mode
	var payload bytes.Buffer
	var start Start
	_, err := n.do(q, Transfer{Receive: func(s Start) (io.Writer, error) { start = s; return &payload, nil }})
	require.NoError(t, err)
	assert.Equal(t, mode, start.Mode)
	if start.Extents {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		require.NoError(t, err)
		defer out.Close()
		size, _, err := tarmode.ReceiveExtents(context.Background(), &payload, out, start.Size, func(int64) {})
		require.NoError(t, err)
		require.NoError(t, out.Truncate(size))
		content, err := os.ReadFile(out.Name())
		require.NoError(t, err)
		return content
	}
	plain, err := tarmode.Decompress(&payload, mode)
	require.NoError(t, err)
	content, err := io.ReadAll(plain)
	require.NoError(t, err)
	return content
}

func TestSaveAndRemoveWaitsForTheReceiver(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "data", "one", "vm=42", "disk=0", "ds=101")
	q := n.request(OpSave)
	q.Mode, q.Remove = tarmode.RAW, true
	receive := func(Start) (io.Writer, error) { return io.Discard, nil }
	_, err := n.do(q, Transfer{Receive: receive, Received: func(Start) error { return errors.New("no space left on the front-end") }})
	require.ErrorContains(t, err, "no space left on the front-end")
	assert.Equal(t, []string{"lv-one-42-0"}, n.group.names(), "not removed before it is safe")
	received := false
	_, err = n.do(q, Transfer{Receive: receive, Received: func(Start) error {
		received = true
		assert.Equal(t, []string{"lv-one-42-0"}, n.group.names())
		return nil
	}})
	require.NoError(t, err)
	assert.True(t, received)
	assert.Empty(t, n.group.names())
}

func TestSaveOfWhatIsNotThere(t *testing.T) {
	n := newNode(t)
	q := n.request(OpSave)
	q.Mode = tarmode.RAW
	_, err := n.do(q, Transfer{})
	assert.ErrorIs(t, err, lvm.ErrNotFound)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "building")
	_, err = n.do(q, Transfer{})
	assert.ErrorContains(t, err, "never completed")
}

func TestSaveMode(t *testing.T) {
	cases := []struct {
		want        tarmode.Mode
		fstype      string
		allow, open bool
		mode        tarmode.Mode
		granted     bool
	}{
		{tarmode.TGZ, "ext4", true, false, tarmode.TGZ, true},
		{tarmode.TZST, "xfs", true, false, tarmode.TZST, true},
		{tarmode.TGZ, "ext4", false, false, tarmode.GZIP, false},
		{tarmode.TGZ, "ext4", true, true, tarmode.GZIP, false},
		{tarmode.TZST, "", true, false, tarmode.ZSTD, false},
		{tarmode.TGZ, "swap", true, false, tarmode.GZIP, false},
		{tarmode.RAW, "ext4", false, true, tarmode.RAW, true},
	}
	for _, c := range cases {
		mode, why := saveMode(c.want, c.fstype, c.allow, c.open)
		assert.Equal(t, c.mode, mode, "%+v", c)
		assert.Equal(t, c.granted, why == "", "%+v: %s", c, why)
	}
}

func TestActivateParkAndBack(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "ds=101")
	n.group.put(t, "lv-one-42-1", "", "one", "vm=42", "disk=1", "ds=101")
	park := n.request(OpPark)
	park.Disk = AllDisks
	_, err := n.do(park, Transfer{})
	require.NoError(t, err)
	for _, v := range n.group.volumes {
		assert.Equal(t, lvm.Off, v.Mode)
		assert.Contains(t, v.Tags, "parked")
	}
	resume := n.request(OpActivate)
	resume.Activate, resume.Link = lvm.Exclusive, true
	_, err = n.do(resume, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Exclusive, n.group.volumes["lv-one-42-0"].Mode)
	assert.NotContains(t, n.group.volumes["lv-one-42-0"].Tags, "parked")
	assert.Equal(t, n.group.volumes["lv-one-42-0"].Path, n.link())
	assert.Equal(t, lvm.Off, n.group.volumes["lv-one-42-1"].Mode, "only the disk that was asked for")
	n.group.open["lv-one-42-0"] = true
	_, err = n.do(park, Transfer{})
	assert.ErrorIs(t, err, lvm.ErrInUse)
}

// A crash between growing and zeroing leaves the tag, and the same verb goes on.
// Nobody reads, or gets, old bytes that a RESIZE which was cut off has left; a VM that has
// the disk open may have written there.
func TestPutFile(t *testing.T) {
	n := newNode(t)
	q := n.request(OpFile)
	q.File = "disk.4"
	_, err := n.do(q, sendBytes([]byte("an ISO image")))
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(n.base, "101/42/disk.4"))
	require.NoError(t, err)
	assert.Equal(t, "an ISO image", string(content))
}

func TestMonitorAndVolumes(t *testing.T) {
	n := newNode(t)
	n.group.put(t, "lv-one-42-0", "", "one", "vm=42", "disk=0", "ds=101")
	res, err := n.do(n.request(OpMonitor), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, int64(4<<30), res.Info.Size)
	res, err = n.do(n.request(OpVolumes), Transfer{})
	require.NoError(t, err)
	require.Len(t, res.Volumes, 1)
	assert.Equal(t, "lv-one-42-0", res.Volumes[0].Name)
	assert.Equal(t, int64(4<<30), res.Info.Size)
}
