package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// Tags of the agent's that mark a disk whose operation has not ended.
const (
	tagReverting   = "reverting"
	tagUnzeroed    = "unzeroed"
	tagReplacement = "replacement"
)

// HalfDone says whether tags are those of a disk whose operation has not ended.
func HalfDone(tags lvm.Tags) bool {
	return tags.Get(tagReverting) != "" || tags.Has(tagReplacement) || tags.Get(tagUnzeroed) != ""
}

// judge says what is wrong with a volume: the first thing that is. What is behind it shows
// once that is repaired.
func (s *State) judge(v seen) (Finding, bool) {
	switch {
	case !v.Tags.Has(lvm.TagOurs):
		return s.judgeForeign(v)
	case v.Tags.Has(lvm.TagQuarantine):
		return s.judgeQuarantine(v)
	case v.IsSnapshot():
		return s.judgeSnapshot(v)
	}
	if f, found := s.judgeName(v); found {
		return f, true
	}
	if v.Tags.Get(lvm.TagImage) != "" {
		return s.judgeImage(v)
	}
	vm, known := s.VMs[id(v, lvm.TagVM)]
	if !known {
		f := Finding{Kind: Orphan, Object: s.object(v), Why: fmt.Sprintf("VM %s does not exist, or is done", v.Tags.Get(lvm.TagVM)), Repair: s.deletion(v)}
		if nodes := v.open(); len(nodes) > 0 {
			f.Why += ", but it is in use on " + names(nodes)
			f.Repair = "find out what uses it; then " + f.Repair
		}
		return f, true
	}
	for _, look := range []func(seen, opennebula.VM) (Finding, bool){s.judgeUnfinished, s.judgeHalf, s.judgeWindow, s.judgeActivation} {
		if f, found := look(v, vm); found {
			return f, true
		}
	}
	return Finding{}, false
}

func (s *State) judgeForeign(v seen) (Finding, bool) {
	name, err := lvm.ParseName(s.Prefix, v.Name)
	return Finding{Kind: Foreign, Object: s.object(v), Why: fmt.Sprintf("it is named as if the suite had made it, and has not its tags (%q)", v.Tags),
		Repair: fmt.Sprintf("find out whose it is, then: lvrename %s %s OTHER-NAME", s.Group, v.Name)}, err == nil && !name.IsOld() && v.Origin == ""
}

func (s *State) judgeQuarantine(v seen) (Finding, bool) {
	if s.wiping(v.Name) {
		return Finding{}, false
	}
	f := Finding{Kind: Quarantine, Object: s.object(v), Why: "it was deleted and is not wiped"}
	if v.Tags.Has(tagReplacement) || v.Tags.Has(lvm.TagBuilding) { // reap leaves it alone, too
		vm, known := s.VMs[id(v, lvm.TagVM)]
		f.Kind, f.Why, f.Repair = Half, "a RESTORE of the disk has not ended", "restore the disk again"
		return f, !known || !busyWithDisks(vm)
	}
	if name, err := lvm.ParseName(s.Prefix, v.Name); err != nil || name.Kind != lvm.KindQuarantine {
		f.Kind, f.Why, f.Repair = Half, "its deletion has not ended", s.deletion(v)
		return f, true
	}
	wiper := v.Tags.Get(lvm.TagWiper)
	at := s.node(wiper)
	if wiper != "" {
		f.Why += "; " + wiper + " had it"
	}
	if at == nil {
		at = s.anyNode()
	}
	f.Repair = fmt.Sprintf("tm-clvm reap %s --node %s", s.Group, at.name())
	switch {
	case v.Tags.Has(lvm.TagWipeFailed):
		f.Why = "it was deleted and could not be wiped: look for errors of its device"
	case v.Tags.Has(lvm.TagFreeSpace):
		f.Why = "it holds free space for wipe-free, which was cut off"
		f.Repair = fmt.Sprintf("tm-clvm wipe-free %s --node %s goes on; %s gives the space back", s.Group, at.name(), f.Repair)
	case wiper != "" && s.node(wiper) == nil:
		f.Why += ", and may be at it: it was not asked"
	default:
		f.Fixes = []Fix{{What: "wipe and remove " + v.Name, Host: at.name(), Request: agent.Request{Op: agent.OpReap, Group: s.Group, Volume: v.Name}}}
	}
	return f, true
}

func (s *State) judgeSnapshot(v seen) (Finding, bool) {
	number, disk := id(v, lvm.TagSnapshot), id(v, lvm.TagDisk)
	vm, known := s.VMs[id(v, lvm.TagVM)]
	f := Finding{Kind: Snapshot, Object: s.object(v)}
	if !known || !Settled(vm) {
		return f, false // it goes with its disk, or a verb is at it
	}
	f.Repair = fmt.Sprintf("tm-clvm snap_delete %s:%s/disk.%d %d %d %d", orAny(host(vm)), s.home(id(v, lvm.TagDS), vm.ID), disk, number, vm.ID, id(v, lvm.TagDS))
	listed := slices.ContainsFunc(vm.Snapshots[disk], func(snapshot opennebula.Snapshot) bool { return snapshot.ID == number })
	switch {
	case agent.IsTemporary(v.Volume):
		q := s.request(agent.OpRemove, v)
		q.Snapshot = &number
		f.Why = fmt.Sprintf("a backup or a save of disk %d of VM %d has left it", disk, vm.ID)
		f.Fixes = []Fix{{What: "remove " + v.Name, Host: s.holderOrAny(v).name(), Request: q}}
		return f, true
	case v.Invalid:
		f.Why = "it ran out of space, and its content is lost"
		if listed {
			f.Repair = fmt.Sprintf("onevm disk-snapshot-delete %d %d %d", vm.ID, disk, number)
		}
		return f, true
	case v.Tags.Has(lvm.TagBuilding):
		f.Why = "it was never completed"
		return f, true
	}
	f.Why = fmt.Sprintf("oned knows no snapshot %d of disk %d of VM %d", number, disk, vm.ID)
	return f, !listed
}

func orAny(host string) string {
	if host == "" {
		return "NODE"
	}
	return host
}

// judgeName compares a volume's name with its tags.
func (s *State) judgeName(v seen) (Finding, bool) {
	name, err := lvm.ParseName(s.Prefix, v.Name)
	f := Finding{Kind: Tags, Object: s.object(v), Repair: "find out which of the two is right, and correct the other with lvrename, or with lvchange --addtag and --deltag"}
	says := ""
	switch {
	case err != nil || v.Tags.Has(lvm.TagBuilding):
	case name.Kind == lvm.KindImage && id(v, lvm.TagImage) != name.Image:
		says = fmt.Sprintf("image %d", name.Image)
	case name.Kind == lvm.KindDisk && (id(v, lvm.TagVM) != name.VM || id(v, lvm.TagDisk) != name.Disk || v.Tags.Get(lvm.TagImage) != ""):
		says = fmt.Sprintf("disk %d of VM %d", name.Disk, name.VM)
	}
	f.Why = fmt.Sprintf("its name says that it is %s, its tags (%q) say something else", says, v.Tags)
	return f, says != ""
}

func (s *State) judgeImage(v seen) (Finding, bool) {
	image := id(v, lvm.TagImage)
	record, known := s.Images[image]
	vm, lent := v.Tags.Get(lvm.TagVM), v.Tags.Get(lvm.TagVM) != ""
	switch {
	case !known:
		return Finding{Kind: Orphan, Object: s.object(v), Why: fmt.Sprintf("image %d does not exist", image),
			Repair: fmt.Sprintf("make sure that nobody misses it, then: lvremove %s", s.object(v))}, true
	case v.Tags.Has(lvm.TagBuilding) && (record.State == opennebula.ImageReady || record.State == opennebula.ImageError) && len(v.open()) == 0:
		return Finding{Kind: Unfinished, Object: s.object(v), Why: fmt.Sprintf("operation %s never completed image %d", v.Tags.Get(lvm.TagOp), image),
			Repair: fmt.Sprintf("oneimage delete %d, and make it again", image)}, true
	case !lent && record.State == opennebula.ImageReady && len(v.holders) > 0 && len(v.open()) == 0: // used by nobody
		return Finding{Kind: Stale, Object: s.object(v), Why: fmt.Sprintf("it is active on %s, and nobody uses image %d", holderNames(v.holders), image),
			Repair: fmt.Sprintf("on %s: lvchange -an %s", holderNames(v.holders), s.object(v))}, true
	case !lent && v.Tags.Get(tagUnzeroed) != "":
		return Finding{Kind: Half, Object: s.object(v), Why: extended(v),
			Repair: fmt.Sprintf("use image %d in place once (LN zeroes that), or delete it and make it again", image)}, true
	case !lent:
		return Finding{}, false
	}
	number := id(v, lvm.TagDisk)
	if s.uses(id(v, lvm.TagVM), number, image) {
		user := s.VMs[id(v, lvm.TagVM)]
		if f, half := s.judgeHalf(v, user); half {
			return f, true
		}
		return s.judgeActivation(v, user)
	}
	f := Finding{Kind: Lent, Object: s.object(v), Why: fmt.Sprintf("image %d is lent to VM %s as disk %d, which does not use it", image, vm, number),
		Repair: fmt.Sprintf("tm-clvm delete %s:%s/disk.%d %s %d gives it back", s.anyNode().name(), s.home(id(v, lvm.TagDS), id(v, lvm.TagVM)), number, vm, id(v, lvm.TagDS))}
	if nodes := v.open(); len(nodes) > 0 {
		f.Why += "; but it is in use on " + names(nodes)
		f.Repair = "find out what uses it; then " + f.Repair
		return f, true
	}
	if _, known := s.VMs[id(v, lvm.TagVM)]; known {
		return f, true // its home may have another disk of that number
	}
	q := s.request(agent.OpUnlink, v)
	q.Image = &agent.Image{Group: s.Group, ID: image}
	f.Fixes = []Fix{{What: fmt.Sprintf("give image %d back", image), Host: s.holderOrAny(v).name(), Request: q}}
	return f, true
}

// uses says whether a disk of a VM is that image, or may be on its way to be.
func (s *State) uses(vmID, disk, image int) bool {
	vm, known := s.VMs[vmID]
	if !known {
		return false
	}
	found, err := vm.Disk(disk)
	return !Settled(vm) || err == nil && found.ImageID == image
}

func (s *State) judgeUnfinished(v seen, vm opennebula.VM) (Finding, bool) {
	if !v.Tags.Has(lvm.TagBuilding) {
		return Finding{}, false
	}
	q := s.request(agent.OpDrop, v)
	q.Volume = v.Name
	return Finding{Kind: Unfinished, Object: s.object(v), Why: fmt.Sprintf("operation %s never completed it, and VM %d is %s", v.Tags.Get(lvm.TagOp), vm.ID, StateOf(vm)), Repair: s.deletion(v),
		Fixes: []Fix{{What: "remove " + v.Name, Host: s.holderOrAny(v).name(), Request: q}}}, !busyWithDisks(vm)
}

func (s *State) holderOrAny(v seen) *Node {
	if len(v.holders) > 0 {
		return v.holders[0].node
	}
	return s.anyNode()
}

func (s *State) judgeHalf(v seen, vm opennebula.VM) (Finding, bool) {
	f := Finding{Kind: Half, Object: s.object(v)}
	disk := id(v, lvm.TagDisk)
	switch {
	case busyWithDisks(vm):
		return f, false
	case v.Tags.Get(tagReverting) != "":
		f.Why = fmt.Sprintf("it was not brought back to snapshot %s to the end, and is of no use until it is", v.Tags.Get(tagReverting))
		f.Repair = fmt.Sprintf("onevm disk-snapshot-revert %d %d %s", vm.ID, disk, v.Tags.Get(tagReverting))
	case v.Tags.Has(tagReplacement):
		f.Why, f.Repair = "a RESTORE of the disk has not ended", "restore the disk again"
	case v.Tags.Get(tagUnzeroed) != "":
		f.Why = extended(v)
		f.Repair = fmt.Sprintf("tm-clvm resize %s:%s/disk.%d %d %d %d", orAny(host(vm)), s.home(id(v, lvm.TagDS), vm.ID), disk, v.Size>>20, vm.ID, id(v, lvm.TagDS))
		if len(v.open()) > 0 || running(vm) {
			f.Repair = "power the VM off; then " + f.Repair // it may know of the new space
			return f, true
		}
		q := s.request(agent.OpExtend, v)
		q.Size = v.Size
		f.Fixes = []Fix{{What: "zero the new space of " + v.Name, Host: s.holderOrAny(v).name(), Request: q}}
	default:
		return f, false
	}
	return f, true
}

func extended(v seen) string {
	return fmt.Sprintf("it was extended, and from byte %s on it may show old data", v.Tags.Get(tagUnzeroed))
}

// judgeWindow: the tag of a live migration that nobody has ended.
func (s *State) judgeWindow(v seen, vm opennebula.VM) (Finding, bool) {
	window := v.Tags.Get(lvm.TagMigrating)
	if window == "" || !Settled(vm) || len(v.holders) > 1 {
		return Finding{}, false
	}
	until, err := strconv.ParseInt(window[strings.LastIndexByte(window, ':')+1:], 10, 64)
	if err == nil && s.Now.Before(time.Unix(until, 0)) {
		return Finding{}, false
	}
	f := Finding{Kind: Window, Object: s.object(v), Why: fmt.Sprintf("a live migration (%s) was to end long ago, and VM %d is %s", window, vm.ID, StateOf(vm))}
	at := s.node(host(vm))
	if at == nil || len(v.holders) == 1 && v.holders[0].node != at {
		return f, false // where it is active is the greater trouble
	}
	f.Repair = fmt.Sprintf("lvchange --deltag %s=%s %s", lvm.TagMigrating, window, s.object(v))
	if !resting(vm) {
		f.Fixes = []Fix{s.activate(v, at)}
	}
	return f, true
}

func names(nodes []*Node) string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.name())
	}
	return strings.Join(all, " and ")
}

// duplicates are disks that two complete volumes are tagged as. Both are undecided: what
// else is wrong with them is of no interest before, and requests mean disks, not volumes.
func (s *State) duplicates(volumes []seen) (all []Finding, undecided map[string]bool) {
	undecided = map[string]bool{}
	first := map[string]seen{}
	for _, v := range volumes {
		if !isDisk(v) || v.Tags.Has(lvm.TagBuilding) {
			continue
		}
		key := v.Tags.Get(lvm.TagVM) + " " + v.Tags.Get(lvm.TagDisk)
		other, again := first[key]
		if !again {
			first[key] = v
			continue
		}
		undecided[v.Name], undecided[other.Name] = true, true
		all = append(all, Finding{Kind: Duplicate, Object: s.object(v), Why: fmt.Sprintf("it and %s are both tagged as disk %s of VM %s", other.Name, v.Tags.Get(lvm.TagDisk), v.Tags.Get(lvm.TagVM)),
			Repair: "find out which of the two is the disk, and correct the tags of the other"})
	}
	return all, undecided
}

// isDisk: a volume that is some VM's disk, its own or an image in place.
func isDisk(v seen) bool {
	return v.Tags.Has(lvm.TagOurs) && v.Tags.Get(lvm.TagVM) != "" && !v.Tags.Has(lvm.TagQuarantine) && !v.IsSnapshot()
}

// missing are the disks that no volume is tagged as.
func (s *State) missing(volumes []seen) []Finding {
	var all []Finding
	for _, vm := range sortedKeys(s.Disks) {
		for _, disk := range s.Disks[vm] {
			if slices.ContainsFunc(volumes, func(v seen) bool { return isDisk(v) && id(v, lvm.TagVM) == vm && id(v, lvm.TagDisk) == disk }) {
				continue
			}
			all = append(all, Finding{Kind: Missing, Object: fmt.Sprintf("VM %d disk %d", vm, disk),
				Why:    fmt.Sprintf("the VM is %s, and no volume in %s is tagged as this disk", StateOf(s.VMs[vm]), s.Group),
				Repair: "look for its volume: tm-clvm volumes; is the disk in another group?"})
		}
	}
	return all
}
