//go:build embedded

package embedded

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/audit"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

func (s *site) audit(argv ...string) testbed.Result {
	s.Helper()
	result, err := s.machine.RunAsOneadmin(s.Context(), append([]string{program, "audit"}, argv...)...)
	require.NoError(s, err)
	return result
}

// found is what an audit finds: kind, object, and what it says.
func (s *site) found() map[string]audit.Finding {
	s.Helper()
	result := s.audit("--datastore", strconv.Itoa(fakeoned.SystemDS), "--json")
	require.Contains(s, []int{0, 1}, result.Status, result.Stderr)
	var list []audit.Finding
	require.NoError(s, json.Unmarshal([]byte(result.Stdout), &list))
	all := map[string]audit.Finding{}
	for _, f := range list {
		all[string(f.Kind)+" "+f.Object] = f
	}
	assert.Equal(s, len(list), len(all), result.Stdout)
	assert.Equal(s, len(list) > 0, result.Status == 1)
	return all
}

// runs gives the VM these disks, and lets it run.
func (s *site) runs(disks ...int) {
	vm := fakeoned.VM{ID: vmID, Name: "vm", Host: "node1", LCMState: 3}
	for _, n := range disks {
		vm.Disks = append(vm.Disks, fakeoned.VolatileDisk(n, "", 4))
	}
	s.oned.Put(fakeoned.VMs, vmID, vm.Document())
}

// damage does by hand what an audit is to find. The result is what it has to say, and
// whether --repair heals it.
func (s *site) damage(g lvm.Group) map[string]bool {
	s.Helper()
	create := func(name string, tags lvm.Tags) {
		_, err := g.Create(s.Context(), lvm.CreateRequest{Name: name, Size: 4 << 20, Tags: tags})
		require.NoError(s, err)
	}
	tag := func(disk int, tag string) {
		_, err := g.Tag(s.Context(), volume(disk), lvm.NewTags(tag), nil)
		require.NoError(s, err)
	}
	object := func(name string) string { return testbed.Group + "/" + name }
	link := func(disk int) string { return "node1:" + filepath.Clean(device(disk)) }

	require.NoError(s, os.Remove(device(1)))
	require.NoError(s, os.Remove(device(2)))
	require.NoError(s, os.Symlink("/etc/passwd", device(2)))
	require.NoError(s, os.Remove(device(3)))
	require.NoError(s, g.Remove(s.Context(), volume(3)))
	tag(4, lvm.TagParked)
	tag(5, "migrating=node1:node2:1234567890")
	_, err := g.Activate(s.Context(), volume(6), lvm.Off)
	require.NoError(s, err)
	tag(7, "reverting=3")
	create("lv-one-99-0", lvm.DiskTags(99, 0, fakeoned.SystemDS))
	create("lv-one-42-70", nil)
	create("lv-one-42-71", lvm.DiskTags(vmID, 71, fakeoned.SystemDS).With(lvm.TagBuilding, "op=00112233"))
	create("lv-one-42-72", lvm.DiskTags(44, 0, fakeoned.SystemDS))
	create("lv-onedel-00112233aabb", lvm.NewTags("one", "quarantine"))
	create("lv-oneimg-8", lvm.DiskTags(97, 0, fakeoned.SystemDS).With("image=8"))
	create("lv-oneimg-9", lvm.NewTags("one", "image=9"))
	s.oned.Put(fakeoned.Images, 8, fakeoned.Image{ID: 8, Name: "lent", Source: "lv-oneimg-8"}.Document())
	create("lv-one-43-0", lvm.DiskTags(43, 0, fakeoned.SystemDS))
	s.oned.Put(fakeoned.VMs, 43, fakeoned.VM{ID: 43, Name: "stopped", Host: "node1", State: 4, LCMState: 0, Disks: []fakeoned.Disk{fakeoned.VolatileDisk(0, "", 4)}}.Document())
	left := filepath.Join(testbed.DatastorePath(fakeoned.SystemDS), "98")
	require.NoError(s, os.MkdirAll(left, 0o755))
	require.NoError(s, os.WriteFile(left+"/deployment.0", nil, 0o644))

	return map[string]bool{
		"link " + link(1):                                true,
		"link " + link(2):                                true,
		"missing VM 42 disk 3":                           false,
		"parked " + object(volume(4)):                    true,
		"window " + object(volume(5)):                    true,
		"inactive " + object(volume(6)):                  true,
		"half " + object(volume(7)):                      false,
		"orphan " + object("lv-one-99-0"):                false,
		"foreign " + object("lv-one-42-70"):              false,
		"unfinished " + object("lv-one-42-71"):           true,
		"tags " + object("lv-one-42-72"):                 false,
		"quarantine " + object("lv-onedel-00112233aabb"): true,
		"lent " + object("lv-oneimg-8"):                  true,
		"orphan " + object("lv-oneimg-9"):                false,
		"parked " + object("lv-one-43-0"):                true,
		"home node1:" + left:                             false,
	}
}

// Damage done by hand is found, all of it; --repair heals what it says and nothing else.
func TestAuditFindsAndRepairs(t *testing.T) {
	s := start(t, testbed.Options{})
	disks := []int{0, 1, 2, 3, 4, 5, 6, 7}
	s.runs(disks...)
	for _, n := range disks {
		s.ok("mkimage", append([]string{"4", "raw", at("node1", n)}, ofSystem...)...)
	}
	assert.Empty(t, s.found())
	result := s.audit("--node", "node1")
	assert.Zero(t, result.Status, result.Stderr)
	assert.Equal(t, "everything is as it should be\n", result.Stdout)

	g := s.group()
	want := s.damage(g)
	before := s.volumes()
	found := s.found()
	for what, repaired := range want {
		f, ok := found[what]
		if assert.True(t, ok, "%s is not found", what) {
			assert.Equal(t, repaired, len(f.Fixes) > 0, what)
			assert.NotEmpty(t, f.Repair)
		}
	}
	assert.Len(t, found, len(want), "%v", found)
	assert.Equal(t, before, s.volumes(), "looking changes nothing")
	result = s.audit("--repair")
	assert.Equal(t, 2, result.Status, "nobody to ask")

	result = s.audit("--repair", "--yes", "--datastore", strconv.Itoa(fakeoned.SystemDS))
	assert.Equal(t, 1, result.Status, "what needs a person is left: %s", result.Stderr)
	t.Log(result.Stdout)
	left := s.found()
	for what, repaired := range want {
		_, still := left[what]
		assert.Equal(t, !repaired, still, what)
	}
	assert.Len(t, left, 7, "%v", left)
	s.onlyRepaired(before)

	s.repairByHand(g, left)
	assert.Empty(t, s.found())
	s.deleteHome()
	s.ok("delete", "node1:"+fmt.Sprintf("%s//datastores/%d/43", testbed.Home, fakeoned.SystemDS), "43", strconv.Itoa(fakeoned.SystemDS))
	require.NoError(t, g.Remove(t.Context(), "lv-oneimg-8"))
}

// onlyRepaired: but for what was to be repaired, the volumes are what they were.
func (s *site) onlyRepaired(before []lvm.Volume) {
	s.Helper()
	now := map[string]lvm.Volume{}
	for _, v := range s.volumes() {
		now[v.Name] = v
	}
	for _, v := range before {
		after, there := now[v.Name]
		switch v.Name {
		case "lv-one-42-71", "lv-onedel-00112233aabb":
			assert.False(s, there, v.Name)
			continue
		case volume(4), volume(5):
			v.Tags = lvm.DiskTags(vmID, id(v), fakeoned.SystemDS)
			after.Tags = after.Tags.Without("op=" + after.Tags.Get(lvm.TagOp))
		case volume(6):
			v.Mode = lvm.Exclusive
		case "lv-oneimg-8":
			v.Tags, v.Mode = lvm.NewTags("one", "image=8"), lvm.Off
		case "lv-one-43-0":
			v.Tags, v.Mode = v.Tags.With(lvm.TagParked), lvm.Off
		}
		assert.Equal(s, v, after)
	}
	for _, n := range []int{1, 2, 4, 5, 6} {
		target, err := os.Readlink(device(n))
		assert.NoError(s, err)
		assert.Equal(s, now[volume(n)].Path, target)
	}
}

func id(v lvm.Volume) int {
	n, _ := strconv.Atoi(v.Tags.Get(lvm.TagDisk))
	return n
}

// repairByHand does what the findings say, as far as that is a command.
func (s *site) repairByHand(g lvm.Group, found map[string]audit.Finding) {
	s.Helper()
	for what, f := range found {
		switch {
		case strings.HasPrefix(f.Repair, "tm-clvm delete "):
			s.ok("delete", strings.Fields(f.Repair)[2:]...)
		case f.Kind == audit.Half:
			_, err := g.Tag(s.Context(), volume(7), nil, lvm.NewTags("reverting=3"))
			require.NoError(s, err)
		case slices.Contains([]audit.Kind{audit.Foreign, audit.Tags, audit.Orphan}, f.Kind):
			require.NoError(s, g.Remove(s.Context(), strings.TrimPrefix(f.Object, testbed.Group+"/")))
		default:
			assert.Equal(s, "missing VM 42 disk 3", what)
		}
	}
	s.runs(0, 1, 2, 4, 5, 6, 7)
}

// A node that does not answer is said, and is no clean audit.
func TestAuditThatCannotLook(t *testing.T) {
	s := start(t, testbed.Options{})
	s.oned.Put(fakeoned.Hosts, 2, fakeoned.Host(2, "node3", 3))
	defer s.oned.Remove(fakeoned.Hosts, 2)
	result := s.audit()
	assert.Equal(t, 2, result.Status)
	assert.Contains(t, result.Stderr, "node3: oned cannot reach it")
	result = s.audit("--node", "nosuchnode")
	assert.Equal(t, 2, result.Status)
	assert.Contains(t, result.Stderr, "no node has answered")
	result = s.audit("--datastore", "12345")
	assert.Equal(t, 2, result.Status)
}
