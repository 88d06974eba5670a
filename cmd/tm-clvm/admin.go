package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"one-clvm/cxmrc"
	"one-clvm/internal/command"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/lvm/filevg"
	"one-clvm/opennebula"
)

// setupConfig prints what is in force, everywhere or for one datastore.
func setupConfig(flags *pflag.FlagSet) command.Action {
	datastore := datastoreFlag(flags, "with the overrides of the template of datastore `ID`")
	return func(ctx context.Context, words []string, io command.Stdio) error {
		cfg, err := configOf(words)
		if err != nil {
			return err
		}
		if *datastore != opennebula.None {
			if cfg, err = overridden(ctx, cfg, *datastore); err != nil {
				return err
			}
		}
		return printConfig(cfg, io)
	}
}

// datastoreFlag is --datastore: opennebula.None where it is not given.
func datastoreFlag(flags *pflag.FlagSet, usage string) *int {
	id := flags.Int("datastore", opennebula.None, usage)
	flags.Lookup("datastore").DefValue = "0" // nothing to show in the help
	return id
}

func printConfig(cfg *cxmrc.Config, io command.Stdio) error {
	table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
	for _, s := range cfg.Effective() {
		fmt.Fprintf(table, "%s=%s\t# %s\n", s.Name, s.Value, s.Origin)
	}
	return table.Flush()
}

func overridden(ctx context.Context, cfg *cxmrc.Config, datastore int) (*cxmrc.Config, error) {
	records, err := opennebula.NewClient(opennebula.Config{Runner: run.Exec{}})
	if err != nil {
		return nil, err
	}
	ds, err := records.Datastore(ctx, datastore)
	if err != nil {
		return nil, err
	}
	return cfg.WithDatastore(ds.Template, ds.Origin())
}

func configOf(words []string) (*cxmrc.Config, error) {
	if len(words) == 0 {
		return cxmrc.LoadFound()
	}
	if filepath.Base(words[0]) == "agent.conf" {
		return cxmrc.LoadAgent(words[0])
	}
	return cxmrc.Load(words[0])
}

func setupVG(flags *pflag.FlagSet) command.Action {
	size := flags.String("size", "", "of create: `SIZE` in LVM's syntax")
	return func(ctx context.Context, words []string, io command.Stdio) error { return runVG(ctx, words, *size, io) }
}

func runVG(ctx context.Context, words []string, size string, io command.Stdio) error {
	cfg, err := cxmrc.LoadAgent(cxmrc.AgentPath)
	if err != nil {
		return err
	}
	root := cfg.String("FILE_VG_DIR")
	switch {
	case words[0] == "list" && len(words) == 1:
		return listGroups(root, io)
	case words[0] == "create" && len(words) == 2:
		return createGroup(root, words[1], size)
	case words[0] == "destroy" && len(words) == 2:
		g, err := filevg.Open(filepath.Join(root, words[1]))
		if err != nil {
			return err
		}
		return g.Destroy(ctx)
	}
	return fmt.Errorf("%w: %s", command.ErrUsage, strings.Join(words, " "))
}

func createGroup(root, name, size string) error {
	if err := lvm.ValidateGroupName(name); err != nil {
		return err
	}
	bytes, err := lvm.ParseSize(size)
	if err != nil {
		return fmt.Errorf("--size: %w", err)
	}
	_, err = filevg.Create(filepath.Join(root, name), bytes, 0)
	return err
}

func listGroups(root string, io command.Stdio) error {
	names, err := filevg.List(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintln(io.Out, name)
	}
	return nil
}
