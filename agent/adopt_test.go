package agent

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// ofFSLVM is a node with a disk of VM 42 that fs_lvm has made; a tag of the administrator's is on
// it.
func ofFSLVM(t *testing.T) *node {
	n := newNode(t)
	n.group.put(t, disk0, "content", "tier1")
	return n
}

func (n *node) adoption(op Op) Request {
	q := n.request(op)
	q.Disk, q.Size = 0, 1
	return q
}

// There and back, twice each: nothing but tags changes.
func TestAdoptAndRelease(t *testing.T) {
	n := ofFSLVM(t)
	before := *n.group.volumes[disk0]
	for range 2 {
		_, err := n.do(n.adoption(OpAdopt), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, lvm.DiskTags(42, 0, 101).With("tier1"), n.group.volumes[disk0].Tags)
	}
	for range 2 {
		_, err := n.do(n.adoption(OpRelease), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, before, *n.group.volumes[disk0])
	}
	assert.Equal(t, "content", n.content(disk0)[:len("content")])
	var changes []string
	for _, call := range n.group.calls[1:] { // the first made the volume
		if call != "report " {
			changes = append(changes, call)
		}
	}
	assert.Equal(t, []string{"tag " + disk0, "tag " + disk0}, changes)
}

func TestAdoptOfARestingVM(t *testing.T) {
	n := ofFSLVM(t)
	n.group.volumes[disk0].Mode = lvm.Off
	q := n.adoption(OpAdopt)
	q.Rests = true
	_, err := n.do(q, Transfer{})
	require.NoError(t, err)
	assert.True(t, n.group.volumes[disk0].Tags.Has(lvm.TagParked))
	assert.Equal(t, lvm.Off, n.group.volumes[disk0].Mode)
	_, err = n.do(n.adoption(OpRelease), Transfer{})
	require.NoError(t, err)
	assert.Equal(t, lvm.NewTags("tier1"), n.group.volumes[disk0].Tags)
}

func TestAdoptRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*node, *Request)
		want string
	}{
		"another VM's tags":   {func(n *node, _ *Request) { n.group.volumes[disk0].Tags = lvm.DiskTags(43, 0, 101) }, "tm-clvm audit"},
		"half a set of tags":  {func(n *node, _ *Request) { n.group.volumes[disk0].Tags = lvm.NewTags("vm=42") }, "tm-clvm audit"},
		"smaller than oned's": {func(_ *node, q *Request) { q.Size = 1 << 40 }, "find out which is right"},
		"a snapshot of it":    {func(n *node, _ *Request) { n.group.put(t, disk0+"_s1", "") }, "snapshots"},
		"a snapshot itself":   {func(n *node, _ *Request) { n.group.volumes[disk0].Origin = "x" }, "snapshots"},
		"another such disk":   {func(n *node, _ *Request) { n.group.put(t, "other", "", lvm.DiskTags(42, 0, 101)...) }, "another volume"},
		"not there":           {func(n *node, _ *Request) { delete(n.group.volumes, disk0) }, "not found"},
		"no size":             {func(_ *node, q *Request) { q.Size = 0 }, "size of 0"},
		"all disks":           {func(_ *node, q *Request) { q.Disk = AllDisks }, "one disk"},
	} {
		n := ofFSLVM(t)
		q := n.adoption(OpAdopt)
		c.edit(n, &q)
		_, err := n.do(q, Transfer{})
		require.ErrorContains(t, err, c.want, name)
		assert.NotContains(t, n.group.calls, "tag "+disk0, name)
	}
}

func TestReleaseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*node)
		want string
	}{
		"never completed":   {func(n *node) { n.tag(lvm.TagBuilding) }, "building"},
		"half reverted":     {func(n *node) { n.tag("reverting=3") }, "reverting=3"},
		"migrating":         {func(n *node) { n.tag("migrating=a:b:1") }, "migrating"},
		"clone of an image": {func(n *node) { n.tag("clone=7") }, "clone=7"},
		"snapshots":         {func(n *node) { n.group.put(t, disk0+"_s1", "") }, "snapshots"},
		"another VM's":      {func(n *node) { n.group.volumes[disk0].Tags = lvm.DiskTags(43, 0, 101) }, "not tagged as"},
		"not there":         {func(n *node) { delete(n.group.volumes, disk0) }, "not found"},
	} {
		n := ofFSLVM(t)
		n.group.volumes[disk0].Tags = lvm.DiskTags(42, 0, 101)
		c.edit(n)
		_, err := n.do(n.adoption(OpRelease), Transfer{})
		require.ErrorContains(t, err, c.want, name)
		assert.NotContains(t, n.group.calls, "tag "+disk0, name)
	}
}

func (n *node) tag(tag string) {
	n.group.volumes[disk0].Tags = n.group.volumes[disk0].Tags.With(tag)
}
