//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/lvm/filevg"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// A system datastore of fs_lvm, whose volume group is named by its id.
const (
	fsLVM      = 105
	fsLVMGroup = "vg-one-105"
	restingVM  = 43
	deletedVM  = 99
)

// layOut makes what fs_lvm leaves: volumes without tags, links in a home; VM 42 runs, VM 43 is
// undeployed, VM 99 is gone and has left a volume. The result is the volumes.
func (s *site) layOut() (lvm.Group, []lvm.Volume) {
	s.Helper()
	driver := strings.NewReplacer("[clvm]", "[fs_lvm]", "<ID>101</ID>", "<ID>105</ID>", "datastores/101", "datastores/105")
	s.oned.Put(fakeoned.Datastores, fsLVM, driver.Replace(fakeoned.SystemDatastore(nil)))
	disks := []fakeoned.Disk{fakeoned.VolatileDisk(0, "", 8), fakeoned.VolatileDisk(1, "", 8)}
	running := fakeoned.VM{ID: vmID, Name: "vm", Host: "node1", DS: fsLVM, LCMState: 3, Disks: disks}
	resting := fakeoned.VM{ID: restingVM, Name: "rests", Host: "node1", DS: fsLVM, State: 9, Disks: disks[:1]}
	for _, vm := range []fakeoned.VM{running, resting} {
		s.oned.Put(fakeoned.VMs, vm.ID, driver.Replace(vm.Document()))
	}
	s.root(program, "vg", "create", fsLVMGroup, "--size", "64M")
	dir := testbed.DatastorePath(fsLVM)
	home := fmt.Sprintf("%s/%d", dir, vmID)
	require.NoError(s, os.MkdirAll(home, 0o777))
	g := must(s.T, filevg.Open, filepath.Join(testbed.GroupsDirectory(), fsLVMGroup))
	for _, name := range []string{volume(0), volume(1), "lv-one-43-0", "lv-one-99-0"} {
		v, err := g.Create(s.Context(), lvm.CreateRequest{Name: name, Size: 8 << 20})
		require.NoError(s, err)
		require.NoError(s, os.WriteFile(v.Path, []byte("content of "+name), 0))
		if strings.HasPrefix(name, "lv-one-42-") {
			require.NoError(s, os.Symlink(v.Path, filepath.Join(home, "disk."+name[len("lv-one-42-"):])))
			continue
		}
		_, err = g.Activate(s.Context(), name, lvm.Off)
		require.NoError(s, err)
	}
	s.root("chown", "-hR", "oneadmin:", dir)
	s.Cleanup(func() {
		s.root(program, "vg", "destroy", fsLVMGroup)
		assert.NoError(s, os.RemoveAll(dir))
		s.oned.Remove(fakeoned.VMs, restingVM)
		s.oned.Remove(fakeoned.VMs, vmID)
	})
	volumes, err := g.Volumes(s.Context())
	require.NoError(s, err)
	return g, volumes
}

// person runs a command of the administrator's; its exit status must be this.
func (s *site) person(status int, argv ...string) string {
	s.Helper()
	result, err := s.machine.RunAsOneadmin(s.Context(), append([]string{program}, argv...)...)
	require.NoError(s, err)
	require.Equal(s, status, result.Status, "%v: %s%s", argv, result.Stdout, result.Stderr)
	return result.Stdout + result.Stderr
}

// A volume group of fs_lvm is adopted and given back, whatever is killed on the way; nothing but
// tags changes, and what was adopted the suite's verbs work with.
func TestAdoption(t *testing.T) {
	s := start(t, testbed.Options{
		Build: testbed.Failpoints, AgentEnv: map[string]string{"ONE_CLVM_FAILPOINTS": failpointDirectory},
		Agent: map[string]string{"ALLOWED_VGS": testbed.Group + " " + fsLVMGroup},
	})
	require.NoError(t, os.RemoveAll(failpointDirectory))
	require.NoError(t, os.Mkdir(failpointDirectory, 0o777))
	require.NoError(t, os.Chmod(failpointDirectory, 0o777))
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(failpointDirectory)) })
	g, before := s.layOut()
	now := func() []lvm.Volume {
		volumes, err := g.Volumes(t.Context())
		require.NoError(t, err)
		return volumes
	}
	// tagged: these volumes are the suite's, all else is as it was.
	tagged := func(names ...string) {
		t.Helper()
		want := map[string]lvm.Tags{
			volume(0): lvm.DiskTags(vmID, 0, fsLVM), volume(1): lvm.DiskTags(vmID, 1, fsLVM), "lv-one-43-0": lvm.DiskTags(restingVM, 0, fsLVM).With(lvm.TagParked),
		}
		for i, v := range now() {
			expected := before[i]
			for _, name := range names {
				if name == v.Name {
					expected.Tags = want[name]
				}
			}
			if len(expected.Tags) == 0 && len(v.Tags) == 0 {
				expected.Tags = v.Tags
			}
			assert.Equal(t, expected, v)
		}
	}

	look := s.person(1, "trial", fsLVMGroup)
	assert.Contains(t, look, "lv-one-99-0")
	assert.Contains(t, look, "has no lock manager")
	assert.Contains(t, look, "VM 42 on node1")
	assert.Contains(t, look, "besides zeroes:\n")
	look = s.person(1, "adopt", fsLVMGroup)
	assert.Contains(t, look, "3 volumes can be adopted")
	assert.Contains(t, look, "oned has no VM 99")
	tagged()
	look = s.person(1, "trial", fsLVMGroup, "--vm", strconv.Itoa(vmID), "--yes")
	assert.Contains(t, look, volume(1)+": released")
	tagged()
	s.killAt("adopt.tagged", 1, testbed.Command{Argv: []string{program, "trial", fsLVMGroup, "--vm", strconv.Itoa(vmID), "--yes"}})
	tagged(volume(0), volume(1))
	giveBack := []string{"release", fsLVMGroup, "--vm", strconv.Itoa(vmID), "--yes"}
	assert.Contains(t, s.person(1, "trial", fsLVMGroup, "--vm", strconv.Itoa(vmID), "--yes"), "tm-clvm "+strings.Join(giveBack, " ")+" gives them back")
	s.person(0, giveBack...)
	tagged()

	adopt := testbed.Command{Argv: []string{program, "adopt", fsLVMGroup, "--yes"}}
	release := testbed.Command{Argv: []string{program, "release", fsLVMGroup, "--yes"}}
	s.killAt("adopt.named", 0, adopt)
	assert.Contains(t, s.oned.Document(fakeoned.Datastores, fsLVM), "<VG_NAME><![CDATA["+fsLVMGroup+"]]>")
	tagged()
	s.killAt("adopt.tagged", 0, adopt)
	tagged(volume(0))
	s.killAt("adopt.tagged", 0, adopt)
	tagged(volume(0), volume(1))
	s.person(1, "adopt", fsLVMGroup, "--yes") // 1: VM 99's volume
	tagged(volume(0), volume(1), "lv-one-43-0")
	assert.Contains(t, s.person(1, "adopt", fsLVMGroup, "--yes"), "adopted")
	tagged(volume(0), volume(1), "lv-one-43-0")

	s.killAt("release.untagged", 1, release)
	tagged("lv-one-43-0")
	s.person(0, "release", fsLVMGroup, "--yes")
	tagged()

	s.person(1, "adopt", fsLVMGroup, "--yes")
	s.ok("resize", diskIn("node1", fsLVM, 0), "16", strconv.Itoa(vmID), strconv.Itoa(fsLVM))
	grown := now()[0]
	assert.Equal(t, int64(16<<20), grown.Size)
	content, err := os.ReadFile(grown.Path)
	require.NoError(t, err)
	assert.Equal(t, "content of "+volume(0), string(content[:len("content of "+volume(0))]))
	s.deleteHomeIn(fsLVM)
	for _, name := range []string{"lv-one-43-0", "lv-one-99-0"} {
		require.NoError(t, g.Remove(t.Context(), name))
	}
	assert.Empty(t, now())
}
