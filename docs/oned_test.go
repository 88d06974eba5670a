package docs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
)

// What oned.md says for each version is what tm-clvm setup frontend makes of that version's
// file: the lines that are new, or not as they were.
func TestSnippetsOfOnedConf(t *testing.T) {
	page, err := os.ReadFile("oned.md")
	require.NoError(t, err)
	for title, c := range map[string]struct{ stock, release string }{
		"3.6, 3.8": {"3.8.conf", ""}, "4.4 to 4.14": {"4.14.conf", "4.14.2"}, "5.x": {"5.4.conf", "5.4.13"}, "6.x": {"6.4.conf", "6.4.7"}, "7.x": {"7.4.conf", "7.4.0"},
	} {
		text, err := os.ReadFile("../opennebula/onedconf/testdata/" + c.stock)
		require.NoError(t, err)
		before, err := onedconf.Parse(string(text))
		require.NoError(t, err)
		w := onedconf.Wiring{Stores: true, Clusters: true, MigrateLocal: true}
		if c.release != "" {
			w.Release, err = opennebula.ParseVersion(c.release)
			require.NoError(t, err)
		}
		after, _, err := w.Edit(before)
		require.NoError(t, err)
		assert.Equal(t, added(before.String(), after.String()), snippet(t, string(page), title), title)
	}
}

// added are the lines of after that before has not, without empty ones.
func added(before, after string) string {
	var text strings.Builder
	a, b := difflib.SplitLines(before), difflib.SplitLines(after)
	for _, c := range difflib.NewMatcher(a, b).GetOpCodes() {
		for _, line := range b[c.J1:c.J2] {
			if c.Tag != 'e' && strings.TrimSpace(line) != "" {
				text.WriteString(line)
			}
		}
	}
	return text.String()
}

// snippet is the first block of code under a heading.
func snippet(t *testing.T, page, title string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n### "+title+"\n")
	require.True(t, found, "there is no section %s", title)
	_, rest, found = strings.Cut(rest, "\n```\n")
	require.True(t, found)
	block, _, found := strings.Cut(rest, "```\n")
	require.True(t, found)
	return block
}
