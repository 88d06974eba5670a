package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"one-clvm/internal/version"
)

// Program is a program of the suite: its commands, and all that is said about it.
type Program struct {
	Name     string
	Title    string // what it is, for the manual's heading: no full stop
	About    string // a sentence for the manual
	Commands []Command
	// Verbs are words that another program calls, with arguments of its own; RunVerb runs
	// them. They take --dry-run and --help.
	Verbs      []Verb
	VerbsTitle string
	RunVerb    func(ctx context.Context, verb string, argv []string, io Stdio) int
	Examples   string
	Files      []File
}

// Verb is a word that another program calls.
type Verb struct{ Name, Args, Sentence string }

// File that a program reads, for its manual.
type File struct{ Path, What string }

// All are the program's own commands, and those that every program has.
func (p *Program) All() []Command {
	return append(slices.Clone(p.Commands), p.completion(), p.manual())
}

// Run is the whole program but for the process around it.
func (p *Program) Run(argv []string, io Stdio) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Writing to a peer that is gone is an error like any other: an agent that died of it
	// would take nothing back. (Ignored signals are inherited by programs, these are not.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	argv = HelpOf(argv)
	if len(argv) == 0 || IsHelp(argv[0]) {
		p.usage(io.Out)
		if len(argv) == 0 {
			return 2
		}
		return 0
	}
	if argv[0] == "--version" || argv[0] == "version" {
		fmt.Fprintln(io.Out, p.Name, version.String())
		return 0
	}
	name, argv := argv[0], argv[1:]
	if slices.ContainsFunc(p.Verbs, func(v Verb) bool { return v.Name == name }) {
		return p.RunVerb(ctx, name, argv, io)
	}
	for _, c := range p.All() {
		if c.Name == name {
			return c.start(ctx, p.Name, argv, io)
		}
	}
	fmt.Fprintf(io.Err, "%s: no %s %q; %s --help lists them\n", p.Name, p.word(), name, p.Name)
	return 2
}

// word is what follows the program's name.
func (p *Program) word() string {
	if len(p.Verbs) > 0 {
		return "verb or command"
	}
	return "command"
}

func (p *Program) usage(w io.Writer) {
	fmt.Fprintf(w, "%s: %s.\n\n  %s COMMAND [ARGUMENTS]\n", p.Name, p.Title, p.Name)
	called := "COMMAND"
	if len(p.Verbs) > 0 {
		called += "|VERB"
		fmt.Fprintf(w, "  %s VERB [--dry-run] ARGUMENTS     as oned calls it\n", p.Name)
	}
	fmt.Fprintf(w, "  %s %s --help\n\nCommands:\n", p.Name, called)
	for _, c := range p.All() {
		fmt.Fprintf(w, "  %-10s %s\n", c.Name, c.Sentence)
	}
	if len(p.Verbs) > 0 {
		fmt.Fprintf(w, "\n%s:\n", p.VerbsTitle)
	}
	for _, v := range p.Verbs {
		fmt.Fprintf(w, "  %-17s %s\n", v.Name, v.Sentence)
	}
	if p.Examples != "" {
		fmt.Fprintf(w, "\n%s", p.Examples)
	}
}

// function is the program's name as one that a shell's function may have.
func (p *Program) function() string { return "_" + strings.ReplaceAll(p.Name, "-", "_") }
