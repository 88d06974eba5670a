package adoption

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent"
	"one-clvm/audit"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

const group = "vg-one-100"

func volumeOf(name string, mode lvm.Mode, tags ...string) lvm.Volume {
	return lvm.Volume{Group: group, Name: name, Size: 8 << 20, Mode: mode, Open: mode != lvm.Off, Tags: lvm.NewTags(tags...), Path: "/dev/" + group + "/" + name}
}

// laidOut is a group as fs_lvm leaves it: VM 42 runs on node1 with a disk of an image and a volatile
// one, VM 43 is undeployed.
func laidOut() *audit.State {
	vm := func(id int, state opennebula.State, disks ...opennebula.Disk) opennebula.VM {
		return opennebula.VM{ID: id, State: state, LCMState: opennebula.LCMRunning, Disks: disks, History: []opennebula.History{{Hostname: "node1", DatastoreID: 100, TMMAD: "fs_lvm"}}}
	}
	image := opennebula.Disk{ID: 0, ImageID: 7, TMMAD: "fs_lvm", Size: 8, Source: "/var/lib/one/datastores/1/abc"}
	volatile := opennebula.Disk{ID: 1, ImageID: opennebula.None, Size: 8}
	home := agent.Home{Path: "/var/lib/one/datastores/100/42", DS: 100, VM: 42, Links: map[string]string{"disk.0": "/dev/vg-one-100/lv-one-42-0", "disk.1": "/dev/vg-one-100/lv-one-42-1"}}
	node := func(name string, mode lvm.Mode, homes ...agent.Home) audit.Node {
		return audit.Node{Names: []string{name}, Report: agent.Result{Audit: &agent.Audit{Homes: homes}, Volumes: []lvm.Volume{
			volumeOf("gfs2", lvm.Shared), volumeOf("lv-one-42-0", mode), volumeOf("lv-one-42-1", mode), volumeOf("lv-one-43-0", lvm.Off),
		}}}
	}
	return &audit.State{
		Group: group, Prefix: lvm.DefaultPrefix, Bases: map[int]string{100: "/var/lib/one/datastores/100"}, Unasked: map[string]string{},
		VMs:   map[int]opennebula.VM{42: vm(42, opennebula.StateActive, image, volatile), 43: vm(43, opennebula.StateUndeployed, image)},
		Disks: map[int][]int{42: {0, 1}, 43: {0}},
		Nodes: []audit.Node{node("node2", lvm.Off), node("node1", lvm.Exclusive, home)},
	}
}

func TestDecide(t *testing.T) {
	s := laidOut()
	all := Decide(s)
	require.Len(t, all, 3)
	for _, d := range all {
		assert.Equal(t, Adopt, d.Verdict, "%+v", d)
	}
	assert.Equal(t, "node1", all[0].Node(), "where it is active")
	assert.Equal(t, agent.Request{Op: agent.OpAdopt, Group: group, VM: 42, Disk: 1, DS: 100, Home: "/var/lib/one/datastores/100/42", Size: 8 << 20}, all[1].Request(agent.OpAdopt, group))
	assert.True(t, all[2].Request(agent.OpAdopt, group).Rests)
	assert.Equal(t, agent.Request{Op: agent.OpRelease, Group: group, VM: 43, Disk: 0, DS: 100, Home: "/var/lib/one/datastores/100/43"}, all[2].Request(agent.OpRelease, group))
	assert.Empty(t, Missing(s))
}

// each changes a volume on all nodes.
func each(s *audit.State, name string, change func(*lvm.Volume)) {
	for i := range s.Nodes {
		for j := range s.Nodes[i].Report.Volumes {
			if v := &s.Nodes[i].Report.Volumes[j]; v.Name == name {
				change(v)
			}
		}
	}
}

// What speaks against a volume, each alone. The first disk of VM 42 is looked at.
func TestVerdicts(t *testing.T) {
	vm := func(s *audit.State, change func(*opennebula.VM)) {
		vm := s.VMs[42]
		vm.Disks = append([]opennebula.Disk{}, vm.Disks...)
		change(&vm)
		s.VMs[42] = vm
	}
	for name, c := range map[string]struct {
		inject  func(s *audit.State)
		verdict Verdict
		why     string
	}{
		"is ours": {func(s *audit.State) {
			each(s, "lv-one-42-0", func(v *lvm.Volume) { v.Tags = lvm.DiskTags(42, 0, 100) })
		}, Adopted, ""},
		"tags of another disk": {func(s *audit.State) {
			each(s, "lv-one-42-0", func(v *lvm.Volume) { v.Tags = lvm.DiskTags(42, 1, 100) })
		}, Refused, "tm-clvm audit"},
		"no such VM":        {func(s *audit.State) { delete(s.VMs, 42) }, Refused, "no VM 42"},
		"never deployed":    {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.History = nil }) }, Refused, "no VM 42"},
		"another datastore": {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.History[0].DatastoreID = 101 }) }, Refused, "another volume group"},
		"no such disk":      {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.Disks = vm.Disks[1:] }) }, Refused, "no disk 0"},
		"a verb is at it":   {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.LCMState = 1 }) }, Refused, "PROLOG"},
		"another driver":    {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.Disks[0].TMMAD = "ceph" }) }, Refused, "TM ceph"},
		"volatile elsewhere": {func(s *audit.State) {
			vm(s, func(vm *opennebula.VM) { vm.Disks[0].ImageID, vm.History[0].TMMAD = -1, "ssh" })
		}, Refused, "TM ssh"},
		"too small":          {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.Disks[0].Size = 9 }) }, Refused, "9 MiB"},
		"size not known":     {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.Disks[0].Size = 0 }) }, Adopt, ""},
		"host not asked":     {func(s *audit.State) { s.Unasked["node1"] = "no route" }, Refused, "could not be asked"},
		"active elsewhere":   {func(s *audit.State) { s.Nodes[0].Report.Volumes[1].Mode = lvm.Exclusive }, Refused, "active on node2"},
		"inactive":           {func(s *audit.State) { s.Nodes[1].Report.Volumes[1].Mode = lvm.Off }, Adopt, ""},
		"active and stopped": {func(s *audit.State) { vm(s, func(vm *opennebula.VM) { vm.State = opennebula.StateStopped }) }, Refused, "STOPPED"},
		"link elsewhere": {func(s *audit.State) {
			s.Nodes[1].Report.Audit.Homes[0].Links["disk.0"] = "/dev/vg-one-100/lv-one-43-0"
		}, Refused, "leads to /dev/vg-one-100/lv-one-43-0"},
		"no link": {func(s *audit.State) { delete(s.Nodes[1].Report.Audit.Homes[0].Links, "disk.0") }, Adopt, ""},
		"thin": {func(s *audit.State) {
			s.Nodes[0].Report.Volumes = append(s.Nodes[0].Report.Volumes, volumeOf("lv-one-42-pool", lvm.Off))
		}, Refused, "thin pool"},
		"thin pool of another": {func(s *audit.State) {
			s.Nodes[0].Report.Volumes = append(s.Nodes[0].Report.Volumes, volumeOf("lv-one-420-pool", lvm.Off))
		}, Adopt, ""},
		"snapshot by name": {func(s *audit.State) {
			s.Nodes[0].Report.Volumes = append(s.Nodes[0].Report.Volumes, volumeOf("lv-one-42-0_s0", lvm.Off))
		}, Refused, "snapshots"},
		"snapshot by origin": {func(s *audit.State) { each(s, "gfs2", func(v *lvm.Volume) { v.Origin = "lv-one-42-0" }) }, Refused, "snapshots"},
	} {
		s := laidOut()
		c.inject(s)
		d := Decide(s)[0]
		assert.Equal(t, "lv-one-42-0", d.Volume, name)
		assert.Equal(t, c.verdict, d.Verdict, "%s: %s", name, d.Why)
		if c.why == "" {
			assert.Empty(t, d.Why, name)
			continue
		}
		assert.Contains(t, d.Why, c.why, name)
	}
}

func TestMissing(t *testing.T) {
	s := laidOut()
	s.Disks[42] = append(s.Disks[42], 5)
	assert.Equal(t, []string{"disk 5 of VM 42 has no volume lv-one-42-5"}, Missing(s))
}
