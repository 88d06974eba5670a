package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

const image7 = "lv-oneimg-7"

// imaged is a node whose volume group has image 7, active nowhere.
func imaged(t *testing.T) *node {
	n := newNode(t)
	n.group.put(t, image7, "an image", "one", "image=7", "fs=xfs")
	n.group.volumes[image7].Mode = lvm.Off
	return n
}

func (n *node) ofImage(op Op) Request {
	q := n.request(op)
	q.Image = &Image{Group: "vg-one", ID: 7}
	return q
}

func (n *node) cloneOfImage() Request {
	q := n.create(ContentImage, "")
	q.Image = &Image{Group: "vg-one", ID: 7}
	return q
}

func TestCloneImageOnSAN(t *testing.T) {
	n := imaged(t)
	q := n.cloneOfImage()
	q.Size = 1 // never below the content
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	disk, image := n.group.volumes[disk0], n.group.volumes[image7]
	assert.Equal(t, "an image", n.content(disk0))
	assert.Equal(t, image.Size, disk.Size)
	assert.True(t, disk.Tags.Has("fs=xfs"))
	assert.Equal(t, disk.Path, n.link())
	assert.Equal(t, lvm.Off, image.Mode, "nobody reads it any more")
	assert.Contains(t, n.group.calls, "activate shared "+image7)
	assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs"), image.Tags)
}

// Another CLONE on this node still reads the image.
func TestCloneLeavesImageToOthers(t *testing.T) {
	n := imaged(t)
	n.group.volumes[image7].Mode = lvm.Shared
	n.group.open[image7] = true
	_, err := n.do(n.cloneOfImage(), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Shared, n.group.volumes[image7].Mode)
}

func TestImageRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*node)
		want string
	}{
		{"absent", func(n *node) { delete(n.group.volumes, image7) }, "not found"},
		{"not ours", func(n *node) { n.group.volumes[image7].Tags = nil }, "lvchange --addtag one --addtag image=7 vg-one/" + image7},
		{"another image", func(n *node) { n.group.volumes[image7].Tags = lvm.NewTags("one", "image=8") }, "does not carry its tags"},
		{"unfinished", func(n *node) { n.group.volumes[image7].Tags = lvm.NewTags("one", "image=7", "building") }, "never completed"},
		{"in use", func(n *node) { n.group.volumes[image7].Tags = lvm.NewTags("one", "image=7", "vm=43", "disk=5") }, "disk 5 of VM 43"},
		{"elsewhere", func(n *node) {
			n.group.fail["activate exclusive "+image7], n.group.fail["activate shared "+image7] = lvm.ErrLocked, lvm.ErrLocked
		}, "locked by another node"},
	} {
		for _, op := range []Op{OpCreate, OpLink} {
			n := imaged(t)
			c.edit(n)
			q := n.ofImage(op)
			if op == OpCreate {
				q = n.cloneOfImage()
			}
			_, err := n.do(q, Transfer{})
			require.ErrorContains(t, err, c.want, "%s %s", op, c.name)
			assert.NotContains(t, n.group.names(), disk0)
			assert.NoFileExists(t, filepath.Join(n.base, "101/42/disk.0"))
			if v := n.group.volumes[image7]; v != nil {
				assert.False(t, v.Tags.Has("vm=42"), "%s %s: %v", op, c.name, v.Tags)
			}
		}
	}
}

func TestLinkImageInPlace(t *testing.T) {
	n := imaged(t)
	for range 2 { // the second time is oned's repetition of a prolog
		res, err := n.do(n.ofImage(OpLink), Transfer{})
		require.NoError(t, err)
		v := n.group.volumes[image7]
		assert.Equal(t, v.Path, res.Path)
		assert.Equal(t, v.Path, n.link())
		assert.Equal(t, lvm.Exclusive, v.Mode)
		assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs", "vm=42", "disk=0", "ds=101"), v.Tags)
	}
	_, err := n.do(n.cloneOfImage(), Transfer{})
	require.ErrorIs(t, err, lvm.ErrExists, "the VM has a disk 0")
}

// A repetition that is refused leaves what the first one did.
func TestRefusedLinkKeepsTheUser(t *testing.T) {
	n := imaged(t)
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	want := n.group.volumes[image7].Tags
	n.group.fail["activate exclusive "+image7] = lvm.ErrLocked // another node has it
	_, err = n.do(n.ofImage(OpLink), Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.Equal(t, want, n.group.volumes[image7].Tags)
}

// The verbs on the VM's disks mean it, too.
func TestLentImageIsADisk(t *testing.T) {
	n := imaged(t)
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	v := n.group.volumes[image7]
	park := n.request(OpPark)
	park.Disk = AllDisks
	_, err = n.do(park, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Off, v.Mode)
	assert.True(t, v.Tags.Has("parked"))
	activate := n.request(OpActivate)
	activate.Activate, activate.Link = lvm.Exclusive, true
	_, err = n.do(activate, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.Exclusive, v.Mode)
	extend := n.request(OpExtend)
	extend.Size = 2 * v.Size
	_, err = n.do(extend, Transfer{})
	require.NoError(t, err)
	assert.Equal(t, extend.Size, v.Size)
}

func TestUnlinkImage(t *testing.T) {
	for name, q := range map[string]func(*node) Request{
		"unlink":      func(n *node) Request { return n.ofImage(OpUnlink) },
		"remove":      func(n *node) Request { return n.request(OpRemove) },
		"remove home": func(n *node) Request { q := n.request(OpRemove); q.Disk = AllDisks; return q },
	} {
		n := imaged(t)
		_, err := n.do(n.ofImage(OpLink), Transfer{})
		require.NoError(t, err)
		for range 2 {
			_, err = n.do(q(n), Transfer{})
			require.NoError(t, err, name)
			v := n.group.volumes[image7]
			require.NotNil(t, v, "%s: an image stays", name)
			assert.Equal(t, lvm.NewTags("one", "image=7", "fs=xfs"), v.Tags, name)
			assert.Equal(t, lvm.Off, v.Mode)
			assert.NoFileExists(t, filepath.Join(n.base, "101/42/disk.0"))
		}
		assert.Equal(t, "an image", n.content(image7), "%s: its content, too", name)
	}
}

func TestUnlinkRefuses(t *testing.T) {
	n := imaged(t)
	_, err := n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	other := n.ofImage(OpUnlink)
	other.Image = &Image{Group: "vg-one", ID: 8}
	_, err = n.do(other, Transfer{})
	require.ErrorContains(t, err, "is image 7, not 8")
	n.group.open[image7] = true
	_, err = n.do(n.ofImage(OpUnlink), Transfer{})
	require.ErrorIs(t, err, lvm.ErrInUse)
	assert.True(t, n.group.volumes[image7].Tags.Has("vm=42"))
}

func TestStoreImage(t *testing.T) {
	n := snapshotted(t)
	_, err := n.do(n.ofImage(OpStore), Transfer{})
	require.NoError(t, err)
	v := n.group.volumes[image7]
	assert.True(t, strings.HasPrefix(n.content(image7), "after"))
	assert.Equal(t, lvm.NewTags("one", "image=7", "fs=ext4", "op=0123456789ab", "data=20:AQ"), v.Tags)
	assert.Equal(t, lvm.Off, v.Mode, "any node may use it")
	assert.Equal(t, lvm.Exclusive, n.group.volumes[disk0].Mode)
	q := n.ofImage(OpStore)
	q.Snapshot, q.Image.ID = new(int), 8
	_, err = n.do(q, Transfer{})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(n.content("lv-oneimg-8"), "before"))
}

// The datastore driver has made the volume already, too small and with old data.
func TestStoreIntoVolume(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "the disk", "one", "vm=42", "disk=0", "ds=101")
	n.group.volumes[disk0].Size *= 2
	require.NoError(t, os.Truncate(n.group.volumes[disk0].Path, n.group.volumes[disk0].Size))
	n.group.put(t, image7, strings.Repeat("old", 100), "one", "image=7")
	n.group.volumes[image7].Mode = lvm.Off
	q := n.ofImage(OpStore)
	q.Remove = true
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	v := n.group.volumes[image7]
	assert.Equal(t, "the disk", n.content(image7))
	assert.EqualValues(t, 2*extent, v.Size)
	assert.False(t, v.Tags.Has("building"))
	assert.NotContains(t, n.group.names(), disk0, "it was to be removed")

	_, err = n.do(q, Transfer{})
	require.NoError(t, err, "the first answer was lost")
	other := q
	other.Disk = 1
	_, err = n.do(other, Transfer{})
	require.ErrorIs(t, err, lvm.ErrNotFound, "another disk's content is not in the image")
	_, err = n.do(n.ofImage(OpLink), Transfer{})
	require.NoError(t, err)
	_, err = n.do(n.ofImage(OpUnlink), Transfer{})
	require.NoError(t, err)
	_, err = n.do(q, Transfer{})
	require.ErrorIs(t, err, lvm.ErrNotFound, "somebody may have written to it")
}

// Another node still reads the image that is to be overwritten: it stays one.
func TestStoreIntoVolumeInUseElsewhere(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "the disk", "one", "vm=42", "disk=0", "ds=101")
	n.group.put(t, image7, "image", "one", "image=7")
	n.group.fail["activate exclusive "+image7] = lvm.ErrLocked
	_, err := n.do(n.ofImage(OpStore), Transfer{})
	require.ErrorIs(t, err, lvm.ErrLocked)
	assert.Equal(t, lvm.NewTags("one", "image=7"), n.group.volumes[image7].Tags)
	assert.Equal(t, "image", n.content(image7))
}

func TestStoreRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		tags  []string
		edit  func(*node)
		want  string
		after []string // volumes
	}{
		{"foreign", []string{"theirs"}, func(*node) {}, "was not made by this suite as image 7", []string{disk0, image7}},
		{"in use", []string{"one", "image=7", "vm=43"}, func(*node) {}, "in use", []string{disk0, image7}},
		{"no space", nil, func(n *node) { n.group.fail["create"] = lvm.ErrNoSpace }, "too little free space", []string{disk0}},
		{"no disk", nil, func(n *node) { delete(n.group.volumes, disk0) }, "not found", nil},
		{"cannot be read", nil, func(n *node) { _ = os.Remove(n.group.volumes[disk0].Path) }, "no such file", []string{disk0}},
	} {
		n := newNode(t)
		n.group.put(t, disk0, "the disk", "one", "vm=42", "disk=0", "ds=101")
		if c.tags != nil {
			n.group.put(t, image7, "image", c.tags...)
		}
		c.edit(n)
		_, err := n.do(n.ofImage(OpStore), Transfer{})
		require.ErrorContains(t, err, c.want, c.name)
		assert.Equal(t, c.after, n.group.names(), c.name)
	}
}

func TestImageRequestsAreValidated(t *testing.T) {
	n := imaged(t)
	for _, c := range []struct {
		q    Request
		want string
	}{
		{n.request(OpLink), "needs an image"},
		{n.create(ContentImage, ""), "needs an image"},
		{n.ofImage(OpRemove), "takes no image"},
		{func() Request { q := n.ofImage(OpLink); q.Image.ID = -1; return q }(), "image id -1"},
		{func() Request { q := n.ofImage(OpStore); q.Image.Group = "evil"; return q }(), `"evil" is not allowed`},
		{func() Request { q := n.ofImage(OpUnlink); q.Disk = AllDisks; return q }(), "needs one disk"},
	} {
		_, err := n.do(c.q, Transfer{})
		assert.ErrorContains(t, err, c.want)
	}
	n.server.Config.Groups = []string{"vg-one", "vg-two"}
	q := n.ofImage(OpLink)
	q.Image.Group = "vg-two"
	_, err := n.do(q, Transfer{})
	assert.ErrorContains(t, err, "give both datastores one VG_NAME")
}

// What is left of an image that could not be made is removed from the group it was in.
func TestStoreThatFailsClearsTheImagesGroup(t *testing.T) {
	n := newNode(t)
	n.group.put(t, disk0, "content", "one", "vm=42", "disk=0", "ds=101")
	images := newFileGroup(t)
	images.name = "vg-images"
	images.after = func(op, _ string) {
		if op == "create" {
			assert.NoError(t, os.Remove(n.group.volumes[disk0].Path)) // the disk cannot be read
		}
	}
	n.server.Config.Groups = append(n.server.Config.Groups, images.name)
	n.server.OpenGroup = func(name string) (lvm.Group, error) {
		return map[string]lvm.Group{"vg-one": n.group, images.name: images}[name], nil
	}
	q := n.ofImage(OpStore)
	q.Image.Group = images.name
	_, err := n.do(q, Transfer{})
	require.ErrorContains(t, err, "read volume "+disk0)
	assert.Empty(t, images.names())
	assert.Equal(t, []string{disk0}, n.group.names())
}
