// Package adoption takes disks over that OpenNebula's own drivers for LVM (fs_lvm, fs_lvm_ssh) have
// made, and gives them back. Names and places are the same, so tags are all that changes: no data
// moves, no VM stops. What is taken is decided by a function of what nodes and oned say.
package adoption

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"one-clvm/agent"
	"one-clvm/audit"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// Verdict on one volume.
type Verdict string

// The verdicts.
const (
	Adopt   Verdict = "adopt"   // it is a disk that can be taken over
	Adopted Verdict = "adopted" // it is the suite's
	Refused Verdict = "refused" // it needs a person first
)

// Disk is a volume that is named like a disk, and what is to be done with it.
type Disk struct {
	Volume  string  `json:"volume"`
	VM      int     `json:"vm"`
	Disk    int     `json:"disk"`
	DS      int     `json:"ds"` // system datastore
	Size    int64   `json:"size"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`
	Rests   bool    `json:"rests"` // the VM is stopped or undeployed

	node string // to be asked
	home string
	want int64 // bytes, oned's word
}

// Request has the node make the disk the suite's, or what it was.
func (d Disk) Request(op agent.Op, group string) agent.Request {
	q := agent.Request{Op: op, Group: group, VM: d.VM, Disk: d.Disk, DS: d.DS, Home: d.home}
	if op == agent.OpAdopt {
		q.Size, q.Rests = max(d.want, 1), d.Rests // 3.8 does not know all sizes
	}
	return q
}

// Node is the one that is to be asked.
func (d Disk) Node() string { return d.node }

// volume is one with the nodes that have it active.
type volume struct {
	lvm.Volume
	holders []*audit.Node
}

// Decide judges all volumes of a group that are named like disks, in the order of their names.
func Decide(s *audit.State) []Disk {
	volumes := merged(s)
	var all []Disk
	for _, v := range volumes {
		name, err := lvm.ParseName(s.Prefix, v.Name)
		if err != nil || name.Kind != lvm.KindDisk || name.Snapshot != lvm.NoSnapshot {
			continue
		}
		all = append(all, decide(s, volumes, v, name))
	}
	return all
}

func merged(s *audit.State) []volume {
	var all []volume
	for i := range s.Nodes {
		node := &s.Nodes[i]
		for _, v := range node.Report.Volumes {
			n := slices.IndexFunc(all, func(known volume) bool { return known.Name == v.Name })
			if n < 0 {
				n, all = len(all), append(all, volume{Volume: v})
			}
			if v.Mode != lvm.Off {
				all[n].holders, all[n].Path = append(all[n].holders, node), v.Path
			}
		}
	}
	slices.SortFunc(all, func(a, b volume) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// decide judges one: the first thing that speaks against it is told.
func decide(s *audit.State, volumes []volume, v volume, name lvm.Name) Disk {
	d := Disk{Volume: v.Name, VM: name.VM, Disk: name.Disk, Size: v.Size, DS: opennebula.None, Verdict: Refused, node: s.Nodes[0].Names[0]}
	vm, known := s.VMs[name.VM]
	if !known || vm.Last() == nil {
		d.Why = fmt.Sprintf("oned has no VM %d with disks: it was left behind, perhaps by a deletion; look at it, and remove it by hand", name.VM)
		return d
	}
	last := vm.Last()
	base, here := s.Bases[last.DatastoreID]
	if !here {
		d.Why = fmt.Sprintf("VM %d is in datastore %d, whose disks are in another volume group", vm.ID, last.DatastoreID)
		return d
	}
	d.DS, d.home = last.DatastoreID, path.Join(base, fmt.Sprint(vm.ID))
	d.Rests = vm.State == opennebula.StateStopped || vm.State == opennebula.StateUndeployed
	if len(v.holders) > 0 {
		d.node = v.holders[0].Names[0]
	}
	if v.Tags.Has(lvm.TagOurs) {
		return adopted(d, v)
	}
	for _, look := range []func(*audit.State, volume, opennebula.VM, *Disk) string{record, place, link} {
		if d.Why = look(s, v, vm, &d); d.Why != "" {
			return d
		}
	}
	if d.Why = kin(s, volumes, v, vm); d.Why == "" {
		d.Verdict = Adopt
	}
	return d
}

// adopted: it has tags, and they must be those of its name.
func adopted(d Disk, v volume) Disk {
	if v.Tags.Has(lvm.DiskTags(d.VM, d.Disk, d.DS)...) {
		d.Verdict = Adopted
		return d
	}
	d.Why = fmt.Sprintf("its tags (%q) are not those of disk %d of VM %d: tm-clvm audit says what it is", v.Tags, d.Disk, d.VM)
	return d
}

// record: oned must have the disk, of a driver whose disks are such volumes.
func record(_ *audit.State, v volume, vm opennebula.VM, d *Disk) string {
	if !audit.Settled(vm) {
		return fmt.Sprintf("VM %d is %s: a verb is at its disks, or has failed; wait for its end, or recover the VM", vm.ID, audit.StateOf(vm))
	}
	disk, err := vm.Disk(d.Disk)
	if err != nil {
		return fmt.Sprintf("oned's record: %v", err)
	}
	d.want = disk.Size << 20
	tm := disk.TMMAD
	if disk.Volatile() || tm == "" {
		tm = vm.Last().TMMAD
	}
	switch {
	case tm != "" && tm != "clvm" && !slices.Contains(audit.ForeignTMs, tm):
		return fmt.Sprintf("oned has the disk with TM %s, whose disks are no such volumes", tm)
	case v.Size < d.want:
		return fmt.Sprintf("it has %d MiB, and oned's record of the disk %d MiB: find out which is right", v.Size>>20, disk.Size)
	}
	return ""
}

// place: it is in use where its VM is, and nowhere else.
func place(s *audit.State, v volume, vm opennebula.VM, d *Disk) string {
	host := vm.Last().Hostname
	if why, unasked := s.Unasked[host]; unasked && !d.Rests {
		return fmt.Sprintf("%s, where VM %d is, could not be asked: %s", host, vm.ID, why)
	}
	for _, n := range v.holders {
		switch {
		case d.Rests:
			return fmt.Sprintf("it is active on %s, and VM %d is %s: find out whether something uses it, then deactivate it (lvchange -an %s/%s)", n.Names[0], vm.ID, audit.StateOf(vm), s.Group, v.Name)
		case !slices.Contains(n.Names, host):
			return fmt.Sprintf("it is active on %s, and VM %d is on %s: deactivate it there (lvchange -an %s/%s), or two nodes may write", n.Names[0], vm.ID, host, s.Group, v.Name)
		}
	}
	return ""
}

// link: where the VM's home has disk.N, it leads to this volume.
func link(s *audit.State, v volume, vm opennebula.VM, d *Disk) string {
	name := fmt.Sprintf("disk.%d", d.Disk)
	for _, n := range s.Nodes {
		if n.Report.Audit == nil || !slices.Contains(n.Names, vm.Last().Hostname) {
			continue
		}
		for _, home := range n.Report.Audit.Homes {
			target, there := home.Links[name]
			if home.VM != vm.ID || home.DS != d.DS || !there || target == v.Path {
				continue
			}
			if usual := "/dev/" + s.Group + "/" + v.Name; target != usual {
				return fmt.Sprintf("%s/%s leads to %s: the VM has another disk", home.Path, name, target)
			}
		}
	}
	return ""
}

// kin: thin volumes and their snapshots are not taken over.
func kin(s *audit.State, volumes []volume, v volume, vm opennebula.VM) string {
	pool := fmt.Sprintf("%s-%d-pool", s.Prefix, vm.ID)
	for _, other := range volumes {
		switch {
		case other.Name == pool:
			return fmt.Sprintf("it is in the thin pool %s, and the suite has no thin volumes: give the VM thick disks first (undeploy it, copy, LVM_THIN_ENABLE=no)", pool)
		case other.Origin == v.Name, strings.HasPrefix(other.Name, v.Name+"_"), v.Origin != "":
			return fmt.Sprintf("it has snapshots (%s) that the suite has not made: delete them by the driver that has", other.Name)
		}
	}
	return ""
}

// Missing are the disks of VMs that should be in the group and have no volume of their name.
func Missing(s *audit.State) []string {
	volumes := merged(s)
	var all []string
	for id, disks := range s.Disks {
		for _, disk := range disks {
			name := lvm.DiskName(s.Prefix, id, disk).String()
			if !slices.ContainsFunc(volumes, func(v volume) bool {
				return v.Name == name || v.Tags.Has(lvm.KeyTag(lvm.TagVM, id), lvm.KeyTag(lvm.TagDisk, disk))
			}) {
				all = append(all, fmt.Sprintf("disk %d of VM %d has no volume %s", disk, id, name))
			}
		}
	}
	slices.Sort(all)
	return all
}

// Stays are volumes of the suite that are no disks of VMs: images on the SAN, snapshots, what waits
// to be wiped.
func Stays(s *audit.State) []string {
	var all []string
	for _, v := range merged(s) {
		name, err := lvm.ParseName(s.Prefix, v.Name)
		if v.Tags.Has(lvm.TagOurs) && (err != nil || name.Kind != lvm.KindDisk || name.Snapshot != lvm.NoSnapshot) {
			all = append(all, v.Name)
		}
	}
	return all
}
