package agent

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
)

// The names that the versions of gfs2clvm gave image 7.
var oldNames = []string{"lv-one-7", "lv-oneimg-d41d8cd98f00b204e9800998ecf8427e"}

// oldImage is a node with such an image, which has no tags.
func oldImage(t *testing.T, name string) *node {
	n := newNode(t)
	n.group.put(t, name, "an old image", "theirs")
	n.group.volumes[name].Mode = lvm.Off
	return n
}

func (n *node) ofOld(q Request, name string) Request {
	q.Image = &Image{Group: "vg-one", ID: 7, Volume: name}
	return q
}

func TestImagesOfGfs2clvm(t *testing.T) {
	for _, name := range oldNames {
		n := oldImage(t, name)
		_, err := n.do(n.ofOld(n.cloneOfImage(), name), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, "an old image", n.content(disk0))
		v := n.group.volumes[name]
		assert.Equal(t, lvm.NewTags("theirs"), v.Tags, "it was only read")
		assert.Equal(t, lvm.Off, v.Mode)

		_, err = n.do(n.request(OpRemove), Transfer{})
		require.NoError(t, err)
		_, err = n.do(n.ofOld(n.request(OpLink), name), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, lvm.NewTags("theirs", "one", "image=7", "vm=42", "disk=0", "ds=101"), v.Tags)
		assert.Equal(t, v.Path, n.link())
		_, err = n.do(n.ofSnapshot(OpSnapshot, 0), Transfer{})
		require.NoError(t, err)
		_, err = n.do(n.ofOld(n.request(OpUnlink), name), Transfer{})
		require.NoError(t, err)
		assert.Equal(t, lvm.NewTags("theirs", "one", "image=7"), v.Tags)

		revert := n.ofOld(n.ofImageAlone(OpRevertImage, 0, true), name)
		_, err = n.do(revert, Transfer{})
		require.NoError(t, err)
		assert.Equal(t, []string{name}, n.group.names())
	}
}

func TestRemoveImageOfGfs2clvm(t *testing.T) {
	for _, name := range oldNames {
		n := oldImage(t, name)
		n.group.before = func(op, _ string) {
			if op == "rename" {
				assert.True(t, n.group.volumes[name].Tags.Has("one", "image=7", "quarantine"), "it can be found in quarantine")
			}
		}
		q := n.ofOld(n.ofImageAlone(OpDropImage, 0, false), name)
		q.Snapshot = nil
		for range 2 {
			_, err := n.do(q, Transfer{})
			require.NoError(t, err)
			assert.Empty(t, n.group.names())
		}
	}
}

func TestOldNamesAreValidated(t *testing.T) {
	n := oldImage(t, oldNames[0])
	for _, name := range []string{"lv-one-8", "lv-oneimg-7", "lv-one-7-0", "lv-one-7-42-0", "lv-one-7_s1", "root", "lv-one-7/../x", "-f"} {
		q := n.ofOld(n.request(OpLink), name)
		assert.Error(t, q.validate(&n.server.Config), name)
	}
	q := n.ofOld(n.create(ContentNone, ""), "lv-one-7")
	q.Op, q.Home = OpMakeImage, ""
	assert.ErrorContains(t, q.validate(&n.server.Config), "is not volume", "no new image gets an old name")

	n.group.volumes[oldNames[0]].Tags = lvm.NewTags("one", "image=8")
	_, err := n.do(n.ofOld(n.request(OpLink), oldNames[0]), Transfer{})
	assert.ErrorContains(t, err, "does not carry its tags", "it is another image by now")
}
