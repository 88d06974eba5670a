package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"one-clvm/audit"
	"one-clvm/internal/command"
	"one-clvm/internal/terminal"
	"one-clvm/opennebula"
)

// auditOptions are the flags of audit.
type auditOptions struct {
	target              audit.Target
	asJSON, repair, yes bool
}

// setupAudit compares what nodes report with what oned knows.
func setupAudit(flags *pflag.FlagSet) command.Action {
	var o auditOptions
	datastore := datastoreFlag(flags, "the volume group of system datastore `ID`, by the nodes of its clusters")
	flags.StringVar(&o.target.Group, "vg", "", "volume group `VG`; else that of cxmrc")
	flags.StringVar(&o.target.Node, "node", "", "as node `NODE` alone sees it; else as all do")
	flags.BoolVar(&o.asJSON, "json", false, "for programs")
	flags.BoolVar(&o.repair, "repair", false, "repair what can be repaired without losing anything, one by one, after a question each")
	flags.BoolVar(&o.yes, "yes", false, "ask no questions")
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		o.target.Datastore = *datastore
		switch {
		case o.repair && o.asJSON:
			return fmt.Errorf("%w: --repair and --json do not go together", command.ErrUsage)
		case o.repair && !o.yes && !terminal.Is(io.In):
			return fmt.Errorf("%w: --repair asks, and standard input is no terminal: say --yes", command.ErrUsage)
		}
		return runAudit(ctx, o, io)
	}
}

func runAudit(ctx context.Context, o auditOptions, io command.Stdio) error {
	report := opennebula.NewReporter(io.Err, opennebula.Version{})
	defer report.Close()
	driver, client, err := newDriver(report, io)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	client.OnLog = nil // an audit speaks by its findings
	records, err := opennebula.NewClient(opennebula.Config{Runner: driver.Runner})
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	auditor := &audit.Auditor{Driver: &driver.Driver, Records: records}
	state, found, err := auditOnce(ctx, auditor, o, io)
	if err == nil && o.repair {
		if repairErr := repairAll(ctx, auditor, o, found, io); repairErr != nil {
			return repairErr
		}
		fmt.Fprintln(io.Out, "looking again:")
		state, found, err = auditOnce(ctx, auditor, o, io)
	}
	switch {
	case err != nil:
		return err
	case len(state.Unasked) > 0:
		return fmt.Errorf("%w at everything: %s", command.ErrCouldNotLook, state.WhyUnasked())
	case len(found) > 0:
		return fmt.Errorf("%w: %d findings in volume group %s", command.ErrFindings, len(found), state.Group)
	}
	return nil
}

// auditOnce collects, judges and prints.
func auditOnce(ctx context.Context, auditor *audit.Auditor, o auditOptions, io command.Stdio) (*audit.State, []audit.Finding, error) {
	state, err := auditor.Collect(ctx, o.target)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	found := state.Findings()
	if o.asJSON {
		if found == nil {
			found = []audit.Finding{}
		}
		return state, found, json.NewEncoder(io.Out).Encode(found)
	}
	return state, found, printFindings(found, io)
}

func printFindings(found []audit.Finding, io command.Stdio) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(io.Out, "everything is as it should be")
		return err
	}
	paint := terminal.For(io.Out)
	for _, f := range found {
		colour, repair := terminal.Bad, f.Repair
		if len(f.Fixes) > 0 {
			colour, repair = terminal.Warn, fixesOf(f)+" (--repair does it), by hand: "+f.Repair
		}
		if _, err := fmt.Fprintf(io.Out, "%s %s\n    %s\n    repair: %s\n", paint.Paint(colour, fmt.Sprintf("%-10s", f.Kind)), paint.Paint(terminal.Head, f.Object), f.Why, repair); err != nil {
			return err
		}
	}
	return nil
}

func fixesOf(f audit.Finding) string {
	var all []string
	for _, fix := range f.Fixes {
		all = append(all, fix.What+" on "+fix.Host)
	}
	return strings.Join(all, ", then ")
}

// repairAll carries out what is safe, item by item. One that fails does not keep the others
// from being done.
func repairAll(ctx context.Context, auditor *audit.Auditor, o auditOptions, found []audit.Finding, io command.Stdio) error {
	answers := bufio.NewScanner(io.In)
	var failed error
	for _, f := range found {
		if len(f.Fixes) == 0 {
			continue
		}
		fmt.Fprintf(io.Out, "%s: %s", f.Object, fixesOf(f))
		if !o.yes && !agreed(answers, io) {
			fmt.Fprintln(io.Out, "  left as it is")
			continue
		}
		err := auditor.Repair(ctx, o.target, f)
		switch {
		case errors.Is(err, audit.ErrGone):
			fmt.Fprintln(io.Out, ": it is as it should be by now")
		case err != nil:
			fmt.Fprintln(io.Out, ": failed")
			failed = errors.Join(failed, fmt.Errorf("%s: %w", f.Object, err))
		default:
			fmt.Fprintln(io.Out, ": done")
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// agreed asks the person at the terminal. Only a clear yes is one.
func agreed(answers *bufio.Scanner, io command.Stdio) bool {
	fmt.Fprint(io.Out, "? [y/N] ")
	return answers.Scan() && strings.EqualFold(strings.TrimSpace(answers.Text()), "y")
}
