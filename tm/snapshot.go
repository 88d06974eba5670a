package tm

import (
	"context"
	"fmt"
	"slices"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// planSnapshot: snapshots of a disk are LVM's, on the node that has the disk exclusively.
//
// SNAP_CREATE_LIVE is the same as SNAP_CREATE: oned runs nothing around it that would
// freeze the guest, and the snapshot of a volume is of one instant in any case, as a power
// cut would leave it.
func (d *Driver) planSnapshot(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	at, err := d.whereDisksAre(ctx, call, call.Dest.Host)
	if err != nil {
		return nil, err
	}
	number := call.Snapshot
	step := plan.Step{Host: at.host}
	switch call.Verb {
	case "snap_delete":
		step.Request = d.requestAt(at, agent.OpRemove, call)
		step.What = fmt.Sprintf("remove snapshot %d of disk %d of VM %d", number, call.Disk, call.VM)
	case "snap_revert":
		step.Request = d.requestAt(at, agent.OpRevert, call)
		step.What = fmt.Sprintf("bring disk %d of VM %d back to snapshot %d", call.Disk, call.VM, number)
	default:
		step.Request = d.requestAt(at, agent.OpSnapshot, call)
		step.Request.Space = at.cfg.Int("SNAPSHOT_SPACE")
		if step.Request.Parent, err = d.parentOf(ctx, call); err != nil {
			return nil, err
		}
		step.What = fmt.Sprintf("take snapshot %d of disk %d of VM %d", number, call.Disk, call.VM)
	}
	step.Request.Snapshot = &number
	return []plan.Step{step}, nil
}

// parentOf is the snapshot that oned says the new one descends from; nil for none. It is
// only kept for people: LVM's snapshots do not depend on each other.
func (d *Driver) parentOf(ctx context.Context, call opennebula.Call) (*int, error) {
	vm, err := d.Records.VM(ctx, call.VM)
	if err != nil {
		return nil, err
	}
	all := vm.Snapshots[call.Disk]
	i := slices.IndexFunc(all, func(s opennebula.Snapshot) bool { return s.ID == call.Snapshot })
	if i < 0 || all[i].Parent < 0 {
		return nil, nil
	}
	return &all[i].Parent, nil
}
