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

	"github.com/spf13/pflag"

	"one-clvm/agent"
	"one-clvm/internal/version"
	"one-clvm/opennebula"
)

// stdio is what a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// command is one of the words that may follow tm-clvm.
type command struct {
	name, args, sentence string
	run                  func(ctx context.Context, argv []string, io stdio) error
}

// commands of the administrator; the verbs of oned come besides.
func commands() []command {
	return []command{
		{"config", "[--datastore ID] [FILE]", "Prints the effective configuration and where each value comes from.", runConfig},
		{"vg", "create NAME --size SIZE | destroy NAME | list", "Makes, removes and lists file-backed volume groups on this node.", runVG},
		{"volumes", "[--vg NAME] [--json]", "Lists the volumes of this node's volume groups.", runVolumes},
		{"audit", "[--datastore ID | [--vg VG] [--node NODE]] [--json]", "Shows orphans and contradictions, and what repairs them; changes nothing. Status 1: something was found.", runAudit},
		{"reap", "VG [--node NODE] [--force] [--json]", "Wipes and removes what is in quarantine: deleted volumes whose wipe failed or was cut off.", runReap},
		{"wipe-free", "VG [--node NODE] [--json]", "Wipes all free space of a volume group once; from then on new disks need no zeroing.", runWipeFree},
		{"agent", "", "Serves one request on standard input; oned's driver starts it over ssh.", runAgent},
	}
}

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

func (c command) start(ctx context.Context, argv []string, io stdio) int {
	if len(argv) > 0 && isHelp(argv[0]) {
		fmt.Fprintf(io.out, "tm-clvm %s %s\n%s\n", c.name, c.args, c.sentence)
		return 0
	}
	err := c.run(ctx, argv, io)
	if err == nil {
		return 0
	}
	if c.name != "agent" { // the agent has told the other end
		fmt.Fprintf(io.err, "tm-clvm %s: %s\n", c.name, err)
	}
	if errors.Is(err, errUsage) {
		fmt.Fprintf(io.err, "usage: tm-clvm %s %s\n", c.name, c.args)
		return 2
	}
	return 1
}

var errUsage = errors.New("wrong arguments")

// parse reads a command's flags and wants between least and most words besides.
func parse(flags *pflag.FlagSet, argv []string, least, most int) ([]string, error) {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(argv); err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() < least || flags.NArg() > most {
		return nil, fmt.Errorf("%w: %d words", errUsage, flags.NArg())
	}
	return flags.Args(), nil
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
		_, sentence, _ := strings.Cut(strings.TrimSpace(opennebula.Usage(verb)), "\n")
		fmt.Fprintf(w, "  %-17s %s\n", verb, sentence)
	}
	fmt.Fprint(w, `
Try, as root on a node without a SAN:
  tm-clvm vg create vg-one --size 1T
  tm-clvm volumes
`)
}
