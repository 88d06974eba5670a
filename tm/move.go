package tm

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// planMove: no data moves within a system datastore. The volume stays on the SAN and the
// home on the shared file system; what changes is where the volume is active:
//
//	node → same node        nothing
//	node → front-end        off, tagged parked
//	front-end → node        exclusive there
//	node → other node       off here, exclusive there
func (d *Driver) planMove(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	file, err := d.sharedFile(ctx, call)
	if err != nil {
		return nil, err
	}
	if file != "" {
		return d.planMoveFile(ctx, call, file)
	}
	if call.SourceHome.Datastore != call.Home.Datastore || call.SourceHome.Base != call.Home.Base {
		return d.planMoveAcross(ctx, call)
	}
	if call.Home.IsHome() || call.Source.Host == call.Dest.Host {
		return nil, nil
	}
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, err
	}
	switch {
	case d.IsFrontEnd(call.Dest.Host):
		return []plan.Step{d.park(call, cfg)}, nil
	case d.IsFrontEnd(call.Source.Host):
		return []plan.Step{d.activateOn(call, cfg, call.Dest.Host, lvm.Exclusive)}, nil
	}
	return d.planMoveBetween(ctx, call, call, cfg)
}

func (d *Driver) park(call opennebula.Call, cfg *cxmrc.Config) plan.Step {
	q := d.request(agent.OpPark, call, cfg)
	return plan.Step{What: fmt.Sprintf("park disk %d of VM %d", q.Disk, q.VM), Host: call.Source.Host, Request: q}
}

func (d *Driver) activateOn(call opennebula.Call, cfg *cxmrc.Config, host string, mode lvm.Mode) plan.Step {
	q := d.request(agent.OpActivate, call, cfg)
	q.Activate, q.Link = mode, mode != lvm.Off
	disks := fmt.Sprintf("disk %d", q.Disk)
	if q.Disk == agent.AllDisks {
		disks = "the disks"
	}
	return plan.Step{What: fmt.Sprintf("bring %s of VM %d into mode %s", disks, q.VM, mode), Host: host, Request: q}
}

// planMoveBetween takes a disk from one node to another; at is the call as seen from the
// home that the disk leaves. A dead source is left alone: the lock manager alone decides
// whether the volume is free. A source that oned can reach gives the volume up itself,
// also that of a VM of unknown state: it may well still have the volume active.
func (d *Driver) planMoveBetween(ctx context.Context, at, call opennebula.Call, cfg *cxmrc.Config) ([]plan.Step, error) {
	vm, err := d.Records.VM(ctx, call.VM)
	if err != nil {
		return nil, err
	}
	hosts, err := d.Records.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	on := d.activateOn(call, cfg, call.Dest.Host, lvm.Exclusive)
	lost := plan.FindHost(hosts, call.Source.Host)
	if plan.IsDead(lost) || isUnknown(vm) && lost != nil && !lost.Usable() {
		if lost.State != opennebula.HostOffline {
			on.Request.TakeOver = lost.Name
		}
		return []plan.Step{on}, nil
	}
	off := d.activateOn(at, cfg, call.Source.Host, lvm.Off)
	back := d.activateOn(at, cfg, call.Source.Host, lvm.Exclusive)
	off.Undo = &back
	return []plan.Step{off, on}, nil
}

func isUnknown(vm *opennebula.VM) bool {
	return vm.LCMState == opennebula.LCMPrologMigrateUnknown || vm.LCMState == opennebula.LCMPrologMigrateUnknownFailure
}

// planMoveAcross moves to another system datastore:
//
//	the home                   its files, on the new node
//	a disk, same VG            as within a datastore; the volume's tags follow
//	a disk, other VG           its data: see relocation
func (d *Driver) planMoveAcross(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	if d.IsFrontEnd(call.Dest.Host) {
		return nil, fmt.Errorf("to the front-end and to system datastore %d at once: %w", call.Home.Datastore, ErrNotYet)
	}
	if call.Home.IsHome() {
		q := d.fileRequest(call)
		q.Op, q.File, q.OldHome, q.OldDS = agent.OpMoveHome, "", call.SourceHome.Home(), call.SourceHome.Datastore
		return []plan.Step{{What: fmt.Sprintf("move the home of VM %d from %s to %s", q.VM, q.OldHome, q.Home), Host: call.Dest.Host, Request: q}}, nil
	}
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, err
	}
	leaving := call
	leaving.Home = call.SourceHome
	from, err := d.whereDisksAre(ctx, leaving, call.Source.Host)
	if err != nil {
		return nil, err
	}
	if from.cfg.String("VG_NAME") != cfg.String("VG_NAME") {
		move := &relocation{Driver: d, leaving: leaving, call: call, from: from, cfg: cfg}
		return []plan.Step{{What: move.String(), Here: move.carryOut}}, nil
	}
	if d.IsFrontEnd(call.Source.Host) || call.Source.Host == call.Dest.Host {
		return []plan.Step{d.activateOn(call, cfg, call.Dest.Host, lvm.Exclusive)}, nil
	}
	return d.planMoveBetween(ctx, leaving, call, cfg)
}
