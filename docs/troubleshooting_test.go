package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every message that docs/troubleshooting.md quotes is one of the programs'.
func TestMessages(t *testing.T) {
	texts := strings.Join(literals(t), "\x00")
	quoted := 0
	for line := range strings.Lines(pages(t)["troubleshooting.md"]) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		quoted++
		message := strings.Trim(cells[1], " `")
		for _, part := range strings.Split(message, "…") {
			assert.True(t, strings.Contains(texts, strings.TrimSpace(part)), "no program says %q", message)
		}
	}
	assert.Greater(t, quoted, 30)
}

// literals are all strings in the source of the programs.
func literals(t *testing.T) (found []string) {
	t.Helper()
	for _, path := range files(t, ".go") {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "../test/") || strings.HasPrefix(path, "../lab/") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(node ast.Node) bool {
			if text, ok := node.(*ast.BasicLit); ok && text.Kind == token.STRING {
				value, err := strconv.Unquote(text.Value)
				require.NoError(t, err)
				found = append(found, value)
			}
			return true
		})
	}
	return found
}
