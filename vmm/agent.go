package vmm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/cluster/virsh"
	"one-clvm/cluster/xen"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/vmm/domain"
)

// Agent is the privileged end. It serves one request and ends.
type Agent struct {
	Config Config
	Groups []string // allowed volume groups
	Agents Agents
	Runner run.Runner
	Clock  cluster.Clock
	// Stack is the one that runs on this node; document gives the checked domain of the
	// service.
	Stack func(document func() (string, error)) (cluster.Stack, error)
}

// Serve reads a request from in, carries it out, and tells on out what happens. Its error
// was already told there.
func (a *Agent) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := json.NewEncoder(out)
	// A peer that is gone does not end the verb: it converges either way.
	log := func(format string, args ...any) { _ = lines.Encode(Line{Log: fmt.Sprintf(format, args...)}) }
	q, err := readRequest(in, &a.Config)
	last := Line{Done: true}
	switch {
	case err != nil:
	case q.Verb == VerbPoll:
		last.Survey, err = a.survey(ctx, time.Duration(q.Settle)*time.Second)
	case q.Verb == verbNetworks:
		err = a.networks(q, log).run(ctx, pre)
	default:
		last.Plan, err = a.perform(ctx, q, log)
	}
	if err != nil {
		last.Error = err.Error()
	}
	return errors.Join(err, lines.Encode(last))
}

// perform carries out a verb, or only says what it would do. That needs no lock, which would
// leave the time of a verb.
func (a *Agent) perform(ctx context.Context, q Request, log func(string, ...any)) (plan string, err error) {
	if q.DryRun {
		x, order, err := a.prepare(ctx, q, log)
		if err != nil {
			return "", err
		}
		would, err := x.Plan(ctx, order)
		return would.String(), err
	}
	lock, err := lockService(ctx, a.Config.LockDir, q.VM, a.Clock, time.Duration(q.Settle)*time.Second)
	if err != nil {
		return "", err
	}
	defer unlock(lock, a.Clock)
	x, order, err := a.prepare(ctx, q, log)
	if err != nil {
		return "", err
	}
	return "", x.Do(ctx, order)
}

// prepare checks what the verb is about, and has it ready to be carried out. Nothing is
// changed yet.
func (a *Agent) prepare(ctx context.Context, q Request, log func(string, ...any)) (x *cluster.Executor, order cluster.Order, err error) {
	job := &job{Agent: a, q: q, xen: xenFiles{a.Config.XenFiles, a.Config.HomeBases}, volumes: volumes{agents: a.Agents, groups: a.Groups, vm: q.VM, ds: q.DS, home: q.Home, lockWait: q.Settle}}
	var device cluster.Device
	var name string
	switch {
	case a.Config.Xen != "":
		name, device, err = job.prepareXen(ctx)
	case q.Verb == cluster.VerbStart:
		job.checked, err = job.check(ctx, q.Domain)
	case q.Verb == cluster.VerbRestore:
		job.checked, err = job.stored(ctx)
	case q.Verb.ChangesHardware():
		device, err = job.prepareHardware(ctx)
	}
	if err != nil {
		return nil, order, err
	}
	stack, err := a.Stack(func() (string, error) { return job.document(ctx) })
	if err != nil {
		return nil, order, err
	}
	x = &cluster.Executor{Stack: stack, Runner: a.Runner, Clock: a.Clock, Log: log, Volumes: job.activate, Store: job.store, Discard: job.discard}
	order = job.q.order(&a.Config)
	order.Device = device
	if job.checked != nil {
		order.Service.CPUs, order.Service.MemoryMiB = job.checked.Uses()
	}
	x.Inspect = func(ctx context.Context) (cluster.Hardware, error) { return a.virsh().Inspect(ctx, order.Service) }
	x.There = func(ctx context.Context, node string) cluster.Domain { return a.there(ctx, order.Service.Name, node) }
	if a.Config.Xen != "" {
		x.There = nil // xl and xm know their own node alone
		order.Service.Name, order.Service.Definition = name, path.Join(a.Config.XenFiles, name)
		x.Inspect = func(ctx context.Context) (cluster.Hardware, error) {
			h, err := a.xen().Inspect(ctx, order.Service)
			h.CPUs, h.MemoryMiB = job.xenLimits.CPUs, job.xenLimits.MemoryMiB
			return h, err
		}
	}
	return x, order, nil
}

// there asks another node's libvirt whether it runs a domain.
func (a *Agent) there(ctx context.Context, name, node string) cluster.Domain {
	active, err := a.virsh().Active(ctx, "", node)
	switch {
	case err != nil:
		return cluster.Unknown
	case slices.Contains(active, name):
		return cluster.Active
	}
	return cluster.Absent
}

// xen asks this node's Xen.
func (a *Agent) xen() *xen.Client { return &xen.Client{Runner: a.Runner, Program: a.Config.Xen} }

// virsh asks this node's libvirt.
func (a *Agent) virsh() *virsh.Client {
	return &virsh.Client{Runner: a.Runner, MigrationURI: a.Config.MigrationURI, MigrateOptions: a.Config.MigrateOptions}
}

// networks are those of the request's VM.
func (a *Agent) networks(q Request, log func(string, ...any)) *networks {
	return &networks{runner: a.Runner, remotes: a.Config.Remotes, owner: a.Config.Owner, vm: q.VM, home: q.Home, log: log}
}

// job is one request.
type job struct {
	*Agent
	q       Request
	volumes volumes
	checked *domain.Domain // what the VM has after the verb; nil where that is not known

	// The same under Xen.
	xen        xenFiles
	xenChecked *domain.Xen
	xenLimits  cluster.Hardware // what a running VM may grow to
}

// activate is for the stacks without a resource agent, and for domains that no cluster knows.
// A verb that does not tell the home finds the datastore in the volumes' own tags.
func (j *job) activate(ctx context.Context, mode lvm.Mode) error {
	v := j.volumes
	if v.home == "" {
		ds, err := v.datastore(ctx)
		if err != nil {
			return err
		}
		if ds == opennebula.None {
			return nil // it has none
		}
		v.ds, v.home = ds, j.Config.homeOf(ds, v.vm)
	}
	err := v.set(ctx, Here, mode, nil)
	if err != nil && mode == lvm.Exclusive { // the step has not been done, and so is not undone: some of them may be active
		return errors.Join(err, v.set(context.WithoutCancel(ctx), Here, lvm.Off, nil))
	}
	return err
}

// keep writes a definition into the home, which stays open.
func (j *job) keep(name string, definition []byte) (*home, error) {
	h, err := openHome(j.q.Home)
	if err != nil {
		return nil, err
	}
	if err := h.write(name, string(definition)); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// store puts the domain as the verb makes it into the home, where it is started from. A crash
// leaves the file of before, or the new one, which goes with the home.
func (j *job) store(context.Context) error {
	if j.Config.Xen != "" {
		return j.storeXen()
	}
	text, err := j.checked.Bytes()
	if err != nil {
		return err
	}
	h, err := j.keep(definitionName, text)
	if err != nil {
		return err
	}
	defer h.close()
	failpoint.Hit("vmm.stored")
	switch {
	case j.q.Verb == cluster.VerbStart: // oned has just written a newer one
		return h.remove(networkName)
	case j.q.Networks != "":
		return h.write(networkName, j.q.Networks)
	}
	return nil
}

// discard removes the checkpoint, for good before the VM's disks go on: back after a crash, it
// would be taken for theirs. One that dies before leaves the file, and the same verb again
// removes it; later (cluster.discard) it is gone.
func (j *job) discard(context.Context) error {
	h, err := openHome(j.q.Home)
	if err != nil {
		return err
	}
	defer h.close()
	if err := h.remove(checkpointName); err != nil {
		return fmt.Errorf("%w: the VM runs, and its checkpoint is older than its disks: remove it, then run the verb again", err)
	}
	return h.sync()
}

// document is the domain as it is to be started.
func (j *job) document(ctx context.Context) (string, error) {
	d, err := j.checked, error(nil)
	if d == nil {
		d, err = j.stored(ctx)
	}
	if err != nil {
		return "", err
	}
	text, err := d.Bytes()
	return string(text), err
}

// stored reads the stored domain, and checks it again: others may write in the home.
func (j *job) stored(ctx context.Context) (*domain.Domain, error) {
	text, err := j.storedText(definitionName)
	if err != nil {
		return nil, err
	}
	return j.check(ctx, text)
}

func (j *job) storedText(name string) (string, error) {
	h, err := openHome(j.q.Home)
	if err != nil {
		return "", err
	}
	defer h.close()
	return h.read(name)
}

func (j *job) check(ctx context.Context, text string) (*domain.Domain, error) {
	owner, err := j.owner(ctx)
	if err != nil {
		return nil, err
	}
	return domain.Read(strings.NewReader(text), owner)
}

// owner is the VM and what is its own.
func (j *job) owner(ctx context.Context) (domain.Owner, error) {
	h, err := openHome(j.q.Home)
	if err != nil {
		return domain.Owner{}, err
	}
	defer h.close()
	files, err := h.entries()
	if err != nil {
		return domain.Owner{}, err
	}
	disks, err := j.volumes.owned(ctx)
	if err != nil {
		return domain.Owner{}, err
	}
	return domain.Owner{VM: j.q.VM, Home: j.q.Home, Volumes: devices(disks), Files: files}, nil
}
