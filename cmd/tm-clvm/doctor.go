package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/pflag"

	"one-clvm/doctor"
	"one-clvm/internal/command"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
	"one-clvm/plan"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/udev"
)

// shipped are the files that doctor prints, for commands that install them.
var shipped = map[string]string{"sudoers": sudoers.Rule, "udev": udev.Rules, "oned.conf": doctor.Settings}

// setupDoctor judges the installation; it changes nothing.
func setupDoctor(flags *pflag.FlagSet) command.Action {
	hosts := flags.StringSlice("host", nil, "only nodes `NODE`,…; else all hosts of oned in service")
	asJSON := flags.Bool("json", false, "for programs")
	vm := flags.Int("vm", opennebula.None, "drill migration: VM `ID`")
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
		return fmt.Errorf("%w: there are sudoers, udev and oned.conf", command.ErrUsage)
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
	front := doctor.FrontEnd{Name: driver.FrontEnd, Version: version.String(), Config: driver.Config, Program: driver.Config.String("AGENT")}
	return doctor.Look(ctx, front, records, driver.Ask, plan.NewOperation, hosts)
}

// Colours of severities, ANSI.
var colours = map[doctor.Severity]string{doctor.OK: "\x1b[32m", doctor.Warn: "\x1b[33m", doctor.Fail: "\x1b[31m"}

func printDiagnosis(found []doctor.Finding, io command.Stdio) error {
	begin, end := func(doctor.Severity) string { return "" }, ""
	if coloured(io) {
		begin, end = func(s doctor.Severity) string { return colours[s] }, "\x1b[0m"
	}
	for _, f := range found {
		subject := f.Check
		if f.Node != "" {
			subject += " on " + f.Node
		}
		if _, err := fmt.Fprintf(io.Out, "%s%-4s%s  %s: %s\n", begin(f.Severity), f.Severity, end, subject, f.Text); err != nil {
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

// coloured: on a terminal, unless NO_COLOR is set (no-color.org).
func coloured(io command.Stdio) bool {
	file, ok := io.Out.(*os.File)
	return ok && isatty.IsTerminal(file.Fd()) && os.Getenv("NO_COLOR") == ""
}
