package docs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
)

// What oned.md says for each version is what tm-clvm setup frontend makes of that version's
// file: the assignments that are new, or not as they were.
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
		assert.Equal(t, added(before, after), snippet(t, string(page), title), title)
	}
}

// added are the assignments of after that before has not, whole, as they can be copied.
func added(before, after *onedconf.File) string {
	there := map[string]bool{}
	for _, text := range before.Assignments() {
		there[text] = true
	}
	var all strings.Builder
	for _, text := range after.Assignments() {
		if !there[text] {
			all.WriteString(text + "\n")
		}
	}
	return all.String()
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
