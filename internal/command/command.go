// Package command describes the words that a program of the suite is called with, once:
// the program runs them by that description, and --help, the completion of shells and the
// manual page are made from it.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Stdio is what a command reads and writes.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Action does what a command is for. words are its arguments that are no flags.
type Action func(ctx context.Context, words []string, io Stdio) error

// Command is one of the words that may follow a program's name.
type Command struct {
	Name     string
	Args     string // besides the flags, for the usage line
	Sentence string
	More     []string // further paragraphs of its help and its manual
	// Setup declares the command's flags and gives what uses them. A flag's usage names its
	// value in backquotes (`FILE`); values are completed by that name, see valueWords.
	Setup       func(*pflag.FlagSet) Action
	Least, Most int // words besides the flags
	// Silent: who started the command is told of errors by the command itself.
	Silent bool
}

// Sentinels. Test with errors.Is.
var (
	ErrUsage = errors.New("wrong arguments")
	// ErrFindings makes a command that looks for something end with status 1.
	ErrFindings = errors.New("not everything is as it should be")
	// ErrCouldNotLook makes it end with status 2: whether all is well is not known.
	ErrCouldNotLook = errors.New("could not look")
)

// usageError is an ErrUsage in words of its own.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }
func (e *usageError) Unwrap() error { return ErrUsage }

// StatusOfLooking is what a command that looks for something ends with, for its help.
const StatusOfLooking = "Exit status: 0 nothing was found, 1 something was found, 2 it could not look."

// ExitStatus of a command that ended with err.
func ExitStatus(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrUsage), errors.Is(err, ErrCouldNotLook):
		return 2
	}
	return 1
}

// IsHelp says whether a word asks for help.
func IsHelp(arg string) bool { return arg == "--help" || arg == "-h" || arg == "help" }

// HelpOf makes "WORD --help" of "help WORD".
func HelpOf(argv []string) []string {
	if len(argv) == 2 && IsHelp(argv[0]) && !IsHelp(argv[1]) {
		return []string{argv[1], "--help"}
	}
	return argv
}

// Flags are the command's, for whoever describes them.
func (c Command) Flags() *pflag.FlagSet {
	flags, _ := c.prepare()
	return flags
}

func (c Command) prepare() (*pflag.FlagSet, Action) {
	flags := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard)
	flags.SetNormalizeFunc(spelling)
	return flags, c.Setup(flags)
}

// spelling: OpenNebula's word for a node is taken, too.
func spelling(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "host" {
		name = "node"
	}
	return pflag.NormalizedName(name)
}

// start runs the command of a program; the result is the exit status.
func (c Command) start(ctx context.Context, program string, argv []string, io Stdio) int {
	if len(argv) > 0 && IsHelp(argv[0]) {
		c.help(program, io.Out)
		return 0
	}
	err := c.run(ctx, argv, io)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, pflag.ErrHelp): // behind one of the command's words
		c.help(program, io.Out)
		return 0
	}
	if !c.Silent {
		fmt.Fprintf(io.Err, "%s %s: %s\n", program, c.Name, err)
	}
	if errors.Is(err, ErrUsage) {
		fmt.Fprintf(io.Err, "usage: %s\n", c.usage(program))
	}
	return ExitStatus(err)
}

func (c Command) run(ctx context.Context, argv []string, io Stdio) error {
	flags, act := c.prepare()
	if err := flags.Parse(argv); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if n := flags.NArg(); n < c.Least || n > c.Most {
		return &usageError{fmt.Sprintf("wrong number of arguments: %d instead of %s", n, c.wanted())}
	}
	return act(ctx, flags.Args(), io)
}

// wanted is the number of words besides the flags.
func (c Command) wanted() string {
	if c.Least == c.Most {
		return strconv.Itoa(c.Least)
	}
	return fmt.Sprintf("%d to %d", c.Least, c.Most)
}

// usage is the command in one line.
func (c Command) usage(program string) string {
	words := []string{program, c.Name}
	forms := strings.Contains(c.Args, " | ")
	if c.Args != "" && !forms {
		words = append(words, c.Args)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) { words = append(words, "["+flagWord(f)+"]") })
	if forms { // behind its flags: these are not the last form's alone
		words = append(words, c.Args)
	}
	return strings.Join(words, " ")
}

// flagWord is a flag with the name of its value: --file FILE.
func flagWord(f *pflag.Flag) string {
	value, _ := shown(f)
	return strings.TrimSpace("--" + f.Name + " " + value)
}

// fewWords are as many as a usage line has room for.
const fewWords = 4

// shown is a flag's value and what it does, for people: a long choice is told once.
func shown(f *pflag.Flag) (value, does string) {
	value, does = pflag.UnquoteUsage(f)
	choice := valueWords(f)
	if len(choice) <= fewWords {
		return value, does
	}
	name := strings.ToUpper(f.Name)
	return name, strings.Replace(does, value, name+" ("+strings.Join(choice, ", ")+")", 1)
}

func (c Command) help(program string, w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n", c.usage(program), c.Sentence)
	for _, paragraph := range c.More {
		fmt.Fprintf(w, "\n%s\n", paragraph)
	}
	flags := c.Flags()
	if !flags.HasFlags() {
		return
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if value, does := shown(f); len(valueWords(f)) > 0 {
			f.Usage = strings.Replace(does, value, "`"+value+"`", 1)
		}
	})
	fmt.Fprintf(w, "\n%s", flags.FlagUsagesWrapped(columns))
}

// columns that a table of flags may take.
const columns = 100

// valueWords are what a flag's value is chosen from, if its name is a choice (A|B|C).
func valueWords(f *pflag.Flag) []string {
	value, _ := pflag.UnquoteUsage(f)
	if !strings.Contains(value, "|") || takesPath(f) {
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
