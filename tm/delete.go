package tm

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// planDelete removes a disk, or with the home everything tagged with the VM's id.
func (d *Driver) planDelete(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	at, err := d.whereDisksAre(ctx, call, call.Dest.Host)
	if err != nil {
		return nil, err
	}
	q := d.requestAt(at, agent.OpRemove, call)
	what := fmt.Sprintf("remove disk %d of VM %d", q.Disk, q.VM)
	if call.Home.IsHome() {
		what = fmt.Sprintf("remove all disks and the home of VM %d", q.VM)
	}
	return []plan.Step{{What: what, Host: at.host, Request: q}}, nil
}
