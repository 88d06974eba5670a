package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// shells that the words are completed for.
var shells = []string{"bash", "zsh", "fish"}

// completion prints a shell's own description of the commands, their flags and what these
// take. The shell runs nothing of the program to complete its words.
func (p *Program) completion() Command {
	return Command{
		Name: "completion", Args: strings.Join(shells, "|"), Least: 1, Most: 1,
		Sentence: "Prints what makes a shell complete the words of " + p.Name + ".",
		More: []string{fmt.Sprintf("For bash: %[1]s completion bash > /etc/bash_completion.d/%[1]s. For zsh: into a directory of fpath, as _%[1]s. "+
			"For fish: into ~/.config/fish/completions, as %[1]s.fish.", p.Name)},
		Setup: func(*pflag.FlagSet) Action {
			return func(_ context.Context, words []string, io Stdio) error { return p.complete(words[0], io.Out) }
		},
	}
}

func (p *Program) complete(shell string, w io.Writer) error {
	switch shell {
	case "bash":
		return p.completeBash(w)
	case "zsh":
		return p.completeZsh(w)
	case "fish":
		return p.completeFish(w)
	}
	return fmt.Errorf("%w: shell %q is none of %s", ErrUsage, shell, strings.Join(shells, ", "))
}

// firstWords are all that may follow the program's name, with what they do.
func (p *Program) firstWords() []struct{ word, does string } {
	var all []struct{ word, does string }
	for _, c := range p.All() {
		all = append(all, struct{ word, does string }{c.Name, c.Sentence})
	}
	for _, v := range p.Verbs {
		if !slices.ContainsFunc(p.All(), func(c Command) bool { return c.Name == v.Name }) {
			all = append(all, struct{ word, does string }{v.Name, v.Sentence})
		}
	}
	return all
}

// argWords are the words that a command's arguments can be, if they are a choice.
func argWords(c Command) []string {
	var words []string
	for _, word := range strings.FieldsFunc(c.Args, func(r rune) bool { return r == '|' || r == ' ' }) {
		if word == strings.ToLower(word) {
			words = append(words, strings.Trim(word, "[]"))
		}
	}
	return words
}

func (p *Program) completeBash(w io.Writer) error {
	var first []string
	for _, f := range p.firstWords() {
		first = append(first, f.word)
	}
	var text strings.Builder
	fmt.Fprintf(&text, `# bash completion for %s
%s() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W %q -- "$word"))
		return
	fi
	case ${COMP_WORDS[1]} in
`, p.Name, p.function(), strings.Join(first, " "))
	for _, c := range p.All() {
		words := argWords(c)
		fmt.Fprintf(&text, "\t%s)\n\t\tcase $before in\n", c.Name)
		c.Flags().VisitAll(func(f *pflag.Flag) {
			words = append(words, "--"+f.Name)
			switch choice := valueWords(f); {
			case !takesValue(f):
			case choice != nil:
				fmt.Fprintf(&text, "\t\t--%s) COMPREPLY=($(compgen -W %q -- \"$word\")); return ;;\n", f.Name, strings.Join(choice, " "))
			case takesPath(f):
				fmt.Fprintf(&text, "\t\t--%s) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n", f.Name)
			default:
				fmt.Fprintf(&text, "\t\t--%s) return ;;\n", f.Name)
			}
		})
		fmt.Fprintf(&text, "\t\tesac\n\t\tCOMPREPLY=($(compgen -W %q -- \"$word\")) ;;\n", strings.Join(append(words, "--help"), " "))
	}
	ofVerbs := "--dry-run --help"
	if len(p.Verbs) == 0 {
		ofVerbs = "--help"
	}
	fmt.Fprintf(&text, "\t*) COMPREPLY=($(compgen -W %q -- \"$word\")) ;;\n\tesac\n}\ncomplete -F %s %s\n", ofVerbs, p.function(), p.Name)
	_, err := io.WriteString(w, text.String())
	return err
}

func (p *Program) completeZsh(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "#compdef %s\n%s() {\n\tlocal -a first\n\tfirst=(\n", p.Name, p.function())
	for _, f := range p.firstWords() {
		fmt.Fprintf(&text, "\t\t%s\n", single(f.word+":"+strings.ReplaceAll(f.does, ":", `\:`)))
	}
	text.WriteString("\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe command first\n\t\treturn\n\tfi\n\tlocal word=$words[2]\n\tshift words\n\t((CURRENT--))\n\tcase $word in\n")
	for _, c := range p.All() {
		fmt.Fprintf(&text, "\t%s)\n\t\t_arguments '--help[says what it does]'", c.Name)
		c.Flags().VisitAll(func(f *pflag.Flag) { fmt.Fprintf(&text, " \\\n\t\t\t%s", single(zshFlag(f))) })
		if words := argWords(c); len(words) > 0 {
			fmt.Fprintf(&text, " \\\n\t\t\t%s", single("1:word:("+strings.Join(words, " ")+")"))
		} else if strings.Contains(c.Args, "FILE") {
			text.WriteString(" \\\n\t\t\t'*:file:_files'")
		}
		text.WriteString(" ;;\n")
	}
	dryRun := "'--dry-run[prints the plan]' "
	if len(p.Verbs) == 0 {
		dryRun = ""
	}
	fmt.Fprintf(&text, "\t*) _arguments %s'--help[says what it does]' ;;\n\tesac\n}\n%s \"$@\"\n", dryRun, p.function())
	_, err := io.WriteString(w, text.String())
	return err
}

// zshFlag is a flag as _arguments wants it: --name[what it does]:value:how to complete it.
func zshFlag(f *pflag.Flag) string {
	value, does := pflag.UnquoteUsage(f)
	spec := fmt.Sprintf("--%s[%s]", f.Name, strings.NewReplacer("[", "(", "]", ")", ":", `\:`).Replace(does))
	switch choice := valueWords(f); {
	case !takesValue(f):
		return spec
	case choice != nil:
		return spec + ":value:(" + strings.Join(choice, " ") + ")"
	case takesPath(f):
		return spec + ":" + value + ":_files"
	}
	return spec + ":" + value + ":"
}

func (p *Program) completeFish(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "# fish completion for %[1]s\ncomplete -c %[1]s -f\n", p.Name)
	for _, f := range p.firstWords() {
		fmt.Fprintf(&text, "complete -c %s -n __fish_use_subcommand -a %s -d %s\n", p.Name, f.word, fishQuote(f.does))
	}
	for _, c := range p.All() {
		when := fishQuote("__fish_seen_subcommand_from " + c.Name)
		if words := argWords(c); len(words) > 0 {
			fmt.Fprintf(&text, "complete -c %s -n %s -a %s\n", p.Name, when, fishQuote(strings.Join(words, " ")))
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			_, does := pflag.UnquoteUsage(f)
			fmt.Fprintf(&text, "complete -c %s -n %s -l %s%s -d %s\n", p.Name, when, f.Name, fishValue(f), fishQuote(does))
		})
	}
	var verbs []string
	for _, v := range p.Verbs {
		verbs = append(verbs, v.Name)
	}
	if len(verbs) > 0 {
		fmt.Fprintf(&text, "complete -c %s -n %s -l dry-run -d %s\n", p.Name, fishQuote("__fish_seen_subcommand_from "+strings.Join(verbs, " ")), fishQuote("prints the plan"))
	}
	fmt.Fprintf(&text, "complete -c %s -l help -d 'says what it does'\n", p.Name)
	_, err := io.WriteString(w, text.String())
	return err
}

func fishValue(f *pflag.Flag) string {
	switch choice := valueWords(f); {
	case !takesValue(f):
		return ""
	case choice != nil:
		return " -x -a " + fishQuote(strings.Join(choice, " "))
	case takesPath(f):
		return " -r -F"
	}
	return " -x"
}

// single quotes a word for zsh, fishQuote for fish.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
