package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/internal/run"
)

// judges are the programs that read what is packed.
var judges = []struct {
	program string
	judge   func(ctx context.Context, root string, out io.Writer) error
}{{"visudo", sudoers}, {"systemd-analyze", systemd}, {"udevadm", udev}}

// check has the files that other programs read judged by these programs, before anything is
// packed or installed: a wrong rule of sudo locks administrators out of it. It puts them below root.
// absent says what a program that is not there means.
func check(ctx context.Context, files []Entry, root string, absent func(program string) error, out io.Writer) error {
	err := install(files, root, Remotes, io.Discard)
	for _, j := range judges {
		switch {
		case err != nil:
		case run.Installed(j.program):
			err = j.judge(ctx, root, out)
		default:
			err = absent(j.program)
		}
	}
	return err
}

func sudoers(ctx context.Context, root string, _ io.Writer) error {
	rules, err := filepath.Glob(filepath.Join(root, "etc/sudoers.d/*"))
	for _, rule := range rules {
		if _, bad := (run.Exec{}).Run(ctx, run.Cmd{Path: "visudo", Args: []string{"-c", "-f", rule}}); bad != nil {
			err = errors.Join(err, fmt.Errorf("rule of sudo: %w", bad))
		}
	}
	return err
}

// bases are units that every unit needs, and that only a whole system has.
var bases = []string{"sysinit.target", "shutdown.target", "basic.target", "network-online.target"}

func systemd(ctx context.Context, root string, _ io.Writer) error {
	own, err := filepath.Glob(filepath.Join(root, units, "one-*"))
	if err != nil || len(own) == 0 {
		return err
	}
	for _, name := range bases {
		if err := write(root, filepath.Join(units, name), []byte("[Unit]\n")); err != nil {
			return err
		}
	}
	args := []string{"verify", "--man=no", "--root=" + root}
	for _, unit := range own {
		args = append(args, filepath.Base(unit))
	}
	if result, err := (run.Exec{}).Run(ctx, run.Cmd{Path: "systemd-analyze", Args: args}); err != nil {
		return fmt.Errorf("units: %w", err)
	} else if len(result.Stderr) > 0 { // a key that it does not know is no failure to it
		return fmt.Errorf("units: %s", result.Stderr)
	}
	return nil
}

// udev: verify is of systemd 254. Elsewhere the tests have the rules read by udevadm test.
func udev(ctx context.Context, root string, out io.Writer) error {
	help, err := run.Exec{}.Run(ctx, run.Cmd{Path: "udevadm", Args: []string{"--help"}})
	if err != nil {
		return fmt.Errorf("rules of udev: %w", err)
	}
	if !slices.Contains(strings.Fields(string(help.Stdout)), "verify") {
		fmt.Fprintln(out, "udevadm has no verify here: the rules of udev are tried by the tests only")
		return nil
	}
	rules, err := filepath.Glob(filepath.Join(root, "usr/lib/udev/rules.d/*"))
	if err == nil && len(rules) > 0 {
		_, err = run.Exec{}.Run(ctx, run.Cmd{Path: "udevadm", Args: append([]string{"verify", "--resolve-names=never"}, rules...)})
	}
	if err != nil {
		return fmt.Errorf("rules of udev: %w", err)
	}
	return nil
}
