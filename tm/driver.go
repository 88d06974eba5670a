// Package tm is the transfer manager: what each of OpenNebula's TM verbs does with
// volumes. A verb is a plan, worked out from its arguments and oned's records, and
// then carried out step by step by the agents of the nodes.
package tm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// ErrNotYet means: the verb, or this form of it, is not supported by this release. It is
// never reported as success.
var ErrNotYet = errors.New("not supported by this release of one-clvm")

// Records are oned's own, as far as verbs ask for them; *opennebula.Client has them.
type Records interface {
	VM(ctx context.Context, id int) (*opennebula.VM, error)
	VMs(ctx context.Context) ([]opennebula.VM, error)
	Image(ctx context.Context, id int) (*opennebula.Image, error)
	ImageBySource(ctx context.Context, source string) (*opennebula.Image, error)
	Datastore(ctx context.Context, id int) (*opennebula.Datastore, error)
	Hosts(ctx context.Context) ([]opennebula.Host, error)
	UpdateImage(ctx context.Context, id int, template string) error
	Documents(ctx context.Context, vm, image, datastore int) (string, error)
}

// Agents reach the agent of a node, by the node's name.
type Agents interface {
	Do(ctx context.Context, host string, q agent.Request, t agent.Transfer) (agent.Result, error)
}

// Driver carries out verbs.
type Driver struct {
	Config   *cxmrc.Config
	Version  opennebula.Version
	Remotes  string // directory of oned's driver scripts
	FrontEnd string // the name that oned uses for this machine
	Records  Records
	Agents   Agents
	Runner   run.Runner
	Report   *opennebula.Reporter
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer // for the progress bar, if it is a terminal
	DryRun   bool      // print the plan, change nothing
}

// verbs maps a verb's name to what works out its plan.
func (d *Driver) planner(verb string) func(context.Context, opennebula.Call) ([]Step, error) {
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
	plan := d.planner(verb)
	if plan == nil {
		return fmt.Errorf("%s: %w", verb, ErrNotYet)
	}
	steps, err := plan(ctx, call)
	if err != nil {
		return d.name(call, err)
	}
	if d.DryRun {
		return d.print(steps)
	}
	return d.name(call, d.carryOut(ctx, steps))
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
		Op: op, Operation: NewOperation(), Group: cfg.String("VG_NAME"),
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

// NewOperation makes the id that ties the log lines of both ends together.
func NewOperation() string {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// systemConfig is the configuration with the overrides of the system datastore, whose
// volume group a VM's disks are in.
func (d *Driver) systemConfig(ctx context.Context, id int) (*cxmrc.Config, error) {
	return d.datastoreConfig(ctx, d.Config, id)
}

func (d *Driver) datastoreConfig(ctx context.Context, base *cxmrc.Config, id int) (*cxmrc.Config, error) {
	ds, err := d.Records.Datastore(ctx, id)
	if err != nil {
		return nil, err
	}
	return base.WithDatastore(ds.Template, ds.Origin())
}

// rate is bytes per second for the log.
func rate(bytes int64, since time.Time) float64 {
	seconds := time.Since(since).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(bytes) / seconds
}
