package tm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

const (
	otherHome = "/var/lib/one//datastores/102/0"
	across    = "mv node1:" + home + "/disk.0 node2:" + otherHome + "/disk.0 0 100"
)

// twoDatastores has system datastore 102 in another volume group, and disk 0 in the first.
func twoDatastores(t *testing.T) *bench {
	b := newBench(t)
	b.oned.datastores[102] = &opennebula.Datastore{ID: 102, Template: map[string]string{"VG_NAME": "vg-two"}}
	disk := lvm.Volume{Name: "lv-one-0-0", Size: 1 << 30, Tags: lvm.DiskTags(0, 0, 101).With("fs=ext4")}
	b.nodes.volumes = map[string][]lvm.Volume{"vg-one": {{Name: "lv-one-1-0", Tags: lvm.DiskTags(1, 0, 101)}, disk}}
	b.nodes.digest = map[string]string{"node1": "0123456789abcdef", "node2": "0123456789abcdef"}
	b.nodes.reply[agent.OpSave] = []byte("the extents")
	return b
}

func TestMoveToAnotherVolumeGroup(t *testing.T) {
	b := twoDatastores(t)
	require.NoError(t, b.call(across))
	asked := b.nodes.asked
	require.Len(t, asked, 8)
	assert.Equal(t, "node1 volumes disk 0", asked[0])
	assert.ElementsMatch(t, []string{"node1 save disk 0", "node2 monitor disk 0", "node2 create disk 0"}, asked[1:4])
	assert.ElementsMatch(t, []string{"node1 digest disk 0", "node2 digest disk 0"}, asked[4:6])
	assert.Equal(t, []string{"node2 publish disk 0", "node1 remove disk 0"}, asked[6:], "published when it is the same, removed last")
	assert.Equal(t, "the extents", string(b.nodes.sent["create"]))
	create := b.nodes.reqs[slices.IndexFunc(b.nodes.reqs, func(q agent.Request) bool { return q.Op == agent.OpCreate })]
	assert.True(t, create.Hold)
	assert.Equal(t, "vg-two", create.Group)
	assert.Equal(t, 102, create.DS)
	assert.Equal(t, int64(1<<30), create.Size)
	assert.Equal(t, "ext4", create.FSType)
	remove := b.nodes.reqs[7]
	assert.Equal(t, "vg-one", remove.Group)
	assert.Equal(t, "/var/lib/one/datastores/101/0", remove.Home)
}

func TestMoveComparesBeforeRemovingTheSource(t *testing.T) {
	b := twoDatastores(t)
	b.nodes.digest["node2"] = "fedcba9876543210"
	require.ErrorContains(t, b.call(across), "stays where it was")
	assert.Equal(t, "node2 remove disk 0", b.nodes.asked[len(b.nodes.asked)-1], "only the copy")
	assert.NotContains(t, b.nodes.asked, "node1 remove disk 0")
	assert.NotContains(t, b.nodes.asked, "node2 publish disk 0")
	for _, op := range []string{"node1 save", "node2 create", "node1 digest", "node2 digest", "node2 publish"} {
		b := twoDatastores(t)
		b.nodes.fail[op] = agent.ErrStream
		require.ErrorIs(t, b.call(across), agent.ErrStream, op)
		assert.NotContains(t, b.nodes.asked, "node1 remove disk 0", op)
	}
}

// What a backup or a save has left of a disk is in nobody's way.
func TestMoveOfADiskWithATemporarySnapshot(t *testing.T) {
	b := twoDatastores(t)
	left := lvm.Volume{Name: "lv-one-0-0_s2147483647", Origin: "lv-one-0-0", Tags: lvm.DiskTags(0, 0, 101).With("snapshot=2147483647", "saving")}
	b.nodes.volumes["vg-one"] = append(b.nodes.volumes["vg-one"], left)
	require.NoError(t, b.call(across))
	b.nodes.volumes["vg-one"][2].Tags = left.Tags.Without("saving")
	require.ErrorIs(t, b.call(across), lvm.ErrSnapshots)
}

// A MV that was interrupted after the old disk was removed is run again.
func TestMoveAgainFindsTheDiskMoved(t *testing.T) {
	b := twoDatastores(t)
	b.nodes.volumes["vg-two"], b.nodes.volumes["vg-one"] = b.nodes.volumes["vg-one"][1:], nil
	require.NoError(t, b.call(across))
	assert.Equal(t, []string{"node1 volumes disk 0", "node2 volumes disk 0", "node2 activate disk 0 exclusive", "node1 remove disk 0"}, b.nodes.asked, "what is left of the old disk, if anything, goes")
	b.nodes.volumes["vg-two"][0].Tags = b.nodes.volumes["vg-two"][0].Tags.With("building")
	assert.ErrorIs(t, b.call(across), lvm.ErrNotFound, "a copy is not the disk")
	b.nodes.fail["node1 volumes"] = errors.New("device gone")
	assert.ErrorContains(t, b.call(across), "device gone", "a failing report is not absence")
}

func TestSnapshotsDoNotMoveToAnotherVolumeGroup(t *testing.T) {
	b := twoDatastores(t)
	b.nodes.volumes["vg-one"] = append(b.nodes.volumes["vg-one"], lvm.Volume{Name: "lv-one-0-0_s0", Origin: "lv-one-0-0", Tags: lvm.DiskTags(0, 0, 101).With("snapshot=0")})
	require.ErrorIs(t, b.call(across), lvm.ErrSnapshots)
	assert.Len(t, b.nodes.asked, 1)
}

func TestMoveWithinAVolumeGroup(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{across, []string{"node1 activate disk 0 off", "node2 activate disk 0 exclusive"}},
		{"mv node1:" + home + "/disk.0 node1:" + otherHome + "/disk.0 0 100", []string{"node1 activate disk 0 exclusive"}},
		{"mv frontend:" + home + "/disk.0 node2:" + otherHome + "/disk.0 0 100", []string{"node2 activate disk 0 exclusive"}},
		{"mv node1:" + home + " node2:" + otherHome + " 0 102", []string{"node2 movehome disk -1"}},
	} {
		b := twoDatastores(t)
		b.oned.datastores[102].Template["VG_NAME"] = "vg-one"
		require.NoError(t, b.call(c.line))
		assert.Equal(t, c.want, b.nodes.asked)
		last := b.nodes.reqs[len(b.nodes.reqs)-1]
		assert.Equal(t, 102, last.DS)
		assert.Equal(t, "/var/lib/one/datastores/102/0", last.Home)
		if len(b.nodes.reqs) == 2 {
			assert.Equal(t, "/var/lib/one/datastores/101/0", b.nodes.reqs[0].Home, "locked like every other verb there")
		}
	}
	b := twoDatastores(t)
	require.NoError(t, b.call("mv node1:"+home+" node2:"+otherHome+" 0 102"))
	q := b.nodes.reqs[0]
	assert.Equal(t, "/var/lib/one/datastores/101/0", q.OldHome)
	assert.Equal(t, 101, q.OldDS)
	assert.Empty(t, q.Group)
}

func TestMoveFromADeadNodeToAnotherVolumeGroup(t *testing.T) {
	b := twoDatastores(t)
	b.oned.hosts[0].State = opennebula.HostError
	b.nodes.digest = map[string]string{"node2": "0123456789abcdef"}
	require.NoError(t, b.call(across))
	for i, q := range b.nodes.reqs {
		assert.Contains(t, b.nodes.asked[i], "node2 ")
		if q.Group == "vg-one" && q.Op != agent.OpVolumes {
			assert.Equal(t, "node1", q.TakeOver, q.Op)
		}
	}
}

// TestMovesInOppositeDirections: in single-writer mode a copy has the turns of both groups, or
// has not begun. With one of them it could wait for a move that has the other and waits for it.
func TestMovesInOppositeDirections(t *testing.T) {
	text := "LOCK_DIR=" + t.TempDir() + "\nSTATE_DIR=" + t.TempDir() + "\nSINGLE_WRITER=True\nLOCK_TIMEOUT="
	setUp := func(timeout string) *bench {
		b := twoDatastores(t)
		cfg, err := cxmrc.Parse(strings.NewReader(text+timeout), "cxmrc", cxmrc.Driver)
		require.NoError(t, err)
		b.Config = cfg
		return b
	}
	for _, group := range []string{"vg-one", "vg-two"} {
		b := setUp("1")
		release, err := b.TakeTurns(t.Context(), agent.Request{Group: group, SingleWriter: true})
		require.NoError(t, err)
		require.ErrorIs(t, b.call(across), agent.ErrBusy, group)
		release()
		assert.Equal(t, []string{"node1 volumes disk 0"}, b.nodes.asked, group)
	}

	there, back := setUp("60"), setUp("60")
	back.nodes.volumes["vg-two"], back.nodes.volumes["vg-one"] = back.nodes.volumes["vg-one"][1:], nil
	var both errgroup.Group
	both.Go(func() error { return there.call(across) })
	both.Go(func() error { return back.call("mv node2:" + otherHome + "/disk.0 node1:" + home + "/disk.0 0 100") })
	require.NoError(t, both.Wait())
	assert.Contains(t, there.nodes.asked, "node2 create disk 0")
	assert.Contains(t, back.nodes.asked, "node1 create disk 0")
}
