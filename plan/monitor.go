package plan

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/opennebula"
)

// Monitor prints the numbers of a datastore's volume group. One report on one node; a group
// that cannot be read is an error, never the size of some directory.
func (d *Driver) Monitor(ctx context.Context, ds *opennebula.Datastore) ([]Step, error) {
	cfg, err := d.Config.WithDatastore(ds.Template, ds.Origin())
	if err != nil {
		return nil, err
	}
	host, err := d.NodeOfDatastore(ctx, cfg, ds)
	if err != nil {
		return nil, err
	}
	q := agent.Request{Op: agent.OpMonitor, Operation: NewOperation(), Group: cfg.String("VG_NAME"), DS: ds.ID}
	return []Step{{What: "read volume group " + q.Group, Host: host, Request: q, Then: d.printCapacity}}, nil
}

func (d *Driver) printCapacity(res agent.Result) error {
	total, free := res.Info.Size>>20, res.Info.Free>>20
	_, err := fmt.Fprint(d.Stdout, opennebula.FormatMonitor(total, free, total-free))
	return err
}
