package lvm2

import (
	"context"
	"fmt"
	"slices"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

var diskFields = []string{"pv_uuid", "pv_name", "vg_name"}

// PhysicalVolumes lists all disks with a physical volume on them that LVM on this node
// sees, whatever group they are in. groups are those whose volumes hold guests' disks.
func PhysicalVolumes(ctx context.Context, r run.Runner, groups []string) ([]lvm.PhysicalVolume, error) {
	if len(groups) == 0 {
		return nil, fmt.Errorf("list physical volumes: %w: no volume group is allowed on this node", lvm.ErrNoGroup)
	}
	return New(groups[0], r, Options{Others: groups[1:]}).physicalVolumes(ctx)
}

// physicalVolumes asks for all: a report of one group does not list the disks that are
// missing from it. Groups of other hosts and of lock managers count, too.
func (g *Group) physicalVolumes(ctx context.Context) ([]lvm.PhysicalVolume, error) {
	args := append(reportArgs(diskFields), "--foreign", "--shared")
	result, err := g.lvm(ctx, run.Cmd{Path: "pvs", Args: args})
	if err != nil {
		return nil, fmt.Errorf("list physical volumes: %w", err)
	}
	rows, err := parseReport(result.Stdout, "pv", diskFields)
	if err != nil {
		return nil, fmt.Errorf("list physical volumes: %w", err)
	}
	disks := make([]lvm.PhysicalVolume, 0, len(rows))
	for _, r := range rows {
		disks = append(disks, lvm.PhysicalVolume{UUID: r["pv_uuid"], Path: r["pv_name"], Group: r["vg_name"]})
	}
	return disks, nil
}

// Permit implements lvm.Unlocked.
func (g *Group) Permit(p lvm.Permission) { g.permission = p }

// permitted asks whether the group may be changed, if no lock manager keeps other nodes
// out. Once is enough: a Group lives for one request.
func (g *Group) permitted(ctx context.Context, info lvm.GroupInfo) error {
	if info.LockManager != managerNone || g.mayChange {
		return nil
	}
	if g.permission == nil {
		return fmt.Errorf("%w, and it is not known who else may change it", lvm.ErrUnlocked)
	}
	disks, err := g.physicalVolumes(ctx)
	if err != nil {
		return err
	}
	disks = slices.DeleteFunc(disks, func(d lvm.PhysicalVolume) bool { return d.Group != g.name })
	if len(disks) == 0 {
		return fmt.Errorf("%w, and pvs lists no disk of it", lvm.ErrUnlocked)
	}
	err = g.permission(ctx, disks)
	g.mayChange = err == nil
	return err
}
