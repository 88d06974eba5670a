package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"one-clvm/internal/command"
	"one-clvm/opennebula"
	"one-clvm/tm"
)

// setupAudit compares what a node reports with what oned knows.
func setupAudit(flags *pflag.FlagSet) command.Action {
	datastore := datastoreFlag(flags, "the volume group of system datastore `ID`, by one of its nodes")
	group := flags.String("vg", "", "volume group `VG`; else that of cxmrc")
	node := flags.String("node", "", "as node `NODE` sees it; else one that oned knows")
	asJSON := flags.Bool("json", false, "for programs")
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		return runAudit(ctx, *datastore, *group, *node, *asJSON, io)
	}
}

func runAudit(ctx context.Context, datastore int, group, node string, asJSON bool, io command.Stdio) error {
	report := opennebula.NewReporter(io.Err, opennebula.Version{})
	defer report.Close()
	driver, client, err := newDriver(report, io)
	if err != nil {
		return err
	}
	client.OnLog = nil // an audit speaks by its findings
	node, group, err = driver.AuditTarget(ctx, datastore, node, group)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	found, err := driver.Audit(ctx, node, group)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	if asJSON {
		err = json.NewEncoder(io.Out).Encode(found)
	} else {
		err = printFindings(found, io)
	}
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%w: %d findings in volume group %s as %s sees it; nothing was changed", command.ErrFindings, len(found), group, node)
	}
	return err
}

func printFindings(found []tm.Finding, io command.Stdio) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(io.Out, "everything is as it should be")
		return err
	}
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "FOUND\tOBJECT\tWHY\tREPAIR")
	for _, f := range found {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.Kind, f.Object, f.Why, f.Repair)
	}
	return table.Flush()
}
