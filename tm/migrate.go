package tm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// planMigrate is the window of a live migration, during which the disks are shared:
//
//	PREMIGRATE   source exclusive → shared, target off → shared
//	POSTMIGRATE  source shared → off, target shared → exclusive
//	FAILMIGRATE  target shared → off, source shared → exclusive
func (d *Driver) planMigrate(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	vm, document, err := d.vmOf(call)
	if err != nil {
		return nil, err
	}
	call = call.Orient(vm, d.Version)
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, err
	}
	others, err := d.otherDrivers(call, vm, document)
	return append(d.window(call, cfg), others...), err
}

// window are the steps on the two ends. After the migration both are tried even if the
// other one cannot be reached: what is left is in the volumes' tags, and ends with the
// same verb again or with the window's deadline (agent.Window).
func (d *Driver) window(call opennebula.Call, cfg *cxmrc.Config) []plan.Step {
	set := func(host string, mode lvm.Mode) plan.Step {
		s := d.activateOn(call, cfg, host, mode)
		if mode == lvm.Shared {
			s.Request.Window = &agent.Window{Source: call.From, Target: call.To, Seconds: cfg.Int("MIGRATION_TIMEOUT")}
		}
		s.Always = call.Verb != "premigrate"
		return s
	}
	switch call.Verb {
	case "premigrate":
		source, target := set(call.From, lvm.Shared), set(call.To, lvm.Shared)
		backSource, backTarget := set(call.From, lvm.Exclusive), set(call.To, lvm.Off)
		source.Undo, target.Undo = &backSource, &backTarget
		return d.unlessArrived(call, cfg, source, target)
	case "postmigrate":
		steps := []plan.Step{set(call.From, lvm.Off), set(call.To, lvm.Exclusive)}
		for i := range steps {
			// The VM has moved: up to 4.12 oned would believe that it had not.
			steps[i].Lenient = !d.Version.AtLeast(4, 14, 0)
		}
		return steps
	}
	return []plan.Step{set(call.To, lvm.Off), set(call.From, lvm.Exclusive)}
}

// unlessArrived opens the window, unless the VM is at its target already: the hook has oned
// repeat a move that the cluster has made, from a node that cannot have the disks any more, or
// is dead. Asked is only when the source fails: then the target has them all for itself, in
// use, and goes on so. Taken back is nothing then, nor from a source that could not be asked,
// or whose locks another node has.
func (d *Driver) unlessArrived(call opennebula.Call, cfg *cxmrc.Config, source, target plan.Step) []plan.Step {
	arrived, untouched := false, false
	source.Mend = func(ctx context.Context, failed error) error {
		var err error
		if arrived, err = d.runsOn(ctx, call.To, call, cfg); err != nil || !arrived {
			untouched = errors.Is(failed, agent.ErrUnreachable) || errors.Is(failed, lvm.ErrLocked)
			return errors.Join(failed, err)
		}
		d.Report.Info("VM %d is on %s already, its disks stay as they are: %v", call.VM, call.To, failed)
		return nil
	}
	open := target
	target.Here = func(ctx context.Context) error {
		if arrived {
			return nil
		}
		return d.Step(ctx, open)
	}
	for _, back := range []*plan.Step{source.Undo, target.Undo} {
		take := *back
		back.Here = func(ctx context.Context) error {
			if arrived || untouched {
				return nil
			}
			return d.Step(ctx, take)
		}
	}
	return []plan.Step{source, target}
}

// runsOn: a node has all disks of the VM exclusively, and in use.
func (d *Driver) runsOn(ctx context.Context, host string, call opennebula.Call, cfg *cxmrc.Config) (bool, error) {
	q := agent.Request{Op: agent.OpVolumes, Operation: plan.NewOperation(), Group: cfg.String("VG_NAME")}
	res, err := d.Agents.Do(ctx, host, q, agent.Transfer{})
	if err != nil {
		return false, err
	}
	ours, disks := lvm.NewTags(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, call.VM)), 0
	for _, v := range res.Volumes {
		if !v.Tags.Has(ours...) || v.Tags.Has(lvm.TagQuarantine) || v.IsSnapshot() {
			continue
		}
		if v.Mode != lvm.Exclusive || !v.Open {
			return false, nil
		}
		disks++
	}
	return disks > 0, nil
}

// vmOf reads the VM's document, an argument up to 5.8 and standard input since 5.10.
func (d *Driver) vmOf(call opennebula.Call) (*opennebula.VM, []byte, error) {
	document := call.VMDocument
	if call.ReadsVMDocument() {
		var err error
		if document, err = opennebula.ReadDocument(d.Stdin); err != nil {
			return nil, nil, fmt.Errorf("VM document on standard input: %w", err)
		}
	}
	vm, err := opennebula.ParseVM(bytes.NewReader(document))
	return vm, document, err
}

// otherDrivers passes the verb on to the transfer managers of the VM's other disks:
// oned only calls the system datastore's. A user may write anything into TM_MAD of a
// volatile disk.
func (d *Driver) otherDrivers(call opennebula.Call, vm *opennebula.VM, document []byte) ([]plan.Step, error) {
	if call.CallerTM != "" {
		return nil, nil
	}
	var names []string
	for _, disk := range vm.Disks {
		if disk.TMMAD == "" || disk.TMMAD == ownTM(vm) || slices.Contains(names, disk.TMMAD) {
			continue
		}
		if !opennebula.IsDriverName(disk.TMMAD) {
			return nil, fmt.Errorf("disk %d has the driver %q: correct TM_MAD in the VM's template", disk.ID, disk.TMMAD)
		}
		names = append(names, disk.TMMAD)
	}
	var steps []plan.Step
	for _, name := range names {
		script := filepath.Join(d.Remotes, "tm", name, call.Verb)
		steps = append(steps, plan.Step{What: "pass the verb on to " + script, Here: func(ctx context.Context) error {
			return d.passOn(ctx, script, append(slices.Clone(call.Arguments), ownTM(vm)), document)
		}})
	}
	return steps, nil
}

func (d *Driver) passOn(ctx context.Context, script string, argv []string, document []byte) error {
	_, err := d.Runner.Run(ctx, run.Cmd{Path: script, Args: argv, Stdin: bytes.NewReader(opennebula.EncodeDocument(document))})
	return err
}

// ownTM is the name that this driver has in oned.conf.
func ownTM(vm *opennebula.VM) string {
	if last := vm.Last(); last != nil && last.TMMAD != "" {
		return last.TMMAD
	}
	return "clvm"
}

// planMonitor prints the volume group's numbers.
func (d *Driver) planMonitor(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	action, _, err := opennebula.ReadDriverAction(call.Arguments, d.Stdin)
	if err != nil {
		return nil, err
	}
	return d.Monitor(ctx, &action.Datastore)
}
