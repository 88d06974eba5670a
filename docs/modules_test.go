package docs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// why says what each module that go.mod names is there for: one that has no line here is one
// too many, or has to be justified.
var why = map[string]string{
	"github.com/beevik/etree":       "documents of oned, libvirt and the clusters, read and changed in place",
	"github.com/dustin/go-humanize": "sizes in messages",
	"github.com/google/renameio/v2": "files that appear whole or not at all",
	"github.com/klauspost/compress": "zstd, and gzip at the speed of the link",
	"github.com/klauspost/pgzip":    "gzip on all processors",
	"github.com/kolo/xmlrpc":        "oned's interface",
	"github.com/mattn/go-isatty":    "whether a person reads the output",
	"github.com/spf13/pflag":        "flags with two dashes",
	"github.com/stretchr/testify":   "assertions",
	"github.com/vbauerster/mpb/v8":  "progress bars",
	"golang.org/x/sync":             "groups of goroutines with one error",
	"golang.org/x/sys":              "system calls that Go's library has not",
	"github.com/VividCortex/ewma":   "of mpb",
	"github.com/acarl005/stripansi": "of mpb",
	"github.com/mattn/go-runewidth": "of mpb",
	"github.com/rivo/uniseg":        "of go-runewidth",
	"github.com/davecgh/go-spew":    "of testify",
	"github.com/pmezard/go-difflib": "what `setup` shows",
	"gopkg.in/yaml.v3":              "of testify",
}

// module is what `go list` says of one.
type module struct {
	Path, Version, Dir string
	Main, Indirect     bool
}

// The list of modules is that of what is built, with the licence that each one brings along.
func TestModules(t *testing.T) {
	shipped, tested := modules(t, "./cmd/..."), modules(t, "-test", "-tags", "embedded,lab,failpoint", "./...")
	var text strings.Builder
	text.WriteString("<!-- Written by go test ./docs -update. -->\n# Modules\n\nGo " + goVersion(t) +
		" or newer builds the programs, statically and without cgo, of Go's library and these modules\n(`go.mod`, with checksums in `go.sum`). `make vulncheck` compares them with the list of known\nvulnerabilities.\n\n" +
		"| module | version | licence | in | for |\n|---|---|---|---|---|\n")
	for _, m := range tested {
		in := "tests"
		if slices.ContainsFunc(shipped, func(s module) bool { return s.Path == m.Path }) {
			in = "programs"
		}
		assert.NotEmpty(t, why[m.Path], "%s: what is it for?", m.Path)
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %s |\n", m.Path, m.Version, licence(t, m), in, why[m.Path])
	}
	text.WriteString("\nThe suite itself: Apache-2.0 ([LICENSE](../LICENSE)).\n")
	assert.Len(t, why, len(tested), "no reasons for modules that are gone")
	generated(t, "modules.md", text.String())
}

// modules are those of which packages are built, in the order of their names.
func modules(t *testing.T, packages ...string) (found []module) {
	t.Helper()
	argv := append([]string{"list", "-deps", "-json=Module"}, packages...)
	list := exec.CommandContext(t.Context(), "go", argv...)
	list.Dir, list.Stderr = "..", os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct{ Module *module }
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if p.Module != nil && !p.Module.Main && !slices.Contains(found, *p.Module) {
			found = append(found, *p.Module)
		}
	}
	slices.SortFunc(found, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return found
}

// licences are told by a sentence that no other one has. The more demanding come first.
var licences = []struct{ name, sentence string }{
	{"GPL", "GNU GENERAL PUBLIC LICENSE"}, {"MPL-2.0", "Mozilla Public License"},
	{"Apache-2.0", "http://www.apache.org/licenses/LICENSE-2.0"},
	{"Apache-2.0", "Apache License\n                           Version 2.0"},
	{"BSD-3-Clause", "Neither the name"},
	{"BSD-3-Clause", "names of its contributors may not be used"},
	{"BSD-2-Clause", "Redistributions in binary form"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software"},
	{"ISC", "Permission to use, copy, modify, and distribute this software"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"Unlicense", "free and unencumbered software released into the public domain"},
}

// licence reads the file that the module brings along; there may be parts under several.
func licence(t *testing.T, m module) string {
	t.Helper()
	for _, name := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING", "UNLICENSE"} {
		text, err := os.ReadFile(filepath.Join(m.Dir, name))
		if err != nil {
			continue
		}
		var names []string
		for _, l := range licences {
			if strings.Contains(string(text), l.sentence) && !slices.Contains(names, l.name) {
				names = append(names, l.name)
			}
		}
		if slices.Contains(names, "BSD-3-Clause") {
			names = slices.DeleteFunc(names, func(n string) bool { return n == "BSD-2-Clause" })
		}
		require.NotEmpty(t, names, "%s of %s is none that is known", name, m.Path)
		return strings.Join(names, ", ")
	}
	require.Fail(t, "no licence", "%s in %s", m.Path, m.Dir)
	return ""
}

// goVersion is the one that go.mod asks for.
func goVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(text), "\ngo ")
	require.True(t, found)
	version, _, _ := strings.Cut(after, "\n")
	return version
}
