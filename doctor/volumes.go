package doctor

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"one-clvm/agent/facts"
	"one-clvm/lvm"
	"one-clvm/lvm/lvm2"
	"one-clvm/opennebula"
)

// ours is the name of the transfer manager and datastore driver in oned.
const ours = "clvm"

// groups are the volume groups that oned's datastores use, or that of cxmrc.
func (v *View) groups() []string {
	var list []string
	for _, ds := range v.Oned.Datastores {
		if ds.TMMAD != ours || ds.Type != opennebula.DatastoreSystem && ds.DSMAD != ours {
			continue
		}
		cfg, err := v.FrontEnd.Config.WithDatastore(ds.Template, ds.Origin())
		if err == nil && !slices.Contains(list, cfg.String("VG_NAME")) {
			list = append(list, cfg.String("VG_NAME"))
		}
	}
	if len(list) == 0 {
		list = []string{v.FrontEnd.Config.String("VG_NAME")}
	}
	return list
}

// state of a group on a node that has the real LVM.
func state(f *facts.Facts, group string) (lvm2.GroupState, bool) {
	if f.LVM == nil {
		return lvm2.GroupState{}, false
	}
	return f.LVM.Group(group)
}

func groupsVisible(j *judge) {
	for _, group := range j.groups() {
		seen := map[string][]string{} // nodes by the group's UUID
		unlocked := false
		j.each(func(n Node, f *facts.Facts) {
			if slices.Contains(f.FileGroups, group) {
				return
			}
			g, ok := state(f, group)
			switch {
			case f.Unknown["lvm"] != "" && !ok:
			case !ok:
				j.fail(n.Name, makeVisible(n, f, group), "volume group %s is not visible", group)
			default:
				seen[g.UUID] = append(seen[g.UUID], n.Name)
				unlocked = unlocked || g.LockManager == lvm.NoLockManager && len(seen[g.UUID]) > 1
				if g.Missing > 0 {
					j.fail(n.Name, fix(n.Name, "vgck %s", group), "%d disks of volume group %s are missing", g.Missing, group)
				}
			}
		})
		if unlocked && !j.FrontEnd.Config.Bool("SINGLE_WRITER") {
			j.fail("", fix(j.Nodes[0].Name, "vgchange --lock-type dlm %s", group), "volume group %s has no lock manager, and more than one node sees it: two that change it at once lose volumes", group)
		}
		if len(seen) > 1 {
			j.warn("", nil, "volume group %s is not the same on all nodes: there are %d of that name, each on its own disks (right only for nodes that do not share a SAN)", group, len(seen))
		}
	}
	j.ok("%s", strings.Join(j.groups(), ", "))
}

func makeVisible(n Node, f *facts.Facts, group string) *Fix {
	if f.LVM != nil && f.LVM.Settings["use_devicesfile"] == "1" {
		return fix(n.Name, "vgimportdevices %s", group)
	}
	return fix(n.Name, "for host in /sys/class/scsi_host/*/scan; do echo - - - > $host; done; pvscan --cache")
}

// metadataFull: shares of the metadata area in use, percent. LVM keeps the old metadata
// beside the new, so half of the area is what there is.
const (
	metadataTold = 75
	metadataBad  = 90
)

func metadata(j *judge) {
	done := map[string]bool{}
	size, most := int64(0), int64(0)
	j.each(func(n Node, f *facts.Facts) {
		for _, group := range j.groups() {
			g, ok := state(f, group)
			if !ok || done[g.UUID] || g.MetadataSize == 0 {
				continue
			}
			done[g.UUID] = true
			half := g.MetadataSize / 2
			used := 100 * (half - min(g.MetadataFree, half)) / half
			if size == 0 || used > most {
				size, most = g.MetadataSize, used
			}
			if used < metadataTold {
				continue
			}
			j.add(severityOf(used >= metadataBad), "", largerMetadata(n, f, group), "the metadata area of volume group %s is %d %% full: soon no volume can be made, renamed or tagged; NEW-DISK is a further disk of the SAN", group, used)
		}
	})
	j.ok("an area of %d KiB is %d %% full", size>>10, most)
}

// largerMetadata: areas cannot grow. A further disk gets a large one, and the small ones
// are not used any more.
func largerMetadata(n Node, f *facts.Facts, group string) *Fix {
	var old []string
	for _, p := range f.LVM.Physical {
		if p.Group == group {
			old = append(old, p.Path)
		}
	}
	return fix(n.Name, "pvcreate --metadatasize 64m NEW-DISK && vgextend %s NEW-DISK && pvchange --metadataignore y %s", group, strings.Join(old, " "))
}

// Shares of a volume group's space that are left, percent.
const (
	groupTold = 10
	groupBad  = 1
)

func freeSpace(j *judge) {
	done := map[string]bool{}
	j.each(func(n Node, f *facts.Facts) {
		for _, group := range j.groups() {
			g, ok := state(f, group)
			if !ok || done[g.UUID] || g.Size == 0 {
				continue
			}
			done[g.UUID] = true
			if left := 100 * g.Free / g.Size; left < groupTold {
				j.add(severityOf(left < groupBad), "", fix(n.Name, "vgextend %s NEW-DISK", group), "%d %% of volume group %s are free (%d MiB); NEW-DISK is a further disk of the SAN, and tm-clvm audit shows what deleted VMs have left", left, group, g.Free>>20)
			}
		}
	})
	j.ok("enough for new disks")
}

// scanLVsSince is the first LVM that can be told not to look into volumes.
const scanLVsSince = "2.02.182"

func guests(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		if f.LVM == nil {
			return
		}
		stop := fix(n.Name, `sed -i -E 's/(scan_lvs *= *)1/\10/' /etc/lvm/lvm.conf`)
		if older(f.LVM.Version, scanLVsSince) {
			stop = fix(n.Name, `sed -i '/^devices {/a global_filter = [ %s ]' /etc/lvm/lvm.conf`, rejecting(j.groups()))
		}
		for _, disk := range f.Guests {
			j.fail(n.Name, stop, "LVM on the node sees the physical volume %s, which a guest made inside its disk: the guest's volume groups can be activated, or take the place of the node's own", disk)
		}
		if len(f.Guests) == 0 && f.LVM.Settings["scan_lvs"] == "1" {
			j.warn(n.Name, stop, "lvm.conf says scan_lvs=1: LVM looks for physical volumes inside guests' disks")
		}
	})
	j.ok("no node looks into guests' disks")
}

func rejecting(groups []string) string {
	var list []string
	for _, group := range groups {
		list = append(list, fmt.Sprintf(`"r|^/dev/%s/|", "r|^/dev/mapper/%s-[^-]|"`, group, strings.ReplaceAll(group, "-", "--")))
	}
	return strings.Join(append(list, `"a|.*|"`), ", ")
}

// stored finds what LVM has of an active volume.
func stored(f *facts.Facts, uuid string) (lvm2.StoredVolume, bool) {
	for _, v := range f.LVM.Volumes {
		if v.UUID == uuid {
			return v, true
		}
	}
	return lvm2.StoredVolume{}, false
}

func stale(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		if f.LVM == nil || f.Unknown["lvm"] != "" {
			return
		}
		for _, a := range f.Active {
			g, known := f.LVM.Group(a.Group)
			if !known {
				continue // not one of ours
			}
			v, there := stored(f, a.UUID)
			off := fix(n.Name, "lvchange -an %s/%s", a.Group, a.Name)
			switch {
			case !there:
				j.fail(n.Name, fix(n.Name, "dmsetup remove %s", mapperName(a)), "%s/%s is active, and LVM has no such volume any more: its blocks may be another VM's by now", a.Group, a.Name)
			case !v.Tags.Has(lvm.TagOurs):
			case f.LVM.Locks != nil && lvmlockd(g) && v.Origin == "" && f.LVM.Locks[a.UUID] == lvm.Off:
				j.fail(n.Name, off, "%s/%s is active without a lock: another node can have it, too", a.Group, a.Name)
			default:
				if why := j.whyNotHere(n.Name, v.Tags); why != "" {
					j.fail(n.Name, off, "%s/%s is active: %s", a.Group, a.Name, why)
				}
			}
		}
	})
	j.ok("only where VMs run")
}

func lvmlockd(g lvm2.GroupState) bool { return g.LockManager == "dlm" || g.LockManager == "sanlock" }

func mapperName(a facts.Active) string {
	double := strings.NewReplacer("-", "--").Replace
	return double(a.Group) + "-" + double(a.Name)
}

// whyNotHere is why a disk with these tags must not be active on a node; "" if it may. In
// doubt it may: verbs that run move disks.
func (v *View) whyNotHere(node string, tags lvm.Tags) string {
	id, err := strconv.Atoi(tags.Get(lvm.TagVM))
	if v.Oned.Err != nil || v.Oned.Unasked["VMs"] != nil || err != nil || tags.Has(lvm.TagBuilding) || tags.Has(lvm.TagQuarantine) || tags.Get(lvm.TagMigrating) != "" {
		return ""
	}
	i := slices.IndexFunc(v.Oned.VMs, func(vm opennebula.VM) bool { return vm.ID == id })
	if i < 0 {
		return fmt.Sprintf("VM %d does not exist, or is done", id)
	}
	vm := v.Oned.VMs[i]
	last := vm.Last()
	switch {
	case tags.Get(lvm.TagClone) != "" && (vm.State == opennebula.StateStopped || vm.State == opennebula.StateUndeployed):
		return "" // it is active with its image, which others may use
	case vm.State == opennebula.StateStopped, vm.State == opennebula.StateUndeployed:
		return fmt.Sprintf("VM %d is %s", id, vm.State)
	case vm.State == opennebula.StateActive && vm.LCMState != opennebula.LCMRunning && vm.LCMState != opennebula.LCMUnknown:
		return "" // something goes on
	case last == nil || last.Hostname == node:
		return ""
	}
	return fmt.Sprintf("VM %d is on %s", id, last.Hostname)
}

func owners(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		if f.LVM == nil {
			return
		}
		want := f.Owner + ":" + f.Owner
		for _, a := range f.Active {
			v, there := stored(f, a.UUID)
			isDisk := there && v.Tags.Has(lvm.TagOurs) && !v.Tags.Has(lvm.TagQuarantine) && (v.Origin == "" || v.Tags.Get(lvm.TagClone) != "")
			if isDisk && a.Owner != "" && a.Owner != want {
				j.fail(n.Name, fix(n.Name, "chown %s /dev/%s/%s", want, a.Group, a.Name), "/dev/%s/%s belongs to %s: the VM cannot use its disk", a.Group, a.Name, a.Owner)
			}
		}
	})
	j.ok("devices of disks belong to the VMs' user")
}

func links(j *judge) {
	told := map[facts.Link]bool{} // a shared home is seen by all
	j.each(func(n Node, f *facts.Facts) {
		for _, home := range f.Homes {
			for _, link := range home.Links {
				if why := j.wrongLink(f, link); why != "" && !told[link] {
					told[link] = true
					want := fmt.Sprintf("/dev/%s/%s-%s-%s", path.Base(path.Dir(link.Target)), j.FrontEnd.Config.String("LV_PREFIX"), vmOf(link), diskOf(link))
					j.fail(n.Name, fix(n.Name, "ln -sfn %s %s && chown -h %s %s", want, link.Path, f.Owner+":"+f.Owner, link.Path), "%s leads to %s, %s", link.Path, link.Target, why)
				}
			}
		}
	})
	j.ok("disk.N leads to the VM's own volume")
}

func vmOf(link facts.Link) string { return path.Base(path.Dir(link.Path)) }

func diskOf(link facts.Link) string { return strings.TrimPrefix(path.Base(link.Path), "disk.") }

// wrongLink is what is wrong with a link into a volume group; "" if nothing.
func (v *View) wrongLink(f *facts.Facts, link facts.Link) string {
	group, volume := path.Base(path.Dir(link.Target)), path.Base(link.Target)
	if f.LVM == nil || path.Dir(path.Dir(link.Target)) != "/dev" || !slices.Contains(v.groups(), group) {
		return "" // an image file
	}
	for _, s := range f.LVM.Volumes {
		if s.Path() != link.Target {
			continue
		}
		vm, disk := s.Tags.Get(lvm.TagVM), s.Tags.Get(lvm.TagDisk)
		if vm != "" && (vm != vmOf(link) || disk != diskOf(link)) {
			return fmt.Sprintf("which is disk %s of VM %s", disk, vm)
		}
		if s.Tags.Has(lvm.TagOurs) {
			return ""
		}
		return "which is not a disk that the suite made"
	}
	name, err := lvm.ParseName(v.FrontEnd.Config.String("LV_PREFIX"), volume)
	if err == nil && name.Kind == lvm.KindDisk && name.String() != fmt.Sprintf("%s-%s-%s", v.FrontEnd.Config.String("LV_PREFIX"), vmOf(link), diskOf(link)) {
		return "which is named as another disk"
	}
	return "" // a volume that is gone: audit knows what is missing
}
