package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/hook/entrance"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

func newReceiver(cfg *cxmrc.Config, journal entrance.Journal) (*hook.Receiver, error) {
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
		journal := entrance.System(io.Err)
		answer := hook.Serve(ctx, os.Getenv("SSH_ORIGINAL_COMMAND"), journal, func() (*hook.Receiver, error) {
			cfg, err := cxmrc.LoadHook(configFile)
			if err != nil {
				return nil, err
			}
			return newReceiver(cfg, journal)
		})
		_, err := fmt.Fprintln(io.Out, answer)
		return err
	}
}

func setupReconcile(flags *pflag.FlagSet) command.Action {
	dryRun := flags.Bool("dry-run", false, "says what it would do, and changes nothing")
	asJSON := flags.Bool("json", false, "for programs")
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		found, err := reconcile(ctx, entrance.System(io.Err), *dryRun)
		if err == nil || len(found) > 0 { // else nobody was looked at
			err = errors.Join(err, printFindings(found, *asJSON, io))
		}
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
		}
		if n := len(hook.Disagreements(found)); n > 0 {
			return fmt.Errorf("%w: %d of %d VMs", command.ErrFindings, n, len(found))
		}
		return nil
	}
}

// reconcile sees to all VMs that some node has answered for, and fails if one did not.
func reconcile(ctx context.Context, journal entrance.Journal, dryRun bool) ([]hook.Finding, error) {
	cfg, err := cxmrc.LoadHook(configFile)
	if err != nil {
		return nil, err
	}
	receiver, err := newReceiver(cfg, journal)
	if err != nil {
		return nil, err
	}
	heard, silent := (&hook.Remote{Runner: run.Exec{}, Nodes: cfg.List("NODES")}).All(ctx)
	found, err := receiver.Reconcile(ctx, heard.Truths, dryRun)
	err = errors.Join(silent, err)
	if !dryRun {
		err = errors.Join(err, receiver.Remember(found, err))
	}
	return found, err
}

func printFindings(found []hook.Finding, asJSON bool, io command.Stdio) error {
	if asJSON {
		return json.NewEncoder(io.Out).Encode(append([]hook.Finding{}, found...)) // never null
	}
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "VM\tOPENNEBULA\tSTATE\tREALLY ON\tOUTCOME\tWHY")
	for _, f := range hook.Disagreements(found) {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", f.VM, f.Host, f.State, f.On, f.Outcome, f.Why)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.Out, "%d VMs, %d disagreements\n", len(found), len(hook.Disagreements(found)))
	return err
}
