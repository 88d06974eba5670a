package tm

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/opennebula"
)

// planDelete removes a disk, or with the home everything tagged with the VM's id.
func (d *Driver) planDelete(ctx context.Context, call opennebula.Call) ([]Step, error) {
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, err
	}
	vm, err := d.vmIfParked(ctx, call.Dest.Host, call.VM)
	if err != nil {
		return nil, err
	}
	host, err := d.nodeFor(ctx, cfg, call.Dest.Host, vm)
	if err != nil {
		return nil, err
	}
	q := d.request(agent.OpRemove, call, cfg)
	what := fmt.Sprintf("remove disk %d of VM %d", q.Disk, q.VM)
	if call.Home.IsHome() {
		what = fmt.Sprintf("remove all disks and the home of VM %d", q.VM)
	}
	return []Step{{What: what, Host: host, Request: q}}, nil
}
