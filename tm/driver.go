// Package tm is the transfer manager: what each of OpenNebula's TM verbs does with
// volumes. A verb is a plan, worked out from its arguments and oned's records, and
// then carried out step by step by the agents of the nodes.
package tm

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// ErrNotYet means: the verb, or this form of it, is not supported by this release. It is
// never reported as success.
var ErrNotYet = plan.ErrNotYet

// Driver carries out verbs.
type Driver struct {
	plan.Driver
	Remotes string // directory of oned's driver scripts
}

// planner is what works out a verb's plan, nil for a verb that is not there.
func (d *Driver) planner(verb string) func(context.Context, opennebula.Call) ([]plan.Step, error) {
	switch verb {
	case "clone", "ln":
		return d.planClone
	case "mkimage", "mkswap":
		return d.planVolatile
	case "context":
		return d.planContext
	case "delete":
		return d.planDelete
	case "mv":
		return d.planMove
	case "mvds", "cpds":
		return d.planSave
	case "premigrate", "postmigrate", "failmigrate":
		return d.planMigrate
	case "resize":
		return d.planResize
	case "snap_create", "snap_create_live", "snap_delete", "snap_revert":
		return d.planSnapshot
	case "prebackup", "prebackup_live":
		return d.planPrebackup
	case "postbackup", "postbackup_live":
		return d.planPostbackup
	case "restore":
		return d.planRestore
	case "monitor":
		return d.planMonitor
	}
	return nil
}

// Do carries out a verb as oned calls it.
func (d *Driver) Do(ctx context.Context, verb string, argv []string) error {
	call, err := opennebula.ParseTM(verb, argv)
	if err != nil {
		return err
	}
	planned := d.planner(verb)
	if planned == nil {
		return fmt.Errorf("%s: %w", verb, ErrNotYet)
	}
	steps, err := planned(ctx, call)
	if err != nil {
		return d.name(call, err)
	}
	return d.name(call, d.Carry(ctx, steps))
}

// name puts the verb and the object in front of an error.
func (d *Driver) name(call opennebula.Call, err error) error {
	if err == nil {
		return nil
	}
	subject := call.Verb
	if call.VM >= 0 {
		subject += fmt.Sprintf(" of VM %d", call.VM)
	}
	if call.Home.Disk >= 0 {
		subject += fmt.Sprintf(" disk %d", call.Home.Disk)
	}
	return fmt.Errorf("%s: %w", subject, err)
}

// request starts a request for the VM of a call, on the system datastore of its home.
func (d *Driver) request(op agent.Op, call opennebula.Call, cfg *cxmrc.Config) agent.Request {
	disk := call.Home.Disk
	if disk < 0 {
		disk = agent.AllDisks
	}
	return agent.Request{
		Op: op, Operation: plan.NewOperation(), Group: cfg.String("VG_NAME"),
		VM: call.VM, Disk: disk, DS: call.Home.Datastore, Home: call.Home.Home(),
		Patience: cfg.Int("LOCK_TIMEOUT"), Wipe: agent.Wipe(cfg.String("WIPE")), SingleWriter: cfg.Bool("SINGLE_WRITER"),
	}
}

// fileRequest starts a request that puts a file into the home: no volume is touched.
func (d *Driver) fileRequest(call opennebula.Call) agent.Request {
	q := d.request(agent.OpFile, call, d.Config)
	q.Group, q.File = "", call.Home.Name
	return q
}

// systemConfig is the configuration with the overrides of the system datastore, whose
// volume group a VM's disks are in.
func (d *Driver) systemConfig(ctx context.Context, id int) (*cxmrc.Config, error) {
	return d.DatastoreConfig(ctx, d.Config, id)
}
