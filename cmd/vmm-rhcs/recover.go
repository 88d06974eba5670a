package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/agent"
	"one-clvm/audit"
	"one-clvm/cxmrc"
	"one-clvm/hook"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/recovery"
)

// oneLogs is where oned writes a log for each VM.
const oneLogs = "/var/log/one"

func setupRecover(flags *pflag.FlagSet) command.Action {
	dryRun := flags.Bool("dry-run", false, "says what it would do, and changes nothing")
	asJSON := flags.Bool("json", false, "for programs")
	hung := flags.Bool("hung", false, "what oned has begun since it was started is not at work either")
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		r, err := newRecoverer(*hung, io)
		if err != nil {
			return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
		}
		stuck, failed := r.Stuck(ctx)
		if failed != nil {
			failed = fmt.Errorf("%w: %w", command.ErrCouldNotLook, failed)
		}
		if failed != nil && len(stuck) == 0 {
			return failed
		}
		found := recoverAll(ctx, r, stuck, *dryRun)
		if *asJSON {
			err = json.NewEncoder(io.Out).Encode(found)
		} else {
			err = printRecovered(found, io)
		}
		if failed != nil {
			return errors.Join(err, failed)
		}
		if left := unrecovered(found); err == nil && left > 0 {
			err = fmt.Errorf("%w: %d of %d stuck VMs", command.ErrFindings, left, len(found))
		}
		return err
	}
}

func newRecoverer(hung bool, io command.Stdio) (*recovery.Recoverer, error) {
	cfg, err := cxmrc.LoadFound()
	if err != nil {
		return nil, err
	}
	hookConf, err := cxmrc.LoadHook(cxmrc.HookPath)
	if err != nil {
		return nil, err
	}
	release, err := opennebula.DetectVersion(opennebula.RemotesDir())
	if text := hookConf.String("VERSION"); text != "" {
		release, err = opennebula.ParseVersion(text)
	}
	if err != nil {
		return nil, err
	}
	programs := run.Exec{}
	oned, err := opennebula.NewClient(opennebula.Config{Runner: programs})
	if err != nil {
		return nil, err
	}
	work, err := recovery.ReadWork(oneLogs)
	if err != nil {
		return nil, err
	}
	work.Hung = hung
	remote := &hook.Remote{Runner: programs, Nodes: hookConf.List("NODES")}
	clusters := func(ctx context.Context) hook.Heard {
		heard, err := remote.All(ctx)
		if err != nil { // the VMs of the nodes that it did not hear of are then a person's
			fmt.Fprintf(io.Err, "vmm-rhcs recover: %v\n", err)
		}
		return heard
	}
	client := &agent.Client{Runner: programs, Version: version.String(), StallTimeout: time.Duration(cfg.Int("STALL_TIMEOUT")) * time.Second}
	nodes := &audit.Auditor{Records: oned, Driver: &plan.Driver{
		Config: cfg, Records: oned, Agents: plan.Connection{Client: client, Config: cfg}, Runner: programs,
		Report: opennebula.NewReporter(io.Err, release), Stdin: io.In, Stdout: io.Out, Stderr: io.Err,
	}}
	return &recovery.Recoverer{OneD: oned, Version: release, Nodes: nodes, Clusters: clusters, Work: work, Now: time.Now}, nil
}

// recovered is a stuck VM and what became of it.
type recovered struct {
	VM    int               `json:"vm"`
	State string            `json:"state"`
	Host  string            `json:"host"`
	Facts recovery.Facts    `json:"facts"`
	Is    string            `json:"is"` // "would", "done", "left", or "failed"
	Error string            `json:"error,omitempty"`
	Do    recovery.Decision `json:"decision"`
}

func recoverAll(ctx context.Context, r *recovery.Recoverer, stuck []recovery.Stuck, dryRun bool) []recovered {
	found := []recovered{}
	for _, s := range stuck {
		one := recovered{VM: s.VM, State: s.Name(), Host: s.Host, Facts: s.Facts, Do: recovery.Decide(s), Is: "left"}
		switch {
		case !one.Do.Action.Acts():
		case dryRun:
			one.Is = "would"
		default:
			one.Is = "done"
			if err := r.Recover(ctx, s, one.Do); err != nil {
				one.Is, one.Error = "failed", err.Error()
			}
		}
		found = append(found, one)
	}
	return found
}

// unrecovered are those that still wait.
func unrecovered(found []recovered) int {
	n := 0
	for _, f := range found {
		if f.Is != "done" {
			n++
		}
	}
	return n
}

func printRecovered(found []recovered, io command.Stdio) error {
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "VM\tSTATE\tHOST\tRUNS ON\tDISKS\tCHECKPOINT\tDECISION\tWHY")
	for _, f := range found {
		why := f.Do.Why
		switch {
		case f.Error != "":
			why = f.Error
		case f.Is != "done":
			why += "; type: " + f.Do.Command
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s %s\t%s\n", f.VM, f.State, f.Host, dash(f.Facts.Truth.On), dash(string(f.Facts.Disks)), dash(string(f.Facts.Checkpoint)), f.Is, f.Do.Action, why)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.Out, "%d VMs in transient states, %d left\n", len(found), unrecovered(found))
	return err
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
