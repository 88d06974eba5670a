//go:build embedded

package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// Two more system datastores: one in the same volume group, one in a group of its own.
const (
	sameGroupDS  = 102
	otherGroupDS = 103
	otherGroup   = "vg-two"
)

// bothGroups lets the agents work in both volume groups.
var bothGroups = map[string]string{"ALLOWED_VGS": testbed.Group + " " + otherGroup}

// moreDatastores makes them, until the test ends.
func (s *site) moreDatastores() {
	s.Helper()
	for id, group := range map[int]string{sameGroupDS: testbed.Group, otherGroupDS: otherGroup} {
		document := fakeoned.SystemDatastore(map[string]string{"VG_NAME": group})
		document = strings.NewReplacer("<ID>101</ID>", fmt.Sprintf("<ID>%d</ID>", id), "datastores/101", fmt.Sprintf("datastores/%d", id)).Replace(document)
		s.oned.Put(fakeoned.Datastores, id, document)
		require.NoError(s, os.MkdirAll(testbed.DatastorePath(id), 0o755))
	}
	s.root(program, "vg", "create", otherGroup, "--size", "1T")
	s.Cleanup(func() {
		s.root(program, "vg", "destroy", otherGroup)
		for _, id := range []int{sameGroupDS, otherGroupDS} {
			assert.NoError(s, os.RemoveAll(testbed.DatastorePath(id)))
		}
	})
}

// homeIn is the VM's home in a system datastore, diskIn a disk there.
func homeIn(host string, ds int) string {
	return fmt.Sprintf("%s:%s//datastores/%d/%d", host, testbed.Home, ds, vmID)
}

func diskIn(host string, ds, disk int) string {
	return fmt.Sprintf("%s/disk.%d", homeIn(host, ds), disk)
}

func (s *site) deleteHomeIn(ds int) {
	s.Helper()
	s.ok("delete", homeIn("node1", ds), strconv.Itoa(vmID), strconv.Itoa(ds))
	assert.False(s, exists(fmt.Sprintf("%s/%d", testbed.DatastorePath(ds), vmID)))
}

// volumesOf are the volumes of a group, but for the bystander.
func (s *site) volumesOf(group string) []lvm.Volume {
	s.Helper()
	var out []lvm.Volume
	result, err := s.machine.Run(context.WithoutCancel(s.Context()), testbed.Command{Argv: []string{program, "volumes", "--vg", group, "--json"}, Root: true})
	require.NoError(s, err)
	require.Less(s, result.Status, 2, result.Stderr) // 1: some are not as they should be
	require.NoError(s, json.Unmarshal([]byte(result.Stdout), &out))
	return slices.DeleteFunc(out, func(v lvm.Volume) bool { return s.bystander != nil && v.Name == bystanderName })
}

// isIn: the disk is complete, active and linked in that datastore, and nowhere else.
func (s *site) isIn(group string, ds, disk int) {
	s.Helper()
	for _, g := range []string{testbed.Group, otherGroup} {
		volumes := s.volumesOf(g)
		if g != group {
			assert.Empty(s, volumes)
			continue
		}
		require.Len(s, volumes, 1)
		v := volumes[0]
		assert.True(s, v.Tags.Has("one", lvm.KeyTag("vm", vmID), lvm.KeyTag("disk", disk), lvm.KeyTag("ds", ds), "fs=ext4"), "tags %q", v.Tags)
		assert.False(s, v.Tags.Has(lvm.TagBuilding))
		assert.Equal(s, lvm.Exclusive, v.Mode)
		target, err := os.Readlink(fmt.Sprintf("%s/%d/disk.%d", testbed.DatastorePath(ds), vmID, disk))
		require.NoError(s, err)
		assert.Equal(s, v.Path, target)
	}
}

// There and back between system datastores, in one volume group and in two.
func TestMoveBetweenSystemDatastores(t *testing.T) {
	s := start(t, testbed.Options{Agent: bothGroups})
	s.moreDatastores()
	image := s.tarImage(7, "64M", nil)
	tree := smallTree(t)
	s.pack(tree, image)
	s.vm(fakeoned.CloneDisk(0, image, 0))
	s.clone(image, 0)
	copied := t.TempDir() + "/copy"
	s.root("dd", "if="+device(0), "of="+copied, "bs=1M", "status=none")
	require.NoError(t, os.WriteFile(home+"/checkpoint", []byte("memory"), 0o600))
	at, group := fakeoned.SystemDS, testbed.Group
	for _, to := range []struct {
		ds    int
		group string
	}{{sameGroupDS, testbed.Group}, {otherGroupDS, otherGroup}, {fakeoned.SystemDS, testbed.Group}} {
		move := append([]string{diskIn("node1", at, 0), diskIn("node2", to.ds, 0)}, ofImage...)
		directory := []string{homeIn("node1", at), homeIn("node2", to.ds), strconv.Itoa(vmID), strconv.Itoa(to.ds)}
		before := s.volumesOf(group)
		s.ok("mv", append(move, "--dry-run")...)
		assert.Equal(t, before, s.volumesOf(group))
		for range 2 { // run again, it finds all done
			s.ok("mv", move...)
			s.isIn(to.group, to.ds, 0)
		}
		for range 2 {
			s.ok("mv", directory...)
			content, err := os.ReadFile(fmt.Sprintf("%s/%d/checkpoint", testbed.DatastorePath(to.ds), vmID))
			require.NoError(t, err)
			assert.Equal(t, "memory", string(content))
			assert.False(t, exists(fmt.Sprintf("%s/%d", testbed.DatastorePath(at), vmID)))
		}
		s.isIn(to.group, to.ds, 0)
		s.root("cmp", copied, fmt.Sprintf("%s/%d/disk.0", testbed.DatastorePath(to.ds), vmID))
		at, group = to.ds, to.group
	}
	s.deleteDisk(0)
	s.deleteHome()
}

// What cannot move stays where it was.
func TestMoveToAnotherVolumeGroupThatFails(t *testing.T) {
	s := start(t, testbed.Options{Agent: bothGroups})
	s.moreDatastores()
	s.volatile()
	move := append([]string{diskIn("node1", fakeoned.SystemDS, 0), diskIn("node2", otherGroupDS, 0)}, ofSystem...)
	held, err := os.Open(device(0))
	require.NoError(t, err)
	s.fails([]string{volume(0), "in use"}, "mv", move...)
	require.NoError(t, held.Close())
	s.complete(0, lvm.Exclusive)
	assert.Empty(t, s.volumesOf(otherGroup))
	s.ok("snap_create", ofSnapshot("node1", 0, 0)...)
	s.fails([]string{"snapshots", "delete them first"}, "mv", move...)
	s.ok("snap_delete", ofSnapshot("node1", 0, 0)...)
	s.settings(nil, nil) // only the first group is allowed
	s.fails([]string{otherGroup, "not allowed"}, "mv", move...)
	s.complete(0, lvm.Exclusive)
	s.deleteDisk(0)
	s.fails([]string{volume(0), "not found"}, "mv", append([]string{diskIn("node1", sameGroupDS, 0), diskIn("node2", fakeoned.SystemDS, 0)}, ofSystem...)...)
}
