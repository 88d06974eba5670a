package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"one-clvm/internal/version"
)

// manual prints the manual page, in the macros of man(7).
func (p *Program) manual() Command {
	return Command{
		Name: "man", Sentence: "Prints the manual page of " + p.Name + ".",
		Setup: func(*pflag.FlagSet) Action {
			return func(_ context.Context, _ []string, io Stdio) error { return p.page(io.Out) }
		},
	}
}

func (p *Program) page(w io.Writer) error {
	page := &roff{}
	day, _, known := strings.Cut(version.Date, "T") // else the word for an unknown one
	if !known {
		day = ""
	}
	page.macro("TH", strings.ToUpper(p.Name), "1", day, "one-clvm "+version.Version, "one-clvm")
	page.macro("SH", "NAME")
	page.line(p.Name + ` \- ` + p.Title)
	page.macro("SH", "SYNOPSIS")
	page.synopsis(p.Name, "COMMAND [ARGUMENTS]")
	page.macro("br")
	called := "COMMAND"
	if len(p.Verbs) > 0 {
		called += "|VERB"
		page.synopsis(p.Name, "VERB [--dry-run] ARGUMENTS")
		page.macro("br")
	}
	page.synopsis(p.Name, called+" --help")
	page.macro("SH", "DESCRIPTION")
	page.line(escape(p.About))
	page.macro("SH", "COMMANDS")
	for _, c := range p.All() {
		page.command(c)
	}
	page.verbs(p.Verbs)
	page.macro("SH", "EXIT STATUS")
	page.line("0 for success, 1 for a failure, 2 for wrong arguments. Commands that look for something: 0 nothing was found, 1 something was found, 2 they could not look.")
	page.macro("SH", "FILES")
	for _, file := range p.Files {
		page.macro("TP")
		page.macro("I", escape(file.Path))
		page.line(escape(file.What))
	}
	_, err := io.WriteString(w, page.out.String())
	return err
}

// roff is a page that is being written.
type roff struct{ out strings.Builder }

func (p *roff) macro(name string, words ...string) {
	p.out.WriteString("." + name)
	for _, word := range words {
		fmt.Fprintf(&p.out, " \"%s\"", strings.ReplaceAll(word, `"`, `\(dq`))
	}
	p.out.WriteString("\n")
}

// line writes a line of roff: escape makes one of a text.
func (p *roff) line(line string) { p.out.WriteString(line + "\n") }

func (p *roff) synopsis(program, words string) {
	p.macro("B", program)
	p.line(escape(words))
}

func (p *roff) verbs(verbs []Verb) {
	if len(verbs) == 0 {
		return
	}
	p.macro("SH", "VERBS")
	p.line("As oned calls them.")
	p.macro("B", escape("--dry-run"))
	p.line("prints the plan of a verb and changes nothing.")
	for _, v := range verbs {
		p.macro("TP")
		p.macro("B", escape(v.Name+" "+v.Args))
		p.line(escape(v.Sentence))
	}
}

func (p *roff) command(c Command) {
	p.macro("SS", escape(strings.TrimSpace(c.Name+" "+c.Args)))
	p.line(escape(c.Sentence))
	for _, paragraph := range c.More {
		p.macro("PP")
		p.line(escape(paragraph))
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		_, does := shown(f)
		p.macro("TP")
		p.macro("B", escape(flagWord(f)))
		p.line(escape(does))
	})
}

// escape makes a text one that roff prints as it stands.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
