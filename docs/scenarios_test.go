// Package docs_test holds the pages of this directory to what the tree has.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every row of the contracts is tried somewhere: docs/scenarios.md says where, and what it
// names is there.
func TestScenarios(t *testing.T) {
	text, err := os.ReadFile("scenarios.md")
	require.NoError(t, err)
	want, err := os.ReadFile("testdata/rows.txt")
	require.NoError(t, err)
	tests := allTests(t)
	var rows []string
	section := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section, _, _ = strings.Cut(title, ":")
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || len(cells) < 2 || strings.HasPrefix(cells[0], " row ") {
			continue
		}
		row := section + ": " + strings.TrimSpace(cells[0])
		rows = append(rows, row)
		named := reference.FindAllStringSubmatch(cells[len(cells)-1], -1)
		assert.NotEmpty(t, named, row)
		for _, name := range named {
			assert.True(t, tests[name[1]] || isScenario(name[1]), "%s: there is neither a test nor a scenario %s", row, name[1])
		}
	}
	assert.Equal(t, strings.Split(strings.TrimSpace(string(want)), "\n"), rows)
}

var (
	reference    = regexp.MustCompile("`([^`]+)`")
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// isScenario: STACK/NAME has what is seen and what is expected.
func isScenario(name string) bool {
	info, err := os.Stat(filepath.Join("../cluster/testdata/scenarios", name))
	return err == nil && info.IsDir() && strings.Count(name, "/") == 1
}

// allTests are those of the tree, as PACKAGE.TestName.
func allTests(t *testing.T) map[string]bool {
	found := map[string]bool{}
	for _, path := range files(t, ".go") {
		if !strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, name := range testFunction.FindAllStringSubmatch(string(text), -1) {
			found[strings.TrimPrefix(filepath.Dir(path), "../")+"."+name[1]] = true
		}
	}
	return found
}
