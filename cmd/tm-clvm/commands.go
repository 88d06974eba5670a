package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"one-clvm/agent"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
)

// stdio is what a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// commands of the administrator; the verbs of oned come besides. All that is said about a
// command, by --help, the manual and the completion of shells, comes from here.
func commands() []command {
	return []command{
		{
			name: "config", args: "[FILE]", most: 1, setup: setupConfig,
			sentence: "Prints the effective configuration and where each value comes from.",
		},
		{
			name: "vg", args: "create NAME | destroy NAME | list", least: 1, most: 2, setup: setupVG,
			sentence: "Makes, removes and lists file-backed volume groups on this node.",
		},
		{
			name: "volumes", setup: setupVolumes,
			sentence: "Lists the volumes of this node's volume groups.",
		},
		{
			name: "audit", setup: setupAudit,
			sentence: "Shows orphans and contradictions, and what repairs them; changes nothing.",
			more:     []string{statusOfLooking},
		},
		{
			name: "reap", args: "VG", least: 1, most: 1, setup: setupReap,
			sentence: "Wipes and removes what is in quarantine: deleted volumes whose wipe failed or was cut off.",
		},
		{
			name: "wipe-free", args: "VG", least: 1, most: 1, setup: setupWipeFree,
			sentence: "Wipes all free space of a volume group once; from then on new disks need no zeroing.",
		},
		{
			name: "completion", args: strings.Join(shells, "|"), least: 1, most: 1, setup: setupCompletion,
			sentence: "Prints what makes a shell complete the words of tm-clvm.",
			more: []string{
				"For bash: tm-clvm completion bash > /etc/bash_completion.d/tm-clvm. For zsh: into a directory of fpath, as _tm-clvm. " +
					"For fish: into ~/.config/fish/completions, as tm-clvm.fish.",
			},
		},
		{
			name: "man", setup: setupMan,
			sentence: "Prints the manual page of tm-clvm.",
		},
		{
			name: "agent", setup: setupAgent,
			sentence: "Serves one request on standard input; oned's driver starts it over ssh.",
		},
	}
}

// statusOfLooking is what a command that looks for something ends with.
const statusOfLooking = "Exit status: 0 nothing was found, 1 something was found, 2 it could not look."

// tmclvm is the whole program but for the process around it.
func tmclvm(argv []string, io stdio) int {
	if len(argv) == 2 && argv[0] == "confined" {
		return agent.Confined(argv[1])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Writing to a peer that is gone is an error like any other: an agent that died of it
	// would take nothing back. (Ignored signals are inherited by programs, these are not.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if len(argv) == 0 || isHelp(argv[0]) {
		usage(io.out)
		return exitUnless(len(argv) > 0)
	}
	if argv[0] == "--version" || argv[0] == "version" {
		fmt.Fprintln(io.out, "tm-clvm", version.String())
		return 0
	}
	name, argv := verbName(argv[0]), argv[1:]
	if slices.Contains(opennebula.Verbs, name) {
		return runVerb(ctx, name, argv, io)
	}
	for _, c := range commands() {
		if c.name == name {
			return c.start(ctx, argv, io)
		}
	}
	fmt.Fprintf(io.err, "tm-clvm: no verb or command %q; tm-clvm --help lists them\n", name)
	return 2
}

// verbName: as the interpreter of a driver script, tm-clvm gets the script's path.
func verbName(arg string) string {
	if strings.Contains(arg, "/") {
		return filepath.Base(arg)
	}
	return strings.ToLower(arg)
}

func isHelp(arg string) bool { return arg == "--help" || arg == "-h" || arg == "help" }

func exitUnless(ok bool) int {
	if ok {
		return 0
	}
	return 2
}

var (
	errUsage = errors.New("wrong arguments")
	// errFindings makes a command that looks for something end with status 1.
	errFindings = errors.New("not everything is as it should be")
	// errCouldNotLook makes it end with status 2: whether all is well is not known.
	errCouldNotLook = errors.New("could not look")
)

// exitStatus of a command that ended with err.
func exitStatus(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage), errors.Is(err, errCouldNotLook):
		return 2
	}
	return 1
}

func usage(w io.Writer) {
	fmt.Fprint(w, `tm-clvm: OpenNebula's disks as logical volumes on a SAN.

  tm-clvm COMMAND [ARGUMENTS]
  tm-clvm VERB [--dry-run] ARGUMENTS     as oned calls it
  tm-clvm COMMAND|VERB --help

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.sentence)
	}
	fmt.Fprint(w, "\nVerbs of the transfer manager:\n")
	for _, verb := range opennebula.Verbs {
		fmt.Fprintf(w, "  %-17s %s\n", verb, verbSentence(verb))
	}
	fmt.Fprint(w, `
Try, as root on a node without a SAN:
  tm-clvm vg create vg-one --size 1T
  tm-clvm volumes
`)
}

// verbArgs and verbSentence take a verb's usage apart.
func verbArgs(verb string) string {
	line, _, _ := strings.Cut(opennebula.Usage(verb), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, verb))
}

func verbSentence(verb string) string {
	_, sentence, _ := strings.Cut(strings.TrimSpace(opennebula.Usage(verb)), "\n")
	return sentence
}
