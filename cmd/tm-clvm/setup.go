package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"one-clvm/agent/facts"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/internal/terminal"
	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
	"one-clvm/setup"
)

// setupOptions are the flags of setup.
type setupOptions struct {
	onedConf         string
	dryRun, yes, xen bool
	groups           []string
}

// setupSetup makes the changes to others' files that an installation needs.
func setupSetup(flags *pflag.FlagSet) command.Action {
	var o setupOptions
	flags.StringVar(&o.onedConf, "oned-conf", "", "`FILE` instead of /etc/one/oned.conf; oned's other files are looked for beside it")
	flags.BoolVar(&o.xen, "xen", false, "frontend: the cluster's VMs run on Xen, not on KVM")
	flags.StringSliceVar(&o.groups, "vg", nil, "node: its agent may touch volume groups `VG`,…")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only show the changes")
	flags.BoolVar(&o.yes, "yes", false, "ask no questions")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		switch {
		case len(words) == 1 && (words[0] == roleFrontEnd || words[0] == roleNode):
			return o.make(ctx, words[0], io)
		case words[0] == "check" && len(words) == 1:
			return o.check(ctx, o.role(), io)
		case words[0] == "check" && (words[1] == roleFrontEnd || words[1] == roleNode):
			return o.check(ctx, words[1], io)
		}
		return fmt.Errorf("%w: %q", command.ErrUsage, words)
	}
}

// The roles of a machine.
const (
	roleFrontEnd = "frontend"
	roleNode     = "node"
)

// role is what this machine is: a front-end where oned.conf is.
func (o setupOptions) role() string {
	if _, err := os.Stat(o.conf()); err == nil {
		return roleFrontEnd
	}
	return roleNode
}

// conf is the path of oned.conf.
func (o setupOptions) conf() string {
	if o.onedConf != "" {
		return o.onedConf
	}
	if location := os.Getenv("ONE_LOCATION"); location != "" {
		return filepath.Join(location, "etc/oned.conf")
	}
	return "/etc/one/oned.conf"
}

// work is all that is to be done in a role.
type work struct {
	files      []setup.Change
	datastores []setup.Datastore
	records    setup.Records
	unasked    error  // oned did not answer for the datastores
	basis      string // the version of OpenNebula that the plan is for, and why that
}

func (w work) nothing() bool { return len(w.files) == 0 && len(w.datastores) == 0 }

func (o setupOptions) plan(ctx context.Context, role string) (w work, err error) {
	if role == roleNode {
		w.files, err = setup.Node{Root: "/", Runner: run.Exec{}, Groups: o.groups}.Changes()
		return w, err
	}
	release, err := opennebula.DetectVersion(opennebula.RemotesDir())
	if err != nil {
		return w, err
	}
	w.basis = basis(release)
	front := setup.FrontEnd{
		OnedConf: o.conf(), HookConf: facts.HookFile,
		Wiring: onedconf.Wiring{Release: release, Stores: true, Clusters: true, Xen: o.xen, MigrateLocal: true},
	}
	if w.files, err = front.Changes(); err != nil {
		return w, err
	}
	records, err := newRecords()
	if err == nil {
		w.datastores, err = front.Datastores(ctx, records)
	}
	w.records, w.unasked = records, err
	return w, nil
}

// basis says which version of OpenNebula is planned for, and why.
func basis(release opennebula.Version) string {
	file := filepath.Join(opennebula.RemotesDir(), "VERSION")
	if release == (opennebula.Version{}) {
		return fmt.Sprintf("for OpenNebula %s: there is no %s, which newer ones have", release, file)
	}
	return fmt.Sprintf("for OpenNebula %s: %s says so", release, file)
}

func (o setupOptions) make(ctx context.Context, role string, io command.Stdio) error {
	w, err := o.plan(ctx, role)
	if err != nil {
		return err
	}
	if role == roleFrontEnd {
		fmt.Fprintln(io.Out, "# "+w.basis)
	}
	w.show(io)
	switch {
	case w.nothing():
		fmt.Fprintln(io.Out, "nothing to do")
		return nil
	case o.dryRun:
		return nil
	}
	if err := consent(o.yes, io, "This is to be changed.\n"); err != nil {
		return err
	}
	return w.make(ctx, io)
}

// show prints what is missing, and what the files are to become.
func (w work) show(io command.Stdio) {
	paint := terminal.For(io.Out)
	for _, c := range w.files {
		for _, why := range c.Why {
			fmt.Fprintln(io.Out, paint.Paint(terminal.Warn, "# "+why))
		}
		fmt.Fprint(io.Out, c.Diff())
	}
	for _, ds := range w.datastores {
		fmt.Fprintf(io.Out, "onedatastore update %d: %s\n", ds.ID, oneLine(ds.Attributes))
	}
	if w.unasked != nil {
		fmt.Fprintln(io.Err, "the datastores were not looked at, run this again when oned answers:", w.unasked)
	}
}

func oneLine(attributes []opennebula.Attribute) string {
	return strings.ReplaceAll(opennebula.TemplateText(attributes), "\n", " ")
}

// make does it, in the order in which it was shown. What was done before an error stays: it
// is right by itself.
func (w work) make(ctx context.Context, io command.Stdio) error {
	var then []string
	for _, c := range w.files {
		backup, err := c.Make(ctx, time.Now())
		if err != nil {
			return err
		}
		if backup != "" {
			backup = ", as it was: " + backup
		}
		fmt.Fprintf(io.Out, "%s is written%s\n", c.Path, backup)
		if c.Then != "" && !slices.Contains(then, c.Then) {
			then = append(then, c.Then)
		}
	}
	for _, ds := range w.datastores {
		if err := w.records.UpdateDatastore(ctx, ds.ID, ds.Attributes); err != nil {
			return err
		}
		fmt.Fprintf(io.Out, "datastore %d has %s\n", ds.ID, oneLine(ds.Attributes))
	}
	for _, what := range then {
		fmt.Fprintln(io.Out, "now run:", what)
	}
	return nil
}

// check says what is missing, and changes nothing.
func (o setupOptions) check(ctx context.Context, role string, io command.Stdio) error {
	w, err := o.plan(ctx, role)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrCouldNotLook, err)
	}
	missing := 0
	for _, c := range w.files {
		for _, why := range c.Why {
			missing++
			fmt.Fprintf(io.Out, "missing  %s: %s\n", c.Path, why)
		}
	}
	for _, ds := range w.datastores {
		missing++
		fmt.Fprintf(io.Out, "missing  datastore %d (%s): %s\n", ds.ID, ds.Name, oneLine(ds.Attributes))
	}
	switch {
	case w.unasked != nil:
		return fmt.Errorf("%w at the datastores: %w", command.ErrCouldNotLook, w.unasked)
	case missing > 0:
		return fmt.Errorf("%w: tm-clvm setup %s --dry-run shows what is to be changed", command.ErrFindings, role)
	}
	_, err = fmt.Fprintln(io.Out, "nothing is missing")
	return err
}
