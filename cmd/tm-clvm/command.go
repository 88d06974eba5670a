package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// action does what a command is for. words are its arguments that are no flags.
type action func(ctx context.Context, words []string, io stdio) error

// command is one of the words that may follow tm-clvm.
type command struct {
	name     string
	args     string // besides the flags, for the usage line
	sentence string
	more     []string // further paragraphs of its help and its manual
	// setup declares the command's flags and gives what uses them. A flag's usage names its
	// value in backquotes (`FILE`); values are completed by that name, see valueWords.
	setup       func(*pflag.FlagSet) action
	least, most int // words besides the flags
}

// flags are the command's, for whoever describes them.
func (c command) flags() *pflag.FlagSet {
	flags, _ := c.prepare()
	return flags
}

func (c command) prepare() (*pflag.FlagSet, action) {
	flags := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard)
	return flags, c.setup(flags)
}

// start runs the command; the result is the exit status.
func (c command) start(ctx context.Context, argv []string, io stdio) int {
	if len(argv) > 0 && isHelp(argv[0]) {
		c.help(io.out)
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
		fmt.Fprintf(io.err, "usage: %s\n", c.usage())
	}
	return exitStatus(err)
}

func (c command) run(ctx context.Context, argv []string, io stdio) error {
	flags, act := c.prepare()
	if err := flags.Parse(argv); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() < c.least || flags.NArg() > c.most {
		return fmt.Errorf("%w: %d words", errUsage, flags.NArg())
	}
	return act(ctx, flags.Args(), io)
}

// usage is the command in one line.
func (c command) usage() string {
	words := []string{"tm-clvm", c.name}
	if c.args != "" {
		words = append(words, c.args)
	}
	c.flags().VisitAll(func(f *pflag.Flag) { words = append(words, "["+flagWord(f)+"]") })
	return strings.Join(words, " ")
}

// flagWord is a flag with the name of its value: --file FILE.
func flagWord(f *pflag.Flag) string {
	value, _ := pflag.UnquoteUsage(f)
	return strings.TrimSpace("--" + f.Name + " " + value)
}

func (c command) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n", c.usage(), c.sentence)
	for _, paragraph := range c.more {
		fmt.Fprintf(w, "\n%s\n", paragraph)
	}
	if flags := c.flags(); flags.HasFlags() {
		fmt.Fprintf(w, "\n%s", flags.FlagUsages())
	}
}

// valueWords are what a flag's value is chosen from, if its name is a choice (A|B|C).
func valueWords(f *pflag.Flag) []string {
	value, _ := pflag.UnquoteUsage(f)
	if !strings.Contains(value, "|") {
		return nil
	}
	return strings.Split(value, "|")
}

// takesPath says whether a flag's value is a file or a directory.
func takesPath(f *pflag.Flag) bool {
	value, _ := pflag.UnquoteUsage(f)
	return strings.Contains(value, "FILE") || strings.Contains(value, "DIR")
}

// takesValue says whether a word follows the flag.
func takesValue(f *pflag.Flag) bool { return f.NoOptDefVal == "" }
