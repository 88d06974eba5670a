package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/doctor"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/internal/terminal"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/polkit"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/udev"
)

// shipped are the files that doctor prints, for commands that install them.
var shipped = map[string]string{
	"sudoers": sudoers.Rule, "sudoers-vmm": sudoers.VMMRule, "sudoers-hook": sudoers.HookRule,
	"udev": udev.Rules, "polkit": polkit.Rules, "pkla": polkit.Authority,
}

// setupDoctor judges the installation; it changes nothing.
func setupDoctor(flags *pflag.FlagSet) command.Action {
	hosts := flags.StringSlice("node", nil, "only nodes `NODE`,…; else all hosts of oned in service (also as --host)")
	asJSON := flags.Bool("json", false, "for programs")
	vm := flags.Int("vm", opennebula.None, "drill migration: VM `ID`")
	flags.Lookup("vm").DefValue = "0" // nothing to show in the help
	wait := flags.Duration("wait", 5*time.Minute, "drill: the `TIME` until all must be as it should")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		switch {
		case len(words) == 1 && words[0] == "drill":
			return listDrills(io)
		case len(words) == 3 && words[0] == "drill":
			return runDrill(ctx, words[1], doctor.Subject{Node: words[2], VM: *vm}, *wait, io)
		case len(words) == 2 && words[0] == "print":
			return printShipped(words[1], io)
		case len(words) > 0:
			return fmt.Errorf("%w: %q", command.ErrUsage, words)
		}
		return runDoctor(ctx, *hosts, *asJSON, io)
	}
}

func runDoctor(ctx context.Context, hosts []string, asJSON bool, io command.Stdio) error {
	view, err := look(ctx, hosts, io)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	found := doctor.Run(view)
	if asJSON {
		err = json.NewEncoder(io.Out).Encode(found)
	} else {
		err = printDiagnosis(found, io)
	}
	if err == nil && !doctor.Clean(found) {
		err = command.ErrFindings
	}
	return err
}

func printShipped(name string, io command.Stdio) error {
	text, ok := shipped[name]
	if !ok {
		return fmt.Errorf("%w: there are %s", command.ErrUsage, strings.Join(slices.Sorted(maps.Keys(shipped)), ", "))
	}
	_, err := fmt.Fprint(io.Out, text)
	return err
}

// look asks oned and the nodes.
func look(ctx context.Context, hosts []string, io command.Stdio) (*doctor.View, error) {
	report := opennebula.NewReporter(io.Err, opennebula.Version{})
	defer report.Close()
	driver, client, err := newDriver(report, io)
	if err != nil {
		return nil, err
	}
	client.OnLog = nil // findings are what is told
	records, err := newRecords()
	if err != nil {
		return nil, err
	}
	release, err := opennebula.DetectVersion(opennebula.RemotesDir())
	if err != nil {
		return nil, err
	}
	front := doctor.FrontEnd{
		Name: driver.FrontEnd, Version: version.String(), OpenNebula: release, Config: driver.Config, Program: driver.Config.String("AGENT"), Installed: run.Installed,
	}
	front.Trials, front.TrialsErr = doctor.ReadTrials(driver.Config.String("STATE_DIR"))
	return doctor.Look(ctx, front, records, driver.Ask, plan.NewOperation, hosts)
}

var colours = map[doctor.Severity]terminal.Colour{doctor.OK: terminal.Good, doctor.Warn: terminal.Warn, doctor.Fail: terminal.Bad}

func printDiagnosis(found []doctor.Finding, io command.Stdio) error {
	paint := terminal.For(io.Out)
	for _, f := range found {
		subject := f.Check
		if f.Node != "" {
			subject += " on " + f.Node
		}
		if _, err := fmt.Fprintf(io.Out, "%s  %s: %s\n", paint.Paint(colours[f.Severity], fmt.Sprintf("%-4s", f.Severity)), subject, f.Text); err != nil {
			return err
		}
		if f.Fix == nil {
			continue
		}
		if _, err := fmt.Fprintf(io.Out, "      fix %s\n", f.Fix); err != nil {
			return err
		}
	}
	return nil
}
