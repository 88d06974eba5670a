package agent

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/tarmode"
)

func (n *node) snapClone(vm, disk int) Request {
	q := n.create(ContentSnapshot, "")
	q.Image, q.Space, q.Size = &Image{Group: "vg-one", ID: 7}, 50, 1
	return n.as(q, vm, disk)
}

// as makes it another VM's request.
func (n *node) as(q Request, vm, disk int) Request {
	q.VM, q.Disk, q.Home = vm, disk, filepath.Join(n.base, "101", strconv.Itoa(vm))
	return q
}

// snapCloned is a node with disk 0 of VM 42, a snapshot of image 7.
func snapCloned(t *testing.T) *node {
	n := imaged(t)
	_, err := n.do(n.snapClone(42, 0), Transfer{})
	require.NoError(t, err)
	return n
}

func (n *node) mode(name string) lvm.Mode { return n.group.volumes[name].Mode }

func TestCloneBySnapshot(t *testing.T) {
	n := snapCloned(t)
	v := n.group.volumes[disk0]
	assert.Equal(t, image7, v.Origin)
	assert.Equal(t, lvm.NewTags("one", "vm=42", "disk=0", "ds=101", "clone=7", "fs=xfs", "op=0123456789ab"), v.Tags)
	assert.False(t, v.IsSnapshot(), "it is a disk")
	assert.Equal(t, v.Path, n.link())
	assert.InDelta(t, extent/2, n.group.space[disk0], 100, "half of it for changes")
	assert.Equal(t, lvm.Exclusive, n.mode(image7))
	_, err := n.do(n.snapClone(42, 0), Transfer{})
	require.NoError(t, err, "oned repeats a prolog")
	assert.Equal(t, []string{disk0, image7}, n.group.names())
}

// One that is larger than its image cannot be a snapshot of it.
func TestCloneBySnapshotOfAnotherSize(t *testing.T) {
	n := imaged(t)
	q := n.snapClone(42, 0)
	q.Size = 2 * extent
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	v := n.group.volumes[disk0]
	assert.Empty(t, v.Origin)
	assert.EqualValues(t, 2*extent, v.Size)
	assert.Equal(t, lvm.Off, n.mode(image7))
	require.NotEmpty(t, n.logs)
	assert.Contains(t, logText(n.logs), "it becomes a copy")
}

func logText(lines []LogLine) string {
	text := ""
	for _, l := range lines {
		text += l.Text + "\n"
	}
	return text
}

// The image is active as long as a disk that is a snapshot of it may be in use.
func TestImageIsActiveWithItsClones(t *testing.T) {
	n := snapCloned(t)
	_, err := n.do(n.snapClone(43, 5), Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.request(OpPark), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Exclusive, n.mode(image7), "VM 43 may run")
	assert.True(t, n.group.volumes[disk0].Tags.Has("parked"))
	_, err = n.do(n.as(n.request(OpPark), 43, 5), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, n.mode(image7))
	_, err = n.do(n.activation(lvm.Exclusive), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Exclusive, n.mode(image7))
	_, err = n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, n.mode(image7), "VM 43 is parked")
	assert.Equal(t, []string{"lv-one-43-5", image7}, n.group.names())
	assert.NotContains(t, n.group.tags, lvm.TagClean)
}

func (n *node) activation(mode lvm.Mode) Request {
	q := n.request(OpActivate)
	q.Activate, q.Link = mode, mode != lvm.Off
	if mode == lvm.Shared {
		q.Window = &Window{"node1", "node2", 60}
	}
	return q
}

// Two disks of one VM leave a node one after the other; those of another VM keep both there.
func TestClonesLeaveANodeTogether(t *testing.T) {
	n := snapCloned(t)
	_, err := n.do(n.snapClone(42, 1), Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.snapClone(43, 0), Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.activation(lvm.Off), Transfer{})
	require.ErrorIs(t, err, lvm.ErrSnapshots)
	require.ErrorContains(t, err, "disk 0 of VM 43: stop or end these VMs")
	assert.Equal(t, lvm.Exclusive, n.mode(image7))
	_, err = n.do(n.as(n.request(OpRemove), 43, 0), Transfer{})
	require.NoError(t, err)
	for disk := range 2 {
		_, err = n.do(n.as(n.activation(lvm.Off), 42, disk), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, lvm.Off, n.mode(image7))
	}
}

// A parked disk that a verb reads keeps the image active for that verb.
func TestImageIsActiveForAParkedCloneThatIsRead(t *testing.T) {
	n := snapCloned(t)
	_, err := n.do(n.snapClone(43, 0), Transfer{})
	require.NoError(t, err)
	for _, vm := range []int{42, 43} {
		_, err = n.do(n.as(n.request(OpPark), vm, 0), Transfer{})
		require.NoError(t, err)
	}
	_, err = n.group.Activate(t.Context(), image7, lvm.Exclusive)
	require.NoError(t, err)
	n.group.open[disk0] = true
	_, err = n.do(n.as(n.request(OpRemove), 43, 0), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{disk0, image7}, n.group.names())
	assert.Equal(t, lvm.Exclusive, n.mode(image7))
}

// A disk that is taken from a VM leaves the VM its other one.
func TestCloneIsDetached(t *testing.T) {
	n := snapCloned(t)
	_, err := n.do(n.snapClone(42, 1), Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.request(OpRemove), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, []string{"lv-one-42-1", image7}, n.group.names())
	assert.Equal(t, lvm.Exclusive, n.mode("lv-one-42-1"))
}

func TestCloneRefuses(t *testing.T) {
	extend := func(n *node) Request { q := n.request(OpExtend); q.Size = 2 * extent; return q }
	for name, c := range map[string]struct {
		q    func(*node) Request
		want string
	}{
		"migration": {func(n *node) Request { return n.activation(lvm.Shared) }, "no live migration of VM 42"},
		"snapshot":  {func(n *node) Request { return n.ofSnapshot(OpSnapshot, 0) }, "no snapshot can be taken of it"},
		"extend":    {extend, "size of its image for good"},
		"backup": {func(n *node) Request {
			q := n.request(OpBackup)
			q.Disk, q.Disks, q.Space = AllDisks, []int{0}, 100
			n.group.open[disk0] = true
			return q
		}, "back it up powered off"},
	} {
		n := snapCloned(t)
		_, err := n.do(c.q(n), sendBytes([]byte("<VM/>")))
		require.ErrorIs(t, err, lvm.ErrSnapshots, name)
		assert.ErrorContains(t, err, c.want, name)
		assert.ErrorContains(t, err, "CLONE=snapshot", name)
		assert.Equal(t, lvm.Exclusive, n.mode(image7), name)
	}
}

// An image is what all its snapshots are made of: it stays, and stays as it is.
func TestImageWithClonesRefuses(t *testing.T) {
	n := snapCloned(t)
	drop := n.ofImageAlone(OpDropImage, 0, false)
	drop.Snapshot = nil
	for _, q := range []Request{drop, n.ofImageAlone(OpRevertImage, 0, false), n.as(n.ofImage(OpLink), 43, 0)} {
		_, err := n.do(q, Transfer{})
		require.ErrorIs(t, err, lvm.ErrInUse, q.Op)
		assert.ErrorContains(t, err, "disk 0 of VM 42", q.Op)
	}
	n.group.put(t, "lv-one-43-0", "", "one", "vm=43", "disk=0", "ds=101")
	_, err := n.do(n.as(n.ofImage(OpStore), 43, 0), Transfer{})
	require.ErrorIs(t, err, lvm.ErrSnapshots)
	assert.Equal(t, "an image", n.content(image7))
	assert.Equal(t, "an image", n.content(disk0))
}

// Another node has the image, with the disks of other VMs.
func TestCloneElsewhere(t *testing.T) {
	n := snapCloned(t)
	n.group.fail["activate exclusive "+image7] = lvm.ErrLocked
	_, err := n.do(n.snapClone(43, 0), Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.ErrorContains(t, err, "disk 0 of VM 42")
	assert.ErrorContains(t, err, "CLONE=copy")
	assert.NotContains(t, n.group.names(), "lv-one-43-0")
	assert.NoDirExists(t, filepath.Join(n.base, "101/43"))

	n = imaged(t)
	n.group.fail["activate exclusive "+image7] = lvm.ErrLocked
	_, err = n.do(n.snapClone(43, 0), Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.ErrorContains(t, err, "lvchange -an vg-one/"+image7+" there")
}

func TestCloneIsSaved(t *testing.T) {
	n := snapCloned(t)
	require.NoError(t, os.WriteFile(n.group.volumes[disk0].Path, append([]byte("changed"), make([]byte, extent-7)...), 0o600))
	_, err := n.do(n.request(OpPark), Transfer{})
	require.NoError(t, err)
	q := n.request(OpSave)
	q.Mode = tarmode.GZIP
	var payload bytes.Buffer
	_, err = n.do(q, Transfer{Receive: func(Start) (io.Writer, error) { return &payload, nil }})
	require.NoError(t, err)
	plain, err := tarmode.Decompress(&payload, tarmode.GZIP)
	require.NoError(t, err)
	content, err := io.ReadAll(plain)
	require.NoError(t, err)
	assert.Equal(t, "changed", string(content[:7]))
	assert.Equal(t, lvm.Off, n.mode(image7))
	store := n.ofImage(OpStore)
	store.Image = &Image{Group: "vg-one", ID: 8}
	_, err = n.do(store, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "changed", n.content("lv-oneimg-8"))
	assert.Equal(t, lvm.Off, n.mode(image7))
}

func TestCloneThatFailsLeavesNothing(t *testing.T) {
	n := imaged(t)
	n.group.fail["tag "+disk0] = lvm.ErrLocked
	_, err := n.do(n.snapClone(42, 0), Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.Equal(t, []string{image7}, n.group.names())
	assert.Equal(t, lvm.Off, n.mode(image7))
	assert.NoFileExists(t, filepath.Join(n.base, "101/42/disk.0"))
}

// The copy of an image of which disks are snapshots leaves them active.
func TestCopyOfAnImageWithClones(t *testing.T) {
	n := snapCloned(t)
	_, err := n.do(n.as(n.cloneOfImage(), 43, 0), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, "an image", n.content("lv-one-43-0"))
	assert.Equal(t, lvm.Exclusive, n.mode(disk0))
}

func TestCloneRequestsAreValidated(t *testing.T) {
	n := imaged(t)
	for want, edit := range map[string]func(*Request){
		"space of 0 percent": func(q *Request) { q.Space = 0 },
		"needs an image":     func(q *Request) { q.Image = nil },
		`content "snapshot"`: func(q *Request) { q.FSType = "ext4" },
		"give both datastores one VG_NAME": func(q *Request) {
			n.server.Config.Groups = []string{"vg-one", "vg-two"}
			q.Image.Group = "vg-two"
		},
	} {
		q := n.snapClone(42, 0)
		edit(&q)
		assert.ErrorContains(t, q.validate(&n.server.Config), want)
	}
}

// An agent that dies while it makes a disk of an image leaves the image active: the removal
// of that disk ends it, not that of another one.
func TestRemovalLeavesTheImageOfAVerbThatDied(t *testing.T) {
	for name, create := range map[string]func(n *node) Request{
		"copy":     (*node).cloneOfImage,
		"snapshot": func(n *node) Request { return n.snapClone(42, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			n := imaged(t)
			q := create(n)
			_, err := n.do(q, Transfer{})
			require.NoError(t, err)
			_, err = n.do(n.request(OpRemove), Transfer{})
			require.NoError(t, err)
			note := filepath.Join(n.server.Config.LockDir, "reading+"+lockName(q.Home)+"+0")
			assert.NoFileExists(t, note, "it did not die")

			require.NoError(t, os.WriteFile(note, []byte("vg-one "+image7), 0o600))
			_, err = n.group.Activate(t.Context(), image7, lvm.Exclusive)
			require.NoError(t, err)
			_, err = n.do(n.as(n.request(OpRemove), 42, 5), Transfer{})
			require.NoError(t, err)
			assert.Equal(t, lvm.Exclusive, n.mode(image7))
			_, err = n.do(n.request(OpRemove), Transfer{})
			require.NoError(t, err)
			assert.Equal(t, lvm.Off, n.mode(image7))
			assert.NoFileExists(t, note)
		})
	}
}
