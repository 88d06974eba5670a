package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"one-clvm/internal/version"
	"one-clvm/opennebula"
)

// setupMan prints the manual page, in the macros of man(7).
func setupMan(*pflag.FlagSet) action {
	return func(_ context.Context, _ []string, io stdio) error { return manual(io.out) }
}

func manual(w io.Writer) error {
	page := &roff{}
	day, _, known := strings.Cut(version.Date, "T") // else the word for an unknown one
	if !known {
		day = ""
	}
	page.macro("TH", "TM-CLVM", "1", day, "one-clvm "+version.Version, "one-clvm")
	page.macro("SH", "NAME")
	page.line(`tm-clvm \- OpenNebula's disks as logical volumes on a SAN`)
	page.macro("SH", "SYNOPSIS")
	page.macro("B", "tm-clvm")
	page.line("COMMAND [ARGUMENTS]")
	page.macro("br")
	page.macro("B", "tm-clvm")
	page.line(escape("VERB [--dry-run] ARGUMENTS"))
	page.macro("br")
	page.macro("B", "tm-clvm")
	page.line(escape("COMMAND|VERB --help"))
	page.macro("SH", "DESCRIPTION")
	page.line("The transfer manager of OpenNebula for clustered LVM, the agent on the nodes, and the administrator's tool for both.")
	page.macro("SH", "COMMANDS")
	for _, c := range commands() {
		page.command(c)
	}
	page.macro("SH", "VERBS")
	page.line("As oned calls them.")
	page.macro("B", escape("--dry-run"))
	page.line("prints the plan of a verb and changes nothing.")
	for _, verb := range opennebula.Verbs {
		page.macro("TP")
		page.macro("B", escape(verb+" "+verbArgs(verb)))
		page.line(escape(verbSentence(verb)))
	}
	page.macro("SH", "EXIT STATUS")
	page.line("0 for success, 1 for a failure, 2 for wrong arguments. Commands that look for something: 0 nothing was found, 1 something was found, 2 they could not look.")
	page.macro("SH", "FILES")
	for _, file := range []struct{ path, what string }{
		{"/var/lib/one/remotes/etc/tm/clvm/cxmrc", "configuration of the front-end; tm-clvm config prints it with all defaults"},
		{"/etc/one-clvm/agent.conf", "what a node's agent may do; only root writes it"},
	} {
		page.macro("TP")
		page.macro("I", escape(file.path))
		page.line(escape(file.what))
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

func (p *roff) command(c command) {
	p.macro("SS", escape(strings.TrimSpace(c.name+" "+c.args)))
	p.line(escape(c.sentence))
	for _, paragraph := range c.more {
		p.macro("PP")
		p.line(escape(paragraph))
	}
	c.flags().VisitAll(func(f *pflag.Flag) {
		_, does := pflag.UnquoteUsage(f)
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
