package vmm

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"one-clvm/agent"
	"one-clvm/cluster"
	"one-clvm/cluster/standalone"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/vmm/domain"
)

// Exit statuses of a resource agent.
const (
	ocfSuccess       = 0
	ocfGeneric       = 1
	ocfUnimplemented = 3
	ocfInstalled     = 5 // not installed
	ocfConfigured    = 6 // wrongly
	ocfNotRunning    = 7
)

//go:embed metadata.xml
var metadata string

// Resource is the resource agent ocf:one-clvm:VirtualDomain: what Pacemaker calls on a node
// to start, stop, watch and move a VM. Unlike ocf:heartbeat:VirtualDomain it activates the
// VM's volumes, checks the domain before root starts it, and never takes a VM for stopped
// because a file cannot be read.
//
// What watches and stops a VM needs no configuration: a mistake in agent.conf must not cost
// the node, or, where the file is the same everywhere, all of them.
type Resource struct {
	Config Config // the defaults where Unconfigured
	Groups []string
	// Unconfigured is why agent.conf cannot be used, fs.ErrNotExist where there is none; nil: it
	// is in Config.
	Unconfigured error
	Root         string // "/" outside of tests: where /proc is
	Agents       Agents
	Runner       run.Runner
	Clock        cluster.Clock
	Env          func(name string) string
	Stdout       io.Writer
	Stderr       io.Writer // what Pacemaker logs
	// Peer is the argument vector of another node's privileged end.
	Peer func(host string) []string
}

// Do is one call. It returns the exit status.
func (r *Resource) Do(ctx context.Context, action string) int {
	if action == "meta-data" {
		_, err := io.WriteString(r.Stdout, metadata)
		return r.status(err)
	}
	c, err := r.call()
	if err != nil {
		r.reason(err)
		return ocfConfigured
	}
	switch action {
	case "stop":
		return r.status(c.stop(ctx))
	case "monitor", "status":
		return c.monitor(ctx)
	}
	if r.Unconfigured != nil {
		r.reason(r.Unconfigured)
		return r.without()
	}
	if c.undefined != nil {
		r.reason(c.undefined)
		return ocfConfigured
	}
	switch action {
	case "start":
		return r.status(c.start(ctx))
	case "migrate_to":
		return r.status(c.migrateTo(ctx))
	case "migrate_from":
		return r.status(c.migrateFrom(ctx))
	case "validate-all":
		return ocfSuccess
	}
	return ocfUnimplemented
}

func (r *Resource) status(err error) int {
	if err == nil {
		return ocfSuccess
	}
	r.reason(err)
	if errors.Is(err, domain.ErrRefused) { // no other node would start it either
		return ocfConfigured
	}
	return ocfGeneric
}

// without is the status of what cannot be done without a configuration: a node that has none
// runs no VMs.
func (r *Resource) without() int {
	if errors.Is(r.Unconfigured, fs.ErrNotExist) {
		return ocfInstalled
	}
	return ocfGeneric
}

// reason is what crm_mon shows and a failed deploy tells its user.
func (r *Resource) reason(err error) {
	fmt.Fprintln(r.Stderr, "ocf-exit-reason:"+opennebula.Sanitize(err.Error()))
}

// resourceCall is one action on one VM.
type resourceCall struct {
	*Resource
	job        *job
	service    cluster.Service
	virsh      *virsh.Client
	hypervisor cluster.Hypervisor // that of the executor
	networks   *networks
	deadline   time.Time
	undefined  error // what is wrong with the definition
}

// margin is left of an operation's timeout to say what went wrong: one that runs into it is
// killed, and a stop that is killed costs the node.
const margin = 5 * time.Second

// destroying is what a stop keeps for a guest that ignores it; asking is the most of it that
// a request to shut down may take to be accepted.
const (
	destroying = 20 * time.Second
	asking     = destroying / 2
)

// uriPattern is a URI of libvirt, as far as parameters may name one.
var uriPattern = lazyregexp.New(`^[a-z][a-z0-9+]*://[A-Za-z0-9._:@/?=&%+-]*$`)

// call reads the parameters. The VM is the resource's: where its definition is wrong, or not
// below HOME_BASE any more, it can still be watched and stopped.
func (r *Resource) call() (*resourceCall, error) {
	vm, ok := vmOf(r.Env("OCF_RESOURCE_INSTANCE"))
	if !ok {
		return nil, fmt.Errorf("resource %q is no VM: its name is not one-ID", r.Env("OCF_RESOURCE_INSTANCE"))
	}
	uri := r.Env("OCF_RESKEY_hypervisor")
	if uri == "" {
		uri = r.Config.Hypervisor
	}
	if !uriPattern.MatchString(uri) {
		return nil, fmt.Errorf("parameter hypervisor: %q is no URI of libvirt", uri)
	}
	q, undefined := r.request(vm)
	timeout := 2 * time.Minute
	if ms, err := strconv.Atoi(r.Env("OCF_RESKEY_CRM_meta_timeout")); err == nil && ms > 0 {
		timeout = time.Duration(ms) * time.Millisecond
	}
	left := max(timeout-margin, time.Second)
	shutdown, err := time.ParseDuration(r.Env("OCF_RESKEY_shutdown"))
	if most := max(left-destroying, left/2); err != nil || shutdown <= 0 || shutdown > most {
		shutdown = most
	}
	service := q.service(&r.Config)
	service.Hypervisor = uri
	service.Patience = cluster.Patience{Start: left, Shutdown: shutdown, Settle: left - shutdown, Migrate: left, Stop: left}
	a := &Agent{Config: r.Config, Groups: r.Groups, Agents: r.Agents, Runner: r.Runner, Clock: r.Clock}
	c := &resourceCall{
		Resource: r, service: service, deadline: r.Clock.Now().Add(left), undefined: undefined,
		virsh: a.virsh(), hypervisor: a.virsh(),
		job: &job{Agent: a, q: q, volumes: volumes{agents: r.Agents, groups: r.Groups, vm: vm, ds: q.DS, home: q.Home, lockWait: int(left.Seconds())}},
	}
	c.networks = a.networks(q, c.log)
	return c, nil
}

// request is what the path of the VM's definition says, which has to be below HOME_BASE.
func (r *Resource) request(vm int) (Request, error) {
	q := Request{Verb: cluster.VerbStart, VM: vm, DS: opennebula.None}
	file := r.Env("OCF_RESKEY_definition")
	home := path.Dir(file)
	ds, err := strconv.Atoi(path.Base(path.Dir(home)))
	if err != nil || path.Base(home) != strconv.Itoa(vm) || path.Base(file) != definitionName || path.Clean(file) != file {
		return q, fmt.Errorf("parameter definition %q is not HOME_BASE/DATASTORE/%d/%s", file, vm, definitionName)
	}
	defined := q
	defined.DS, defined.Home = ds, home
	if err := defined.validateHome(&r.Config); err != nil {
		return q, fmt.Errorf("parameter definition: %w", err)
	}
	return defined, nil
}

func (c *resourceCall) log(format string, args ...any) {
	fmt.Fprintln(c.Stderr, "INFO: "+opennebula.Sanitize(fmt.Sprintf(format, args...)))
}

// do is what a node outside of a cluster would do: here the cluster is the caller.
func (c *resourceCall) do(ctx context.Context, verb cluster.Verb) error {
	stack := &standalone.Stack{Hypervisor: c.hypervisor, Document: func() (string, error) { return c.job.document(ctx) }}
	x := &cluster.Executor{Stack: stack, Runner: c.Runner, Clock: c.Clock, Log: c.log, Volumes: c.job.activate}
	service := c.service
	if verb == cluster.VerbShutdown {
		service.Patience.Settle = min(service.Patience.Settle, asking)
	}
	return x.Do(ctx, cluster.Order{Verb: verb, Service: service})
}

// start: proof that no other node has the disks, all of them exclusively here, then the
// domain. A start that fails leaves neither.
func (c *resourceCall) start(ctx context.Context) error {
	// No guest is asked to shut down: libvirt has the time, but for what takes a failure back.
	c.service.Patience.Settle = max(c.service.Patience.Start-destroying, c.service.Patience.Start/2)
	if err := c.proof(ctx); err != nil {
		return err
	}
	if err := c.networks.run(ctx, pre); err != nil {
		return err
	}
	failpoint.Hit("resource.networks")
	if err := c.do(ctx, cluster.VerbStart); err != nil {
		return err
	}
	if err := c.networks.run(ctx, post); err != nil { // a VM without its security groups is not left running
		return errors.Join(err, c.do(context.WithoutCancel(ctx), cluster.VerbCancel))
	}
	return nil
}

// proof that no other node has the disks.
func (c *resourceCall) proof(ctx context.Context) error {
	disks, err := c.job.volumes.owned(ctx)
	if err != nil {
		return err
	}
	return c.job.volumes.proof(disks)
}

// stop asks the guest, destroys it if that did not end it, and lets go of the volumes only
// when the hypervisor has said that the domain is gone, or no process emulates it. A hypervisor
// that does not answer until the end is a failure: the node is fenced then.
func (c *resourceCall) stop(ctx context.Context) error {
	c.hypervisor = watched{c.virsh, c.Root}
	err := c.persist(ctx, cluster.VerbShutdown, c.deadline.Add(-destroying))
	if err != nil { // whatever it is: a stop that fails costs the node and every other VM on it
		c.log("%s did not shut down: %v: destroying it", c.service.Name, err)
		err = c.persist(ctx, cluster.VerbCancel, c.deadline)
	}
	if err != nil {
		return err
	}
	if c.Unconfigured == nil {
		c.tidy(ctx, clean)
	} else { // the lock manager keeps other nodes from them
		c.log("%s is off, and its volumes stay active here, so that no other node starts it, until agent.conf is mended: %v", c.service.Name, c.Unconfigured)
	}
	return nil
}

// persist has a hypervisor that does not answer, as when it is restarted, asked until then.
func (c *resourceCall) persist(ctx context.Context, verb cluster.Verb, until time.Time) error {
	for {
		now, p := c.Clock.Now(), &c.service.Patience
		p.Shutdown = max(min(p.Shutdown, until.Sub(now)), time.Second)
		p.Settle = max(min(p.Settle, c.deadline.Sub(now)), time.Second)
		err := c.do(ctx, verb)
		if !errors.Is(err, cluster.ErrHypervisor) || !c.Clock.Now().Before(until) || c.Clock.Sleep(ctx, time.Second) != nil {
			return err
		}
	}
}

// watched is libvirt, and where that does not answer the processes of the node: a domain that
// none of them emulates is gone.
type watched struct {
	*virsh.Client
	root string
}

// answering is what libvirt has for an answer; one that hangs does not answer.
const answering = 5 * time.Second

// State implements cluster.Hypervisor.
func (w watched) State(ctx context.Context, s cluster.Service) (state cluster.Domain, reason string) {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	state, reason = w.Client.State(ctx, s)
	if state == cluster.Unknown && virsh.Emulated(w.root, s) == cluster.Absent {
		return cluster.Absent, ""
	}
	return state, reason
}

// tidy is a phase whose failure changes nothing for the VM.
func (c *resourceCall) tidy(ctx context.Context, p phase) {
	if err := c.networks.run(ctx, p); err != nil {
		c.log("%s: %v", c.service.Name, err)
	}
}

// monitor takes the processes' word where libvirt does not answer, as when it is restarted,
// and waits for it where they have none: a failure would end in the node's death.
func (c *resourceCall) monitor(ctx context.Context) int {
	hypervisor := watched{c.virsh, c.Root}
	for {
		state, why := hypervisor.State(ctx, c.service)
		if state == cluster.Unknown && virsh.Emulated(c.Root, c.service) == cluster.Active {
			state = cluster.Active
		}
		switch state {
		case cluster.Absent:
			return c.notRunning()
		case cluster.Crashed:
			c.reason(fmt.Errorf("domain %s is crashed", c.service.Name))
			return ocfGeneric
		case cluster.Unknown:
		default:
			return ocfSuccess
		}
		if !c.Clock.Now().Before(c.deadline) || c.Clock.Sleep(ctx, time.Second) != nil {
			c.reason(fmt.Errorf("%w: %s", cluster.ErrHypervisor, why))
			return ocfGeneric
		}
	}
}

// notRunning: a probe, which Pacemaker makes of every resource on every node, also says where
// none can run.
func (c *resourceCall) notRunning() int {
	if c.Env("OCF_RESKEY_CRM_meta_interval") == "0" && c.without() == ocfInstalled {
		return ocfInstalled
	}
	return ocfNotRunning
}

// migrateTo is a move that the cluster makes by itself; for one that OpenNebula asks for the
// transfer manager has opened the window. Crash: the window's record in the volumes' tags
// ends it.
func (c *resourceCall) migrateTo(ctx context.Context) error {
	source, target := c.Env("OCF_RESKEY_CRM_meta_migrate_source"), c.Env("OCF_RESKEY_CRM_meta_migrate_target")
	if !hostPattern.MatchString(source) || !hostPattern.MatchString(target) {
		return fmt.Errorf("migration from %q to %q", source, target)
	}
	if state, why := c.virsh.State(ctx, c.service); state != cluster.Active && state != cluster.Paused {
		return fmt.Errorf("%s cannot be moved, it is %s %s", c.service.Name, state, why)
	}
	if err := c.prepareNetworks(ctx, target); err != nil {
		return err
	}
	v, window := &c.job.volumes, &agent.Window{Source: source, Target: target, Seconds: int(c.service.Patience.Migrate.Seconds()) + 60}
	var taken undo.Stack
	steps := []struct {
		what, host string
		do, back   lvm.Mode
	}{{"share the volumes here", Here, lvm.Shared, lvm.Exclusive}, {"share the volumes on " + target, target, lvm.Shared, lvm.Off}}
	for _, s := range steps {
		taken.Push("take back: "+s.what, func(ctx context.Context) error { return v.set(ctx, s.host, s.back, nil) })
		if err := v.set(ctx, s.host, s.do, window); err != nil {
			return taken.Unwind(context.WithoutCancel(ctx), fmt.Errorf("%s: %w", s.what, err))
		}
		failpoint.Hit("resource.shared")
	}
	commands, err := c.virsh.Commands(cluster.Order{Service: c.service}, cluster.Step{Action: cluster.Move, Node: target}, nil)
	if err == nil {
		_, err = c.Runner.Run(ctx, run.Cmd{Path: commands[0].Program, Args: commands[0].Args})
	}
	if err != nil {
		return taken.Unwind(context.WithoutCancel(ctx), fmt.Errorf("move %s to %s: %w", c.service.Name, target, err))
	}
	failpoint.Hit("resource.moved")
	if err := v.set(ctx, Here, lvm.Off, nil); err != nil {
		c.log("%s has moved to %s, its volumes stay shared here until it is stopped here: %v", c.service.Name, target, err)
	}
	c.tidy(ctx, clean)
	return nil
}

// prepareNetworks has the target do what must be there before the VM is.
func (c *resourceCall) prepareNetworks(ctx context.Context, target string) error {
	names, _, err := c.networks.drivers()
	if err != nil || len(names) == 0 {
		return err
	}
	q := c.job.q
	q.Verb, q.Node, q.Start, q.Shutdown, q.Migrate, q.Settle = verbNetworks, target, 1, 1, 1, 1 // it waits for nothing
	peer := &Driver{Runner: c.Runner, Report: opennebula.NewReporter(c.Stderr, opennebula.Version{})}
	if _, err := peer.ask(ctx, c.Peer(target), q); err != nil {
		return fmt.Errorf("networks on %s: %w", target, err)
	}
	return nil
}

// migrateFrom waits for the domain, and takes its volumes for this node alone. That may
// fail while the other end still shares them: the VM runs, and the window's end mends it.
func (c *resourceCall) migrateFrom(ctx context.Context) error {
	if status := c.monitor(ctx); status != ocfSuccess {
		return fmt.Errorf("%s did not arrive", c.service.Name)
	}
	if err := c.job.volumes.set(ctx, Here, lvm.Exclusive, nil); err != nil {
		c.log("%s runs here, its volumes stay shared until the migration's window ends: %s", c.service.Name, strings.TrimSpace(err.Error()))
	}
	c.tidy(ctx, post)
	return nil
}
