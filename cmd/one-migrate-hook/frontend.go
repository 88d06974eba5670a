package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/internal/command"
	"one-clvm/opennebula"
)

func newReceiver(journal hook.Journal) (*hook.Receiver, error) {
	cfg, err := cxmrc.LoadHook(configFile)
	if err != nil {
		return nil, err
	}
	release, err := versionOf(cfg)
	if err != nil {
		return nil, err
	}
	oned, err := opennebula.NewClient(opennebula.Config{})
	if err != nil {
		return nil, err
	}
	return &hook.Receiver{
		OneD: oned, Version: release, LocalMigrate: cfg.Bool("LOCAL_MIGRATE"), StateDir: cfg.String("STATE_DIR"), Now: time.Now, Journal: journal,
	}, nil
}

func versionOf(cfg *cxmrc.Config) (opennebula.Version, error) {
	if text := cfg.String("VERSION"); text != "" {
		return opennebula.ParseVersion(text)
	}
	return opennebula.DetectVersion(opennebula.RemotesDir())
}

// setupReceive answers in one line, whatever happens: the node waits for it.
func setupReceive(*pflag.FlagSet) command.Action {
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		journal := hook.OpenSyslog(io.Err)
		answer := hook.Serve(ctx, os.Getenv("SSH_ORIGINAL_COMMAND"), journal, func() (*hook.Receiver, error) { return newReceiver(journal) })
		_, err := fmt.Fprintln(io.Out, answer)
		return err
	}
}

func setupReconcile(flags *pflag.FlagSet) command.Action {
	dryRun := flags.Bool("dry-run", false, "says what it would do, and changes nothing")
	asJSON := flags.Bool("json", false, "for programs")
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		receiver, err := newReceiver(hook.OpenSyslog(io.Err))
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
		}
		found, err := receiver.Reconcile(ctx, theCluster(), *dryRun)
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
		}
		if *asJSON {
			err = json.NewEncoder(io.Out).Encode(found)
		} else {
			err = printFindings(found, io)
		}
		if n := disagreements(found); err == nil && n > 0 {
			err = fmt.Errorf("%w: %d of %d VMs", command.ErrFindings, n, len(found))
		}
		return err
	}
}

func disagreements(found []hook.Finding) int {
	n := 0
	for _, f := range found {
		if f.Disagrees() {
			n++
		}
	}
	return n
}

func printFindings(found []hook.Finding, io command.Stdio) error {
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "VM\tOPENNEBULA\tSTATE\tREALLY ON\tOUTCOME\tWHY")
	for _, f := range found {
		if f.Disagrees() {
			fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", f.VM, f.Host, f.State, f.On, f.Outcome, f.Why)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.Out, "%d VMs, %d disagreements\n", len(found), disagreements(found))
	return err
}
