//go:build lab

package agent

import (
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lab/cluster"
	"one-clvm/lvm"
)

func (l labNodes) ofImage(q Request) Request {
	q.Image = &Image{Group: cluster.Group, ID: 7}
	return q
}

func (l labNodes) ofImageAlone(op Op, number int) Request {
	return l.ofImage(Request{Op: op, Operation: "0123456789ab", Group: cluster.Group, Patience: 60, Snapshot: &number})
}

// imageLife makes an image of the disk, takes snapshots of it while a VM uses it in place, and
// brings it back; then disks are snapshots of it: what one node has, the other is refused.
func (l labNodes) imageLife() {
	l.Helper()
	create := l.request(OpCreate)
	create.Size, create.Content = 16<<20, ContentNone
	l.must(0, create, Transfer{})
	l.guest("first")
	store := l.ofImage(l.request(OpStore))
	store.Remove = true
	l.must(0, store, Transfer{})

	l.must(0, l.ofImage(l.request(OpLink)), Transfer{})
	l.must(0, l.ofSnapshot(OpSnapshot, 0), Transfer{})
	l.guest("second")
	l.must(0, l.ofSnapshot(OpSnapshot, 1), Transfer{})
	l.guest("third")
	l.must(0, l.ofImage(l.request(OpUnlink)), Transfer{})
	l.must(1, l.ofImageAlone(OpRevertImage, 1), Transfer{})
	l.must(0, l.ofImageAlone(OpDropImage, 1), Transfer{})
	flatten := l.ofImageAlone(OpRevertImage, 0)
	flatten.Remove = true
	l.must(1, flatten, Transfer{})
	assert.Equal(l, "lv-oneimg-7", strings.TrimSpace(l.cluster.Output(l.T, l.cluster.Nodes[0], "lvs", "--noheadings", "-o", "lv_name", "-S", "lv_name=~img-7", cluster.Group)))

	clone := l.ofImage(l.request(OpCreate))
	clone.Content, clone.Size, clone.Space = ContentSnapshot, 16<<20, wholeSpace
	l.must(0, clone, Transfer{})
	assert.Equal(l, "first", l.disk(0))
	l.guest("changed")
	other := clone
	other.VM, other.Home = 43, cluster.Home+"/43"
	_, err := l.do(1, other, Transfer{})
	require.ErrorIs(l, err, lvm.ErrLocked, "the image is the other node's")
	assert.ErrorContains(l, err, "disk 0 of VM 42")
	drop := l.ofImageAlone(OpDropImage, 0)
	drop.Snapshot = nil
	_, err = l.do(1, drop, Transfer{})
	require.ErrorIs(l, err, lvm.ErrInUse)
	l.must(0, other, Transfer{})
	off, on := l.request(OpActivate), l.request(OpActivate)
	on.Activate, on.Link = lvm.Exclusive, true
	_, err = l.do(0, off, Transfer{})
	require.ErrorIs(l, err, lvm.ErrSnapshots, "VM 43 may run")
	remove := l.request(OpRemove)
	remove.VM, remove.Home = 43, cluster.Home+"/43"
	l.must(0, remove, Transfer{})
	l.must(0, off, Transfer{})
	l.must(1, on, Transfer{})
	assert.Equal(l, "changed", l.disk(1))
	l.must(1, l.request(OpPark), Transfer{})
	l.must(0, on, Transfer{})
	l.must(0, l.request(OpRemove), Transfer{})
	l.must(1, drop, Transfer{})
	assert.Empty(l, strings.TrimSpace(l.cluster.Output(l.T, l.cluster.Nodes[0], "lvs", "--noheadings", "-o", "lv_name", "-S", "lv_name=~lv-one", cluster.Group)))
}
