package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"one-clvm/opennebula"
)

// shells that the words are completed for.
var shells = []string{"bash", "zsh", "fish"}

// setupCompletion prints a shell's own description of the commands, their flags and what
// these take. The shell runs nothing of tm-clvm to complete its words.
func setupCompletion(*pflag.FlagSet) action {
	return func(_ context.Context, words []string, io stdio) error {
		switch words[0] {
		case "bash":
			return completeBash(io.out)
		case "zsh":
			return completeZsh(io.out)
		case "fish":
			return completeFish(io.out)
		}
		return fmt.Errorf("%w: shell %q is none of %s", errUsage, words[0], strings.Join(shells, ", "))
	}
}

// firstWords are all that may follow tm-clvm, with what they do.
func firstWords() []struct{ word, does string } {
	var all []struct{ word, does string }
	for _, c := range commands() {
		all = append(all, struct{ word, does string }{c.name, c.sentence})
	}
	for _, verb := range opennebula.Verbs {
		if !slices.ContainsFunc(commands(), func(c command) bool { return c.name == verb }) {
			all = append(all, struct{ word, does string }{verb, verbSentence(verb)})
		}
	}
	return all
}

// argWords are the words that a command's arguments can be, if they are a choice.
func argWords(c command) []string {
	var words []string
	for _, word := range strings.FieldsFunc(c.args, func(r rune) bool { return r == '|' || r == ' ' }) {
		if word == strings.ToLower(word) {
			words = append(words, strings.Trim(word, "[]"))
		}
	}
	return words
}

func completeBash(w io.Writer) error {
	var first []string
	for _, f := range firstWords() {
		first = append(first, f.word)
	}
	var text strings.Builder
	fmt.Fprintf(&text, `# bash completion for tm-clvm
_tm_clvm() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W %q -- "$word"))
		return
	fi
	case ${COMP_WORDS[1]} in
`, strings.Join(first, " "))
	for _, c := range commands() {
		words := argWords(c)
		fmt.Fprintf(&text, "\t%s)\n\t\tcase $before in\n", c.name)
		c.flags().VisitAll(func(f *pflag.Flag) {
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
	text.WriteString("\t*) COMPREPLY=($(compgen -W \"--dry-run --help\" -- \"$word\")) ;;\n\tesac\n}\ncomplete -F _tm_clvm tm-clvm\n")
	_, err := io.WriteString(w, text.String())
	return err
}

func completeZsh(w io.Writer) error {
	var text strings.Builder
	text.WriteString("#compdef tm-clvm\n_tm_clvm() {\n\tlocal -a first\n\tfirst=(\n")
	for _, f := range firstWords() {
		fmt.Fprintf(&text, "\t\t%s\n", single(f.word+":"+strings.ReplaceAll(f.does, ":", `\:`)))
	}
	text.WriteString("\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe command first\n\t\treturn\n\tfi\n\tlocal word=$words[2]\n\tshift words\n\t((CURRENT--))\n\tcase $word in\n")
	for _, c := range commands() {
		fmt.Fprintf(&text, "\t%s)\n\t\t_arguments '--help[says what it does]'", c.name)
		c.flags().VisitAll(func(f *pflag.Flag) { fmt.Fprintf(&text, " \\\n\t\t\t%s", single(zshFlag(f))) })
		if words := argWords(c); len(words) > 0 {
			fmt.Fprintf(&text, " \\\n\t\t\t%s", single("1:word:("+strings.Join(words, " ")+")"))
		} else if strings.Contains(c.args, "FILE") {
			text.WriteString(" \\\n\t\t\t'*:file:_files'")
		}
		text.WriteString(" ;;\n")
	}
	text.WriteString("\t*) _arguments '--dry-run[prints the plan]' '--help[says what it does]' ;;\n\tesac\n}\n_tm_clvm \"$@\"\n")
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

func completeFish(w io.Writer) error {
	var text strings.Builder
	text.WriteString("# fish completion for tm-clvm\ncomplete -c tm-clvm -f\n")
	for _, f := range firstWords() {
		fmt.Fprintf(&text, "complete -c tm-clvm -n __fish_use_subcommand -a %s -d %s\n", f.word, fishQuote(f.does))
	}
	for _, c := range commands() {
		when := fishQuote("__fish_seen_subcommand_from " + c.name)
		if words := argWords(c); len(words) > 0 {
			fmt.Fprintf(&text, "complete -c tm-clvm -n %s -a %s\n", when, fishQuote(strings.Join(words, " ")))
		}
		c.flags().VisitAll(func(f *pflag.Flag) {
			_, does := pflag.UnquoteUsage(f)
			fmt.Fprintf(&text, "complete -c tm-clvm -n %s -l %s%s -d %s\n", when, f.Name, fishValue(f), fishQuote(does))
		})
	}
	fmt.Fprintf(&text, "complete -c tm-clvm -n %s -l dry-run -d %s\n", fishQuote("__fish_seen_subcommand_from "+strings.Join(opennebula.Verbs, " ")), fishQuote("prints the plan"))
	text.WriteString("complete -c tm-clvm -l help -d 'says what it does'\n")
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
