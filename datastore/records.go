package datastore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// diskSource is lvm://VM/DISK: a disk of a VM that does not run. The owner of the image must
// be one who may manage that VM.
func (d *Driver) diskSource(ctx context.Context, c *call) (*opennebula.VM, *opennebula.Disk, error) {
	vmText, diskText, _ := strings.Cut(strings.TrimPrefix(c.Image.Path, "lvm://"), "/")
	vmID, vmErr := opennebula.ParseID(vmText)
	diskID, diskErr := opennebula.ParseID(diskText)
	if err := errors.Join(vmErr, diskErr); err != nil {
		return nil, nil, fmt.Errorf("%w: %s is not lvm://VM/DISK: %w", ErrRefused, c.Image.Path, err)
	}
	vm, err := d.Records.VM(ctx, vmID)
	if err != nil {
		return nil, nil, err
	}
	disk, err := vm.Disk(diskID)
	return vm, disk, err
}

// resting are the states in which nothing writes to a VM's disks.
func resting(s opennebula.State) bool {
	switch s {
	case opennebula.StateStopped, opennebula.StateSuspended, opennebula.StatePoweroff, opennebula.StateUndeployed:
		return true
	}
	return false
}

func (d *Driver) planCopyDisk(ctx context.Context, c *call) ([]plan.Step, error) {
	vm, disk, err := d.diskSource(ctx, c)
	if err != nil {
		return nil, err
	}
	last := vm.Last()
	switch {
	case !vm.Access.MayManage(c.Image.Access):
		return nil, fmt.Errorf("%w: the image's owner may not manage VM %d", ErrRefused, vm.ID)
	case !resting(vm.State):
		return nil, fmt.Errorf("%w: VM %d may be writing to its disk: suspend, stop or power it off, or save the disk with onevm disk-saveas", ErrRefused, vm.ID)
	case last == nil || last.DatastoreID < 0:
		return nil, fmt.Errorf("VM %d: %w: no history tells its system datastore", vm.ID, opennebula.ErrDocument)
	}
	ds, err := d.Records.Datastore(ctx, last.DatastoreID)
	if err != nil {
		return nil, err
	}
	system, err := d.Config.WithDatastore(ds.Template, ds.Origin())
	if err != nil {
		return nil, err
	}
	hosts, err := d.Records.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	choice := plan.Choice{Bridges: system.List("BRIDGE_LIST"), Prefer: last.Hostname, Clusters: ds.ClusterIDs}
	lost := plan.FindHost(hosts, last.Hostname)
	if lost != nil && lost.Usable() {
		choice.Bridges = nil // it has the disk
	}
	host, err := choice.Choose(hosts)
	if err != nil {
		return nil, err
	}
	q := c.request(agent.OpStore)
	q.Space = system.Int("SNAPSHOT_SPACE") // something else than the VM may have the disk open
	q.Group, q.VM, q.Disk, q.DS, q.Home = system.String("VG_NAME"), vm.ID, disk.ID, ds.ID, filepath.Join(ds.BasePath, strconv.Itoa(vm.ID))
	if plan.IsDead(lost) && lost.State != opennebula.HostOffline {
		q.TakeOver = last.Hostname
	}
	what := fmt.Sprintf("make image %d of disk %d of VM %d", c.Image.ID, disk.ID, vm.ID)
	return []plan.Step{{What: what, Host: host, Request: q, Then: d.tell(c.source())}}, nil
}

// imageSource is vol://IMAGE.
func (d *Driver) imageSource(ctx context.Context, c *call) (*opennebula.Image, error) {
	id, err := opennebula.ParseID(strings.TrimPrefix(c.Image.Path, "vol://"))
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not vol://IMAGE: %w", ErrRefused, c.Image.Path, err)
	}
	return d.Records.Image(ctx, id)
}

// planCopyImage copies another image, from wherever it is. The owner of the new one must be
// one who may use it.
func (d *Driver) planCopyImage(ctx context.Context, c *call) ([]plan.Step, error) {
	source, err := d.imageSource(ctx, c)
	if err != nil {
		return nil, err
	}
	if !source.Access.MayUse(c.Image.Access) {
		return nil, fmt.Errorf("%w: the image's owner may not use image %d", ErrRefused, source.ID)
	}
	ds, err := d.Records.Datastore(ctx, source.DatastoreID)
	if err != nil {
		return nil, err
	}
	from := &call{DriverAction: &opennebula.DriverAction{Image: source, Datastore: *ds}, verb: c.verb}
	if from.cfg, err = d.Config.WithDatastore(ds.Template, ds.Origin()); err != nil {
		return nil, err
	}
	if image, ok := from.parseVolume(source.Source, source.ID); ok {
		return d.copyOfImage(ctx, c, image, d.tell(c.source()))
	}
	path, ok := from.ownFile(source.Source)
	if !ok {
		return nil, from.unknown(source.Source)
	}
	return []plan.Step{{What: fmt.Sprintf("make image %d of %s", c.Image.ID, path), Here: func(ctx context.Context) error {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("image file: %w", err)
		}
		return errors.Join(d.copyFile(ctx, c, file, source), file.Close())
	}}}, nil
}
