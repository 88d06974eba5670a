// Package vmm is what a VMM driver's scripts do on a node: an end without privileges, which
// one_vmm_exec starts and which reads what it was called with, and a privileged one behind
// one sudo rule, which decides by what the node's own configuration and the cluster say. It
// is also the resource agent by which Pacemaker starts and moves VMs by itself.
package vmm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"one-clvm/cluster"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// ErrNotYet means: the verb is not supported by this release. It is never reported as
// success.
var ErrNotYet = errors.New("not supported by this release of one-clvm")

// ErrNoSnapshots says why there are none of whole VMs.
var ErrNoSnapshots = errors.New("libvirt keeps a snapshot of a whole VM inside its disks, which must be QCOW2 for that, and those of this VM are raw (volumes on the SAN): take snapshots of its disks (onevm disk-snapshot-create), or suspend it")

// ErrNoExec says why no commands run in guests.
var ErrNoExec = errors.New("commands in guests (onevm exec) are not run by this driver, which speaks to no agent in the guest: log in to the VM, or put them into its contextualization (START_SCRIPT)")

// Driver is the end without privileges.
type Driver struct {
	Config  *cxmrc.Config
	Release opennebula.Version // of oned; says where a call's document is
	Agent   []string           // argument vector that starts the privileged end
	// Remote is the same for another node's, from the front-end.
	Remote func(host string) []string
	// FrontEnd is where oned runs, as the address that this end was called from tells; "" where
	// nobody called.
	FrontEnd string
	Runner   run.Runner
	Report   *opennebula.Reporter
	Stdin    io.Reader
	Stdout   io.Writer
	DryRun   bool // print the plan, change nothing
}

// Do carries out a verb as one_vmm_exec calls it.
func (d *Driver) Do(ctx context.Context, verb string, argv []string) error {
	call, err := opennebula.ParseVMM(verb, argv)
	if err != nil {
		return err
	}
	q, err := d.request(ctx, call)
	q.DryRun = d.DryRun
	var last Line
	if err == nil {
		last, err = d.ask(ctx, d.peer(call), q)
	}
	if errors.Is(err, errNoAnswer) && call.Verb == "migrate_local" {
		last, err = d.askTarget(ctx, q, err)
	}
	if err != nil {
		return fmt.Errorf("%s of VM %d on %s: %w", call.Verb, call.VM, call.Host, err)
	}
	switch {
	case q.Verb == VerbPoll: // it changes nothing in any case
		err = d.printPoll(call, last.Survey)
	case d.DryRun:
		_, err = io.WriteString(d.Stdout, first(last.Plan, "nothing is to be done\n"))
	case q.Verb == cluster.VerbStart:
		_, err = fmt.Fprintln(d.Stdout, call.DeployID)
	}
	return err
}

// request is made of a call alone: what is in force on the node is not known here.
func (d *Driver) request(ctx context.Context, call opennebula.VMMCall) (Request, error) {
	q := d.patience()
	q.Verb, q.VM, q.DS, q.Node, q.To = cluster.Verb(call.Verb), call.VM, call.File.Datastore, call.Host, call.To
	if call.File.Base != "" {
		q.Home = call.File.Home()
	}
	switch call.Verb {
	case "deploy":
		domain, err := opennebula.ReadDeployment(d.Stdin)
		if err != nil {
			return q, fmt.Errorf("domain on standard input: %w", err)
		}
		q.Domain = string(domain)
		if !strings.HasPrefix(strings.TrimSpace(q.Domain), "<") { // a file for Xen
			q.Name, err = d.fqdn(ctx, q.Home, q.VM)
		}
		return q, err
	case "shutdown", "cancel", "reboot", "reset", "save", "restore", "migrate", "poll":
	case "migrate_local":
		q.Verb = cluster.VerbMigrate
	case "snapshot_create", "snapshot_revert", "snapshot_delete":
		return q, ErrNoSnapshots
	case "exec", "exec_cancel":
		return q, ErrNoExec
	default:
		if q.Verb.ChangesHardware() {
			return q, d.hardware(call, &q)
		}
		return q, ErrNotYet
	}
	return q, nil
}

func (d *Driver) patience() Request {
	return Request{
		Start: d.Config.Int("START_TIMEOUT"), Shutdown: d.Config.Int("SHUTDOWN_TIMEOUT"),
		Migrate: d.Config.Int("MIGRATION_TIMEOUT"), Settle: d.Config.Int("SETTLE_TIMEOUT"),
	}
}

// hardware fills in what the verbs on a running VM's hardware are about.
func (d *Driver) hardware(call opennebula.VMMCall, q *Request) error {
	action, err := d.document(call)
	if err != nil {
		return err
	}
	vm := action.VM
	if last := vm.Last(); q.Home == "" && last != nil {
		q.DS = last.DatastoreID
	} else if q.Home == "" {
		q.DS = opennebula.None
	}
	q.Target, q.MAC = call.Target, call.MAC
	switch q.Verb {
	case cluster.VerbAttachDisk:
		disk, _ := vm.Disk(call.File.Disk) // up to 4.14 there is no document
		q.Device, err = diskDocument(call, disk)
	case cluster.VerbAttachNIC:
		q.Target = ""
		if q.Device, err = nicDocument(call, vm.NIC(call.MAC)); err == nil {
			q.Networks, err = action.NetworkDocument("")
		}
	case cluster.VerbDetachNIC:
		q.Networks, err = action.NetworkDocument(call.MAC)
	case cluster.VerbInsert:
		q.Disk = call.File.Disk
	case cluster.VerbResizeDisk:
		q.Disk, q.SizeMiB = call.Disk, call.SizeMiB
	case cluster.VerbResize:
		err = resizes(vm, q)
	}
	return err
}

// document is the call's, empty where the release gives none.
func (d *Driver) document(call opennebula.VMMCall) (*opennebula.VMMAction, error) {
	if call.Message != nil {
		return call.Message, nil
	}
	if !call.ReadsAction(d.Release) {
		return &opennebula.VMMAction{VM: &opennebula.VM{ID: call.VM}}, nil
	}
	action, err := opennebula.ReadVMMAction(d.Stdin)
	if err != nil {
		return nil, fmt.Errorf("document on standard input: %w", err)
	}
	if action.VM.ID != call.VM {
		return nil, fmt.Errorf("document on standard input: it is of VM %d", action.VM.ID)
	}
	return action, nil
}

// resizes reads what the VM is to have from now on.
func resizes(vm *opennebula.VM, q *Request) error {
	if mode := vm.Attributes["MEMORY_RESIZE_MODE"]; strings.EqualFold(mode, "HOTPLUG") {
		return fmt.Errorf("MEMORY_RESIZE_MODE=%s: %w: use BALLOONING", mode, ErrNotYet)
	}
	var err error
	if text := vm.Attributes["VCPU"]; text != "" {
		if q.CPUs, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("VCPU: %w", err)
		}
	}
	if text := vm.Attributes["MEMORY"]; text != "" {
		if q.MemoryMiB, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fmt.Errorf("MEMORY: %w", err)
		}
	}
	return nil
}

// errNoAnswer: of the privileged end nothing is known.
var errNoAnswer = errors.New("the privileged end did not answer")

// askTarget is for a source that is dead: that the VM runs at its target already, only the
// target can say. Nothing else is done there.
func (d *Driver) askTarget(ctx context.Context, q Request, silent error) (Line, error) {
	q.Node = q.To
	last, err := d.ask(ctx, d.Remote(q.To), q)
	if err != nil {
		return last, fmt.Errorf("%w; and on %s: %w", silent, q.To, err)
	}
	return last, nil
}

// peer is where the privileged end is: on this node, but for a verb that is called on the
// front-end.
func (d *Driver) peer(call opennebula.VMMCall) []string {
	if call.Verb == "migrate_local" {
		return d.Remote(call.Host)
	}
	return d.Agent
}

// ask starts the privileged end and passes on what it says; the last line is the answer.
func (d *Driver) ask(ctx context.Context, agent []string, q Request) (Line, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return Line{}, err
	}
	answer := &answer{report: d.Report}
	_, err = d.Runner.Run(ctx, run.Cmd{Path: agent[0], Args: agent[1:], Stdin: bytes.NewReader(text), Stdout: answer})
	switch {
	case answer.broken != nil:
		return Line{}, answer.broken
	case answer.last.Error != "":
		return Line{}, errors.New(answer.last.Error)
	case answer.last.Done:
		return answer.last, nil
	case err != nil:
		return Line{}, fmt.Errorf("%w: %w; is sudoers.d/one-clvm-vmm installed there?", errNoAnswer, err)
	}
	return Line{}, errors.New("the privileged end ended without a result; run the verb again")
}

// answer takes the lines of an answer as they come.
type answer struct {
	report *opennebula.Reporter
	rest   []byte
	last   Line // with Done, once it has come
	broken error
}

func (a *answer) Write(p []byte) (int, error) {
	a.rest = append(a.rest, p...)
	for a.broken == nil {
		i := bytes.IndexByte(a.rest, '\n')
		if i < 0 {
			break
		}
		a.line(a.rest[:i])
		a.rest = a.rest[i+1:]
	}
	if len(a.rest) > maxRequest {
		a.broken = errors.New("the privileged end sends a line without an end")
	}
	return len(p), a.broken
}

func (a *answer) line(text []byte) {
	var l Line
	if err := json.Unmarshal(text, &l); err != nil {
		a.broken = fmt.Errorf("answer of the privileged end: %w", err)
		return
	}
	switch {
	case l.Done:
		a.last = l
	case l.Warn:
		a.report.Warn("%s", l.Log)
	default:
		a.report.Info("%s", l.Log)
	}
}
