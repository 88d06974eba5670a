package docs_test

import (
	"errors"
	"flag"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the pages that are made of the source")

// generated holds a page to what it is made of.
func generated(t *testing.T, page, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(text), 0o644))
	}
	have, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Equal(t, text, string(have), "docs/%s is old; run: go test ./docs -update", page)
}

// files are those of the tree with that extension, by their paths from this directory. What is
// built is none of the tree.
func files(t *testing.T, extension string) (found []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's, and gone
		}
		if err != nil {
			return err
		}
		switch name := entry.Name(); {
		case entry.IsDir() && (len(name) > 2 && name[0] == '.' || name == "bin" || name == "dist" || name == "man" || name == "testdata"):
			return filepath.SkipDir
		case !entry.IsDir() && filepath.Ext(path) == extension:
			found = append(found, path)
		}
		return nil
	})
	require.NoError(t, err)
	return found
}

// pages are all of the tree, by their paths from this directory.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, path := range files(t, ".md") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		found[strings.TrimPrefix(path, "../docs/")] = string(text)
	}
	return found
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names by which the headings of a page are linked to.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		slug := notSlug.ReplaceAllString(strings.ToLower(m[1]), "")
		found[strings.ReplaceAll(slug, " ", "-")] = true
	}
	return found
}

// Every link leads somewhere: a file of the tree, a heading of it, or an address.
func TestLinks(t *testing.T) {
	all := pages(t)
	links := 0
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			links++
			if strings.Contains(m[1], "://") {
				address, err := url.Parse(m[1])
				assert.NoError(t, err, page)
				assert.Equal(t, "https", address.Scheme, "%s: %s", page, m[1])
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
				_, err := os.Stat(target)
				assert.NoError(t, err, "%s: %s", page, m[1])
			}
			if anchor != "" {
				assert.True(t, anchors(all[target])[anchor], "%s: %s has no heading %s", page, target, anchor)
			}
		}
	}
	assert.Greater(t, links, 70)
}

// The README leads to every page.
func TestEveryPageIsLinkedFromTheReadme(t *testing.T) {
	readme := pages(t)["../README.md"]
	entries, err := filepath.Glob("*.md")
	require.NoError(t, err)
	for _, page := range entries {
		assert.True(t, strings.Contains(readme, "(docs/"+page+")"), "README.md does not lead to %s", page)
	}
}

// The map of packages has every package of the tree, and no other.
func TestMapOfPackages(t *testing.T) {
	text := pages(t)["architecture.md"]
	_, table, found := strings.Cut(text, "\n## Packages\n")
	require.True(t, found)
	named := map[string]bool{}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "## ") {
			break
		}
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range reference.FindAllStringSubmatch(cells[1], -1) {
				named[m[1]] = true
			}
		}
	}
	have := map[string]bool{}
	for _, path := range files(t, ".go") {
		have[strings.TrimPrefix(filepath.Dir(path), "../")] = true
	}
	for name := range have {
		assert.True(t, named[name], "docs/architecture.md does not say what %s is", name)
	}
	for name := range named {
		assert.True(t, have[name], "docs/architecture.md: there is no package %s", name)
	}
}
