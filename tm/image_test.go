package tm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
)

// The calls are those that oned 7.4 made (opennebula/testdata).
func TestImagesOnSAN(t *testing.T) {
	for _, c := range []struct {
		line   string
		asked  string
		op     agent.Op
		image  int
		remove bool
		space  int
	}{
		{"clone frontend:lv-oneimg-0 node1:" + home + "/disk.0 0 100", "node1 create disk 0", agent.OpCreate, 0, false, 0},
		{"ln frontend:lv-oneimg-1 node1:" + home + "/disk.1 0 100", "node1 link disk 1", agent.OpLink, 1, false, 0},
		{"cpds node2:" + home + "/disk.0 lv-oneimg-4 -1 0 100", "node2 store disk 0", agent.OpStore, 4, false, 100},
		{"mvds node2:" + home + "/disk.1 lv-oneimg-1 0 100", "node2 unlink disk 1", agent.OpUnlink, 1, false, 0},
		{"mvds node2:" + home + "/disk.0 lv-oneimg-9 0 100", "node2 store disk 0", agent.OpStore, 9, true, 0},
	} {
		b := newBench(t)
		b.oned.datastores[100].Template["VG_NAME"] = "vg-images"
		require.NoError(t, b.call(c.line), c.line)
		assert.Equal(t, []string{c.asked}, b.nodes.asked, "one connection, and no data through the front-end")
		q := b.nodes.reqs[0]
		assert.Equal(t, c.op, q.Op)
		assert.Equal(t, "vg-one", q.Group, "the system datastore's")
		assert.Equal(t, &agent.Image{Group: "vg-images", ID: c.image}, q.Image)
		assert.Equal(t, c.remove, q.Remove)
		assert.Equal(t, c.space, q.Space)
	}
}

func TestCloneOnSANSizes(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.call("clone frontend:lv-oneimg-0 node1:"+home+"/disk.0 0 100"))
	assert.Equal(t, agent.ContentImage, b.nodes.reqs[0].Content)
	assert.EqualValues(t, 2<<30, b.nodes.reqs[0].Size, "enlarged by the user: 2048 of 1024 MiB")

	b = newBench(t)
	b.oned.vm.Disks[0].Size, b.oned.vm.Disks[0].OriginalSize = 0, 0
	b.oned.images[0] = &opennebula.Image{Size: 1024}
	require.NoError(t, b.call("clone frontend:lv-oneimg-0 node1:"+home+"/disk.0 0 100"))
	assert.EqualValues(t, 1<<30, b.nodes.reqs[0].Size, "3.x: only the image's record tells it")
}

// Images of gfs2clvm are volumes, whatever their SOURCE looks like.
func TestSourcesOfGfs2clvm(t *testing.T) {
	const hash = "d41d8cd98f00b204e9800998ecf8427e"
	for source, volume := range map[string]string{
		"node1.example.org:vg-one.lv-one-0": "lv-one-0", "frontend:vg-one/lv-oneimg-0": "", "frontend:/dev/vg-one/lv-oneimg-0": "",
		"frontend:/var/lib/one/images/" + hash: "lv-oneimg-" + hash, "frontend:/dev/mapper/vg--one-lv--oneimg--" + hash: "lv-oneimg-" + hash,
	} {
		for _, verb := range []string{"clone", "ln"} {
			b := newBench(t)
			b.oned.datastores[100].Template["VG_NAME"] = "vg-one"
			require.NoError(t, b.call(verb+" "+source+" node1:"+home+"/disk.0 0 100"), source)
			assert.Equal(t, &agent.Image{Group: "vg-one", ID: 0, Volume: volume}, b.nodes.reqs[0].Image, source)
		}
	}
	b := newBench(t)
	b.oned.datastores[100].DSMAD = "fs"
	err := b.call("clone frontend:/var/lib/one/images/" + hash + " node1:" + home + "/disk.0 0 100")
	require.ErrorContains(t, err, "no such file", "OpenNebula's own repository has files of such names")
}

// The image's datastore asks for snapshots instead of copies. The plan says what that costs.
func TestCloneBySnapshotOnSAN(t *testing.T) {
	b := newBench(t)
	b.oned.datastores[100].Template["VG_NAME"], b.oned.datastores[100].Template["CLONE"] = "vg-one", "snapshot"
	b.oned.datastores[100].Template["SNAPSHOT_SPACE"] = "40"
	line := "clone frontend:lv-oneimg-0 node1:" + home + "/disk.0 0 100"
	require.NoError(t, b.call(line))
	q := b.nodes.reqs[0]
	assert.Equal(t, agent.ContentSnapshot, q.Content)
	assert.Equal(t, 40, q.Space)
	assert.Equal(t, 0, q.Image.ID)
	b.DryRun = true
	require.NoError(t, b.call(line))
	assert.Contains(t, b.stdout.String(), "a snapshot of image 0 in vg-one")
	assert.Contains(t, b.stdout.String(), "no live migration of the VM")
	b.oned.datastores[100].Template["CLONE"] = "link"
	require.ErrorIs(t, b.call(line), cxmrc.ErrValue)
}

// oned keeps the snapshots of a persistent image, or drops them when the VM ends.
func TestSnapshotsOfAPersistentImage(t *testing.T) {
	for word, remove := range map[string]bool{"": false, "YES": false, "NO": true} {
		b := newBench(t)
		disk, err := b.oned.vm.Disk(1)
		require.NoError(t, err)
		disk.Attrs["PERSISTENT_SNAPSHOTS"] = word
		require.NoError(t, b.call("mvds node2:"+home+"/disk.1 lv-oneimg-1 0 100"))
		assert.Equal(t, agent.OpUnlink, b.nodes.reqs[0].Op)
		assert.Equal(t, remove, b.nodes.reqs[0].Remove, word)
	}
}

func TestSaveOfASnapshotOnSAN(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.call("cpds node1:"+home+"/disk.0 lv-oneimg-6 1 0 100"))
	assert.Equal(t, 1, *b.nodes.reqs[0].Snapshot)
}

func TestNoImageOnSAN(t *testing.T) {
	for _, source := range []string{"lv-one-7-0", "lv-oneimg-7_s1", "lv-oneimg-x", "other-lv"} {
		for _, line := range []string{
			"clone frontend:" + source + " node1:" + home + "/disk.0 0 100", "ln frontend:" + source + " node1:" + home + "/disk.0 0 100",
			"cpds node1:" + home + "/disk.0 " + source + " -1 0 100", "mvds node1:" + home + "/disk.0 " + source + " 0 100",
		} {
			b := newBench(t)
			assert.ErrorIs(t, b.call(line), ErrNotYet, line)
			assert.Empty(t, b.nodes.asked)
		}
	}
}
