package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/command"
	"one-clvm/internal/progress"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

func setupReap(flags *pflag.FlagSet) command.Action {
	force := flags.Bool("force", false, "also what another node was wiping, which is down")
	return onGroup(flags, func(group string) agent.Request {
		return agent.Request{Op: agent.OpReap, Group: group, Force: *force}
	})
}

func setupWipeFree(flags *pflag.FlagSet) command.Action {
	return onGroup(flags, func(group string) agent.Request {
		return agent.Request{Op: agent.OpWipeFree, Group: group}
	})
}

// wiped is what these commands print with --json.
type wiped struct {
	Group   string  `json:"group"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// onGroup has an agent, this node's or another's, do a job on a volume group.
func onGroup(flags *pflag.FlagSet, request func(group string) agent.Request) command.Action {
	node := flags.String("node", "", "do it on node `NODE`, over ssh; else here")
	asJSON := flags.Bool("json", false, "exact numbers for programs")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		q := request(words[0])
		q.Operation = plan.NewOperation()
		return doOnGroup(ctx, flags.Name(), *node, q, *asJSON, io)
	}
}

func doOnGroup(ctx context.Context, what, node string, q agent.Request, asJSON bool, io command.Stdio) error {
	started := time.Now()
	meter := progress.Start(io.Err, what+" "+q.Group, 0, func(line string) { fmt.Fprintln(io.Err, line) })
	res, err := onNode(ctx, node, q, io, func(p agent.Progress) { meter.Set(p.Bytes, p.Total) })
	meter.Stop()
	if err != nil {
		return err
	}
	took := time.Since(started)
	if asJSON {
		return json.NewEncoder(io.Out).Encode(wiped{q.Group, res.Wiped, took.Seconds()})
	}
	_, err = fmt.Fprintf(io.Out, "%s wiped in %s\n", humanize.IBytes(uint64(res.Wiped)), took.Round(time.Millisecond))
	return err
}

// onNode asks the agent of a node, as a verb would; of this one where none is named.
func onNode(ctx context.Context, node string, q agent.Request, io command.Stdio, onProgress func(agent.Progress)) (agent.Result, error) {
	report := opennebula.NewReporter(io.Err, opennebula.Version{})
	defer report.Close()
	quiet := func(client *agent.Client) {
		client.OnProgress = onProgress
		client.OnLog = func(l agent.LogLine) { // the progress tells the rest
			if l.Level == "warn" {
				report.Warn("%s", l.Text)
			}
		}
	}
	if node == "" {
		return here(ctx, q, report, quiet)
	}
	if err := opennebula.CheckHost(node); err != nil {
		return agent.Result{}, err
	}
	driver, client, err := newDriver(report, io)
	if err != nil {
		return agent.Result{}, err
	}
	quiet(client)
	return driver.Ask(ctx, node, q)
}

// here asks this node's own agent. Nothing of a front-end is needed: a node has no
// credentials for oned.
func here(ctx context.Context, q agent.Request, report *opennebula.Reporter, with func(*agent.Client)) (agent.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return agent.Result{}, err
	}
	cfg, err := cxmrc.LoadFound()
	if err != nil {
		return agent.Result{}, err
	}
	client := newClient(cfg, report)
	with(client)
	return client.Do(ctx, agent.Local("this node", self), q, agent.Transfer{})
}
