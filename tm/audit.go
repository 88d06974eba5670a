package tm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// Finding is one thing that an audit found not as it should be.
type Finding struct {
	Kind   string `json:"kind"`
	Object string `json:"object"` // VG/VOLUME, or what else it is about
	Why    string `json:"why"`
	Repair string `json:"repair"` // what to type, or to look at
}

// The kinds of findings.
const (
	FoundOrphan     = "orphan"     // a volume of a VM that oned does not have
	FoundUnfinished = "unfinished" // a volume that was never completed, and nobody is at it
	FoundQuarantine = "quarantine" // a deleted volume that is not wiped
	FoundForeign    = "foreign"    // named like ours, without our tags
	FoundMissing    = "missing"    // a VM's disk without a volume
	FoundLink       = "link"       // missing in the home, or leading elsewhere
	FoundShared     = "shared"     // shared, and no migration runs
)

// AuditState is all that an audit judges by: what one node reports of one volume group, and
// what oned has.
type AuditState struct {
	Node    string
	Group   string
	Prefix  string
	Report  agent.Result
	VMs     map[int]opennebula.VM // those that are not done
	DisksOf map[int][]int         // DISK_IDs that must have a volume in the group, by VM
}

// Audit collects the state of a volume group, as a node sees it. It changes nothing.
func (d *Driver) Audit(ctx context.Context, node, group string) ([]Finding, error) {
	s := AuditState{Node: node, Group: group, Prefix: d.Config.String("LV_PREFIX"), VMs: map[int]opennebula.VM{}, DisksOf: map[int][]int{}}
	var err error
	if s.Report, err = d.Ask(ctx, node, agent.Request{Op: agent.OpAudit, Operation: plan.NewOperation(), Group: group}); err != nil {
		return nil, err
	}
	// Of the VMs after the volumes: what was made in between is no orphan.
	vms, err := d.Records.VMs(ctx)
	if err != nil {
		return nil, err
	}
	groups := map[int]string{}
	for _, vm := range vms {
		s.VMs[vm.ID] = vm
		if err := d.addDisks(ctx, &s, vm, groups); err != nil {
			return nil, err
		}
	}
	return s.Findings(), nil
}

// addDisks asks which disks of a running VM must be in the group. groups are those of the
// system datastores asked for already.
func (d *Driver) addDisks(ctx context.Context, s *AuditState, vm opennebula.VM, groups map[int]string) error {
	last := vm.Last()
	if vm.State != opennebula.StateActive || vm.LCMState != opennebula.LCMRunning || last == nil || last.DatastoreID == opennebula.None {
		return nil
	}
	if _, known := groups[last.DatastoreID]; !known {
		ds, err := d.Records.Datastore(ctx, last.DatastoreID)
		if err != nil {
			return err
		}
		cfg, err := d.Config.WithDatastore(ds.Template, ds.Origin())
		if err != nil {
			return err
		}
		groups[ds.ID] = cfg.String("VG_NAME")
		if ds.TMMAD != ownTM(&vm) {
			groups[ds.ID] = ""
		}
	}
	if groups[last.DatastoreID] != s.Group {
		return nil
	}
	whole, err := d.Records.VM(ctx, vm.ID)
	if err != nil {
		return err
	}
	for _, disk := range whole.Disks {
		if disk.Volatile() || disk.TMMAD == "" || disk.TMMAD == ownTM(whole) {
			s.DisksOf[vm.ID] = append(s.DisksOf[vm.ID], disk.ID)
		}
	}
	return nil
}

// Findings judges. Those of one volume are in the order of the volumes, missing ones last.
func (s AuditState) Findings() []Finding {
	var all []Finding
	for _, v := range s.Report.Volumes {
		if f, found := s.judge(v); found {
			all = append(all, f)
		}
	}
	for _, link := range s.Report.Links {
		if f, found := s.judgeLink(link); found {
			all = append(all, f)
		}
	}
	return append(all, s.missing()...)
}

func (s AuditState) object(v lvm.Volume) string { return s.Group + "/" + v.Name }

func (s AuditState) judge(v lvm.Volume) (Finding, bool) {
	if !v.Tags.Has(lvm.TagOurs) {
		_, err := lvm.ParseName(s.Prefix, v.Name)
		return Finding{FoundForeign, s.object(v), fmt.Sprintf("it is named as if the suite had made it, and has not its tags (%q)", v.Tags),
			fmt.Sprintf("find out whose it is, then: lvrename %s %s OTHER-NAME", s.Group, v.Name)}, err == nil && v.Origin == ""
	}
	if v.Tags.Has(lvm.TagQuarantine) {
		return s.judgeQuarantine(v)
	}
	id, err := strconv.Atoi(v.Tags.Get(lvm.TagVM))
	if err != nil {
		return Finding{}, false // an image
	}
	vm, known := s.VMs[id]
	switch {
	case !known && v.Origin != "", !known && v.Tags.Get(lvm.TagImage) != "":
		return Finding{}, false // it goes with its disk; an image is not the VM's
	case !known:
		return Finding{FoundOrphan, s.object(v), fmt.Sprintf("VM %d does not exist, or is done", id), s.deletion(v)}, true
	case v.Tags.Has(lvm.TagBuilding) && !busyWithDisks(vm):
		return Finding{FoundUnfinished, s.object(v), fmt.Sprintf("operation %s never completed it, and VM %d is %s", v.Tags.Get(lvm.TagOp), id, stateOf(vm)), s.deletion(v)}, true
	case v.Mode == lvm.Shared && vm.LCMState != opennebula.LCMMigrate:
		return Finding{FoundShared, s.object(v), fmt.Sprintf("it is active shared on %s, and VM %d does not migrate (it is %s)", s.Node, id, stateOf(vm)),
			fmt.Sprintf("where VM %d does not run: lvchange -an %s; where it runs: lvchange -aey %s", id, s.object(v), s.object(v))}, true
	}
	return Finding{}, false
}

func stateOf(vm opennebula.VM) string {
	if vm.State == opennebula.StateActive {
		return vm.LCMState.String()
	}
	return vm.State.String()
}

// busyWithDisks: in these states a verb may be making the disk.
func busyWithDisks(vm opennebula.VM) bool {
	name := vm.LCMState.String()
	if vm.State != opennebula.StateActive || strings.HasSuffix(name, "_FAILURE") {
		return false
	}
	return strings.Contains(name, "PROLOG") || strings.Contains(name, "HOTPLUG") || strings.Contains(name, "RESTORE")
}

// deletion is the verb that removes a disk.
func (s AuditState) deletion(v lvm.Volume) string {
	home := "/var/lib/one/datastores"
	for _, link := range s.Report.Links {
		if link.Volume == v.Name {
			home = strings.TrimSuffix(link.Path, "/"+strings.Join([]string{v.Tags.Get(lvm.TagDS), v.Tags.Get(lvm.TagVM), "disk." + v.Tags.Get(lvm.TagDisk)}, "/"))
		}
	}
	return fmt.Sprintf("tm-clvm delete %s:%s/%s/%s/disk.%s %s %s", s.Node, home, v.Tags.Get(lvm.TagDS), v.Tags.Get(lvm.TagVM), v.Tags.Get(lvm.TagDisk), v.Tags.Get(lvm.TagVM), v.Tags.Get(lvm.TagDS))
}

func (s AuditState) judgeQuarantine(v lvm.Volume) (Finding, bool) {
	if slices.Contains(s.Report.Wiping, v.Name) {
		return Finding{}, false
	}
	f := Finding{FoundQuarantine, s.object(v), "it was deleted and is not wiped", fmt.Sprintf("tm-clvm reap %s --node %s", s.Group, s.Node)}
	wiper := v.Tags.Get(lvm.TagWiper)
	if wiper != "" {
		f.Why += "; " + wiper + " has it, and may be at it"
	}
	switch {
	case v.Tags.Has(lvm.TagWipeFailed):
		f.Why = "it was deleted and could not be wiped: look for errors of its device"
	case v.Tags.Has(lvm.TagFreeSpace):
		f.Why = "it holds free space for wipe-free, which runs on " + wiper + " or was cut off"
		f.Repair = fmt.Sprintf("tm-clvm wipe-free %s --node %s goes on; %s gives the space back", s.Group, s.Node, f.Repair)
	}
	return f, true
}

func (s AuditState) judgeLink(link agent.Link) (Finding, bool) {
	f := Finding{FoundLink, s.Node + ":" + link.Path, "it is missing", fmt.Sprintf("on %s: ln -sfn %s %s", s.Node, link.Want, link.Path)}
	if link.Target != "" {
		f.Why = fmt.Sprintf("it leads to %s instead of %s", link.Target, link.Want)
	}
	return f, link.Target != link.Want
}

// missing are the disks of running VMs that no volume is tagged with.
func (s AuditState) missing() []Finding {
	var all []Finding
	ids := make([]int, 0, len(s.DisksOf))
	for id := range s.DisksOf {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		for _, disk := range s.DisksOf[id] {
			want := []string{lvm.TagOurs, lvm.KeyTag(lvm.TagVM, id), lvm.KeyTag(lvm.TagDisk, disk)}
			there := slices.ContainsFunc(s.Report.Volumes, func(v lvm.Volume) bool { return v.Tags.Has(want...) && !v.Tags.Has(lvm.TagQuarantine) })
			if !there {
				all = append(all, Finding{FoundMissing, fmt.Sprintf("VM %d disk %d", id, disk),
					"the VM runs, and no volume in " + s.Group + " is tagged as this disk", "look for its volume: tm-clvm volumes; is the disk in another group?"})
			}
		}
	}
	return all
}

// AuditTarget fills in what was not said: the volume group of a system datastore, or of
// cxmrc, and a node to ask.
func (d *Driver) AuditTarget(ctx context.Context, datastore int, node, group string) (askNode, askGroup string, err error) {
	cfg, ds := d.Config, &opennebula.Datastore{}
	if datastore != opennebula.None {
		if ds, err = d.Records.Datastore(ctx, datastore); err != nil {
			return "", "", err
		}
		if cfg, err = d.Config.WithDatastore(ds.Template, ds.Origin()); err != nil {
			return "", "", err
		}
	}
	if group == "" {
		group = cfg.String("VG_NAME")
	}
	if node != "" {
		return node, group, opennebula.CheckHost(node)
	}
	node, err = d.NodeOfDatastore(ctx, cfg, ds)
	return node, group, err
}
