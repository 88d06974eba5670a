package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"one-clvm/opennebula"
	"one-clvm/tm"
)

// errFindings makes an audit that found something end with status 1.
var errFindings = errors.New("not everything is as it should be")

// runAudit compares what a node reports with what oned knows.
func runAudit(ctx context.Context, argv []string, io stdio) error {
	flags := pflag.NewFlagSet("audit", pflag.ContinueOnError)
	datastore := flags.Int("datastore", opennebula.None, "the volume group of this system datastore, by one of its nodes")
	group := flags.String("vg", "", "this volume group; else that of cxmrc")
	node := flags.String("node", "", "as this node sees it; else one that oned knows")
	asJSON := flags.Bool("json", false, "for programs")
	if _, err := parse(flags, argv, 0, 0); err != nil {
		return err
	}
	report := opennebula.NewReporter(io.err, opennebula.Version{})
	defer report.Close()
	driver, client, err := newDriver(report, io)
	if err != nil {
		return err
	}
	client.OnLog = nil // an audit speaks by its findings
	*node, *group, err = driver.AuditTarget(ctx, *datastore, *node, *group)
	if err != nil {
		return err
	}
	found, err := driver.Audit(ctx, *node, *group)
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(io.out).Encode(found)
	} else {
		err = printFindings(found, io)
	}
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%w: %d findings in volume group %s as %s sees it; nothing was changed", errFindings, len(found), *group, *node)
	}
	return err
}

func printFindings(found []tm.Finding, io stdio) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(io.out, "everything is as it should be")
		return err
	}
	table := tabwriter.NewWriter(io.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "FOUND\tOBJECT\tWHY\tREPAIR")
	for _, f := range found {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.Kind, f.Object, f.Why, f.Repair)
	}
	return table.Flush()
}
