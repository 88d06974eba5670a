package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"one-clvm/adoption"
	"one-clvm/agent"
	"one-clvm/audit"
	"one-clvm/internal/command"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// adoptOptions are the flags of adopt, release and trial.
type adoptOptions struct {
	vm          int
	yes, asJSON bool
}

func adoptFlags(flags *pflag.FlagSet, vm, yes string) *adoptOptions {
	o := &adoptOptions{}
	flags.IntVar(&o.vm, "vm", opennebula.None, vm)
	flags.Lookup("vm").DefValue = "0" // nothing to show in the help
	flags.BoolVar(&o.yes, "yes", false, yes)
	return o
}

// setupAdopt takes volumes of fs_lvm over.
func setupAdopt(flags *pflag.FlagSet) command.Action {
	o := adoptFlags(flags, "only the disks of VM `ID`", "do it; else it is only shown")
	flags.BoolVar(&o.asJSON, "json", false, "the verdicts for programs; changes nothing")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		if o.asJSON && o.yes {
			return fmt.Errorf("%w: --json and --yes do not go together", command.ErrUsage)
		}
		return runAdopt(ctx, words[0], *o, io)
	}
}

// setupRelease gives them back.
func setupRelease(flags *pflag.FlagSet) command.Action {
	o := adoptFlags(flags, "only the disks of VM `ID`", "do it; else it is only shown")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		return runRelease(ctx, words[0], *o, io)
	}
}

// lookForAdoption asks nodes and oned; done ends the log.
func lookForAdoption(ctx context.Context, group string, io command.Stdio) (a *adoption.Adopter, s *audit.State, done func(), err error) {
	if err := lvm.ValidateGroupName(group); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	report := opennebula.NewReporter(io.Err, opennebula.Version{})
	driver, client, err := newDriver(report, io)
	if err == nil {
		client.OnLog = nil // the verdicts are what is told
		var records *opennebula.Client
		if records, err = newRecords(); err == nil {
			a = &adoption.Adopter{Auditor: &audit.Auditor{Driver: &driver.Driver, Records: records}, Datastores: records}
			s, err = a.Look(ctx, group)
		}
	}
	if err != nil {
		report.Close()
		return nil, nil, nil, fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	return a, s, report.Close, nil
}

// ofVM are the disks of that VM; all without one.
func (o adoptOptions) ofVM(all []adoption.Disk) []adoption.Disk {
	kept := []adoption.Disk{}
	for _, d := range all {
		if o.vm == opennebula.None || d.VM == o.vm {
			kept = append(kept, d)
		}
	}
	return kept
}

func runAdopt(ctx context.Context, group string, o adoptOptions, io command.Stdio) error {
	a, s, done, err := lookForAdoption(ctx, group, io)
	if err != nil {
		return err
	}
	defer done()
	disks := o.ofVM(adoption.Decide(s))
	if o.asJSON {
		return json.NewEncoder(io.Out).Encode(disks)
	}
	unnamed, err := a.Unnamed(ctx, s)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	refused, err := printVerdicts(disks, s, io)
	if err != nil {
		return err
	}
	if o.yes {
		for _, ds := range unnamed {
			if err := a.Name(ctx, ds, group); err != nil {
				return err
			}
			fmt.Fprintf(io.Out, "datastore %d has VG_NAME=%q\n", ds, group)
		}
		err = carryAll(ctx, a, agent.OpAdopt, group, only(disks, adoption.Adopt), io)
	} else {
		for _, ds := range unnamed {
			fmt.Fprintf(io.Out, "datastore %d is to get VG_NAME=%q\n", ds, group)
		}
		fmt.Fprintf(io.Out, "%d volumes can be adopted: --yes does it\n", len(only(disks, adoption.Adopt)))
	}
	if err == nil && refused > 0 {
		err = fmt.Errorf("%w: %d volumes or disks need a person first", command.ErrFindings, refused)
	}
	return err
}

func runRelease(ctx context.Context, group string, o adoptOptions, io command.Stdio) error {
	a, s, done, err := lookForAdoption(ctx, group, io)
	if err != nil {
		return err
	}
	defer done()
	disks := only(o.ofVM(adoption.Decide(s)), adoption.Adopted)
	for _, name := range adoption.Stays(s) {
		fmt.Fprintf(io.Out, "%s stays the suite's: no other driver knows what it is\n", name)
	}
	if !o.yes {
		for _, d := range disks {
			fmt.Fprintf(io.Out, "%s: disk %d of VM %d\n", d.Volume, d.Disk, d.VM)
		}
		_, err := fmt.Fprintf(io.Out, "%d volumes can be released: --yes does it\n", len(disks))
		return err
	}
	return carryAll(ctx, a, agent.OpRelease, group, disks, io)
}

func only(disks []adoption.Disk, verdict adoption.Verdict) (kept []adoption.Disk) {
	for _, d := range disks {
		if d.Verdict == verdict {
			kept = append(kept, d)
		}
	}
	return kept
}

// printVerdicts shows what was decided; refused is how much of it needs a person.
func printVerdicts(disks []adoption.Disk, s *audit.State, io command.Stdio) (refused int, err error) {
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "VOLUME\tVM\tDISK\tSIZE\tVERDICT\tWHY")
	for _, d := range disks {
		if d.Verdict == adoption.Refused {
			refused++
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\n", d.Volume, d.VM, d.Disk, humanize.IBytes(uint64(d.Size)), d.Verdict, dash(d.Why))
	}
	if err := table.Flush(); err != nil {
		return refused, err
	}
	for _, missing := range adoption.Missing(s) {
		refused++
		fmt.Fprintln(io.Out, missing)
	}
	if why := s.WhyUnasked(); why != "" {
		fmt.Fprintln(io.Out, "not asked:", why)
	}
	return refused, nil
}

// carryAll does it disk by disk. One that fails does not keep the others from being done.
func carryAll(ctx context.Context, a *adoption.Adopter, op agent.Op, group string, disks []adoption.Disk, io command.Stdio) error {
	var failed error
	for _, d := range disks {
		if err := a.Carry(ctx, op, group, d); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		fmt.Fprintf(io.Out, "%s: %s\n", d.Volume, map[agent.Op]string{agent.OpAdopt: "adopted", agent.OpRelease: "released"}[op])
		if ctx.Err() != nil {
			return errors.Join(failed, ctx.Err())
		}
	}
	return failed
}

// setupTrial looks what an adoption would meet.
func setupTrial(flags *pflag.FlagSet) command.Action {
	o := adoptFlags(flags, "adopt the disks of VM `ID`, and give them back", "with --vm: ask no questions")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		return runTrial(ctx, words[0], *o, io)
	}
}

func runTrial(ctx context.Context, group string, o adoptOptions, io command.Stdio) error {
	a, s, done, err := lookForAdoption(ctx, group, io)
	if err != nil {
		return err
	}
	defer done()
	disks := adoption.Decide(s)
	refused, err := printVerdicts(disks, s, io)
	if err != nil {
		return err
	}
	printConversion(adoption.ConversionOf(s, a.Facts(ctx, s)), group, io)
	printSavings(adoption.Savings(s, os.Stat), io)
	if o.vm != opennebula.None {
		if err := thereAndBack(ctx, a, group, o.ofVM(disks), o, io); err != nil {
			return err
		}
	}
	if refused > 0 {
		return fmt.Errorf("%w: %d volumes or disks need a person before an adoption", command.ErrFindings, refused)
	}
	return nil
}

func printConversion(c adoption.Conversion, group string, io command.Stdio) {
	if c.Manager != lvm.NoLockManager {
		fmt.Fprintf(io.Out, "\n%s is shared by %s: nothing is to be converted\n", group, c.Manager)
		return
	}
	fmt.Fprintf(io.Out, "\n%s has no lock manager. Until it has one, SINGLE_WRITER=True lets this front-end alone change it.\n", group)
	fmt.Fprintf(io.Out, "A conversion (vgchange --lock-type dlm %s on one node, then vgchange --lockstart %s on all) needs:\n", group, group)
	for _, need := range c.Needs {
		fmt.Fprintln(io.Out, "  "+need)
	}
	if len(c.Needs) == 0 {
		fmt.Fprintln(io.Out, "  nothing more on any node")
	}
	fmt.Fprintln(io.Out, "and for its time these must be off, on every node:")
	for _, stop := range c.Stops {
		fmt.Fprintln(io.Out, "  "+stop)
	}
	if len(c.Stops) == 0 {
		fmt.Fprintln(io.Out, "  none is on")
	}
}

func printSavings(all []adoption.Saving, io command.Stdio) {
	fmt.Fprintln(io.Out, "\nWritten over the SAN for each deployment, besides zeroes:")
	if len(all) == 0 {
		fmt.Fprintln(io.Out, "  not measured: no image of these VMs is a file on this machine")
	}
	for _, saving := range all {
		fmt.Fprintf(io.Out, "  image %d: %s by fs_lvm (the whole disk), %s of data: %.0f %% less; %d disks were made of it\n",
			saving.Image, humanize.IBytes(uint64(saving.Disk)), humanize.IBytes(uint64(saving.Data)), 100*float64(saving.Disk-saving.Data)/float64(saving.Disk), saving.Disks)
	}
	fmt.Fprintln(io.Out, "  Zeroes: the suite zeroes a new disk as a whole before that. They stay in the SAN where its disks have WRITE ZEROES,")
	fmt.Fprintln(io.Out, "  and are not needed where the group's free space is clean (tm-clvm wipe-free); elsewhere they are written over it, too.")
}

// thereAndBack adopts the disks of a VM and releases them; whatever happens in between, it tries to
// release them all. Killed, it leaves disks adopted; done again, it says how they are given back.
func thereAndBack(ctx context.Context, a *adoption.Adopter, group string, all []adoption.Disk, o adoptOptions, io command.Stdio) error {
	disks := only(all, adoption.Adopt)
	if n := len(only(all, adoption.Adopted)); n > 0 {
		return fmt.Errorf("%d disks of VM %d are the suite's already; if a trial was cut off, tm-clvm release %s --vm %d --yes gives them back", n, o.vm, group, o.vm)
	}
	if len(disks) == 0 {
		return fmt.Errorf("VM %d has no disk in %s that can be adopted", o.vm, group)
	}
	var names []string
	for _, d := range disks {
		names = append(names, d.Volume)
	}
	if err := consent(o.yes, io, fmt.Sprintf("%s get the suite's tags, and lose them again. Nothing else changes.\n", strings.Join(names, ", "))); err != nil {
		return err
	}
	fmt.Fprintln(io.Out)
	err := carryAll(ctx, a, agent.OpAdopt, group, disks, io)
	return errors.Join(err, carryAll(context.WithoutCancel(ctx), a, agent.OpRelease, group, disks, io))
}
