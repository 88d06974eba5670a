package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ourCommand is one of our programs with its arguments, in a block of code or between
// backticks.
var (
	ourCommand = regexp.MustCompile(`(?:^|[\s(])(tm-clvm|vmm-rhcs|one-migrate-hook) ([a-z][a-z0-9-]*)((?: [^\s|;&)` + "`" + `]+)*)`)
	flagWord   = regexp.MustCompile(`^\[?(--[a-z][a-z-]*)`)
	makeCall   = regexp.MustCompile("(?m)(?:^[$#] |^ {4}|`)make ([a-z][a-z-]*)")
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z-]*):.*##`)
	inline     = regexp.MustCompile("`[^`\n]+`")
)

// codeOf are the lines of a page that are code.
func codeOf(page string) []string {
	var code []string
	for _, block := range fenced.FindAllString(page, -1) {
		joined := strings.ReplaceAll(block, "\\\n", " ")
		code = append(code, strings.Split(joined, "\n")...)
	}
	for line := range strings.Lines(fenced.ReplaceAllString(page, "")) {
		if strings.HasPrefix(line, "    ") {
			code = append(code, line)
			continue
		}
		for _, text := range inline.FindAllString(line, -1) {
			code = append(code, strings.Trim(text, "`"))
		}
	}
	return code
}

// Each command that the pages tell is one of the programs', and has each flag.
func TestCommands(t *testing.T) {
	programs := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", programs+"/", "./cmd/...")
	build.Dir, build.Stderr = "..", os.Stderr
	require.NoError(t, build.Run())
	helps := map[string]string{}
	help := func(program, word string) string {
		key := program + " " + word
		if _, known := helps[key]; !known {
			out, err := exec.CommandContext(t.Context(), filepath.Join(programs, program), word, "--help").CombinedOutput()
			if err != nil {
				out = nil
			}
			helps[key] = string(out)
		}
		return helps[key]
	}
	told := 0
	for page, text := range pages(t) {
		if page == "../CHANGELOG.md" {
			continue // of all times
		}
		for _, line := range codeOf(text) {
			for _, m := range ourCommand.FindAllStringSubmatch(line, -1) {
				told++
				if m[1]+" "+m[2] == "vmm-rhcs agent" { // for programs alone: it has no help
					continue
				}
				known := help(m[1], m[2])
				assert.NotEmpty(t, known, "%s: there is no %s %s", page, m[1], m[2])
				for _, word := range strings.Fields(m[3]) {
					if f := flagWord.FindStringSubmatch(word); f != nil && f[1] != "--help" && f[1] != "--dry-run" {
						assert.Contains(t, known, f[1], "%s: %s", page, line)
					}
				}
			}
		}
	}
	assert.Greater(t, told, 50)
}

// Each target of make that the pages tell is there.
func TestTargetsOfMake(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(string(text), -1) {
		targets[m[1]] = true
	}
	for page, text := range pages(t) {
		for _, m := range makeCall.FindAllStringSubmatch(text, -1) {
			assert.True(t, targets[m[1]], "%s: make %s", page, m[1])
		}
	}
}
