package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"

	"one-clvm/internal/command"
	"one-clvm/opennebula"
)

// Whatever the program can do is in all that describes it.
func TestNothingIsLeftOut(t *testing.T) {
	texts := map[string]string{}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		status, text, stderr := tmClvm("completion", shell)
		assert.Zero(t, status, stderr)
		texts[shell] = text
	}
	status, text, stderr := tmClvm("man")
	assert.Zero(t, status, stderr)
	texts["man"] = strings.ReplaceAll(text, `\-`, "-")
	flagIn := map[string]func(command.Command, string) string{
		"bash": func(_ command.Command, flag string) string { return "--" + flag },
		"zsh":  func(_ command.Command, flag string) string { return "--" + flag + "[" },
		"fish": func(c command.Command, flag string) string {
			return "__fish_seen_subcommand_from " + c.Name + "' -l " + flag
		},
		"man": func(_ command.Command, flag string) string { return ".B \"--" + flag },
	}
	for where, text := range texts {
		for _, verb := range opennebula.Verbs {
			assert.True(t, strings.Contains(text, verb), "%s in %s", verb, where)
		}
		for _, c := range program().All() {
			assert.True(t, strings.Contains(text, c.Name), "%s in %s", c.Name, where)
			c.Flags().VisitAll(func(f *pflag.Flag) {
				assert.True(t, strings.Contains(text, flagIn[where](c, f.Name)), "--%s of %s in %s", f.Name, c.Name, where)
			})
		}
	}
	for _, c := range program().All() {
		_, text, _ := tmClvm(c.Name, "--help")
		c.Flags().VisitAll(func(f *pflag.Flag) {
			assert.Contains(t, text, "--"+f.Name)
			assert.NotEmpty(t, f.Usage, "%s --%s", c.Name, f.Name)
			value, _ := pflag.UnquoteUsage(f)
			assert.NotContains(t, []string{"string", "int"}, value, "name the value of %s --%s in backquotes", c.Name, f.Name)
		})
	}
}

func TestUnknownShell(t *testing.T) {
	status, stdout, stderr := tmClvm("completion", "cmd.exe")
	assert.Equal(t, 2, status)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "bash, zsh, fish")
}
