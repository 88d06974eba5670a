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

	"one-clvm/cluster"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// ErrNotYet means: the verb is not supported by this release. It is never reported as
// success.
var ErrNotYet = errors.New("not supported by this release of one-clvm")

// Driver is the end without privileges.
type Driver struct {
	Config *cxmrc.Config
	Agent  []string // argument vector that starts the privileged end
	Runner run.Runner
	Report *opennebula.Reporter
	Stdin  io.Reader
	Stdout io.Writer
}

// Do carries out a verb as one_vmm_exec calls it.
func (d *Driver) Do(ctx context.Context, verb string, argv []string) error {
	call, err := opennebula.ParseVMM(verb, argv)
	if err != nil {
		return err
	}
	q, err := d.request(call)
	if err == nil {
		err = d.ask(ctx, q)
	}
	if err != nil {
		return fmt.Errorf("%s of VM %d on %s: %w", call.Verb, call.VM, call.Host, err)
	}
	if q.Verb == cluster.VerbStart {
		_, err = fmt.Fprintln(d.Stdout, call.DeployID)
	}
	return err
}

// request is made of a call alone: what is in force on the node is not known here.
func (d *Driver) request(call opennebula.VMMCall) (Request, error) {
	q := Request{
		Verb: cluster.Verb(call.Verb), VM: call.VM, DS: call.File.Datastore, Node: call.Host, To: call.To,
		Start: d.Config.Int("START_TIMEOUT"), Shutdown: d.Config.Int("SHUTDOWN_TIMEOUT"),
		Migrate: d.Config.Int("MIGRATION_TIMEOUT"), Settle: d.Config.Int("SETTLE_TIMEOUT"),
	}
	if call.File.Base != "" {
		q.Home = call.File.Home()
	}
	switch call.Verb {
	case "deploy":
		domain, err := opennebula.ReadDocument(d.Stdin)
		if err != nil {
			return q, fmt.Errorf("domain on standard input: %w", err)
		}
		q.Domain = string(domain)
	case "shutdown", "cancel", "reboot", "reset", "save", "restore", "migrate":
	default:
		return q, ErrNotYet
	}
	return q, nil
}

// ask starts the privileged end and passes on what it says.
func (d *Driver) ask(ctx context.Context, q Request) error {
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	answer := &answer{report: d.Report}
	_, err = d.Runner.Run(ctx, run.Cmd{Path: d.Agent[0], Args: d.Agent[1:], Stdin: bytes.NewReader(text), Stdout: answer})
	switch {
	case answer.broken != nil:
		return answer.broken
	case answer.done && answer.failure != "":
		return errors.New(answer.failure)
	case answer.done:
		return nil
	case err != nil:
		return fmt.Errorf("the privileged end did not answer: %w; is sudoers.d/one-clvm-vmm installed on this node?", err)
	}
	return errors.New("the privileged end ended without a result; run the verb again")
}

// answer takes the lines of an answer as they come.
type answer struct {
	report  *opennebula.Reporter
	rest    []byte
	done    bool
	failure string
	broken  error
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
		a.done, a.failure = true, l.Error
	case l.Warn:
		a.report.Warn("%s", l.Log)
	default:
		a.report.Info("%s", l.Log)
	}
}
