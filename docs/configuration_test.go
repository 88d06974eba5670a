package docs_test

import (
	"fmt"
	"strings"
	"testing"

	"one-clvm/cxmrc"
)

// The reference of all settings is written from the tables that the programs read.
func TestConfiguration(t *testing.T) {
	var text strings.Builder
	text.WriteString(`<!-- Written by go test ./docs -update. -->
# Configuration

Three files, each one NAME=VALUE a line, quoted as in a shell, but read by none: nothing is
expanded. An unknown name, or a value that the setting cannot have, is an error that names the
line. ` + "`tm-clvm config [FILE]`" + ` prints what is in force and where each value comes from; the examples
are in [cxmrc/](../cxmrc).

Sizes are in LVM's syntax: ` + "`8G`" + `; a number without a unit is MiB. A mark (DS) means that the
attribute of that name in a datastore's template goes before the file.
`)
	for _, file := range []struct {
		path, title string
		registry    cxmrc.Registry
	}{
		{"/var/lib/one/remotes/etc/tm/clvm/cxmrc", "The drivers, on the front-end", cxmrc.Driver},
		{cxmrc.AgentPath, "What may be done on a node. Root's alone", cxmrc.Agent},
		{cxmrc.HookPath, "The hook, on nodes and front-ends. Root's alone", cxmrc.Hook},
	} {
		fmt.Fprintf(&text, "\n## %s\n\n%s.\n\n| setting | default | values | |\n|---|---|---|---|\n", file.path, file.title)
		for _, v := range file.registry {
			fmt.Fprintf(&text, "| `%s`%s | %s | %s | %s |\n", v.Name, mark(v), standard(v), values(v), strings.ReplaceAll(v.Doc, "|", `\|`))
		}
	}
	generated(t, "configuration.md", text.String())
}

func mark(v cxmrc.Variable) string {
	if v.Datastore {
		return " (DS)"
	}
	return ""
}

func standard(v cxmrc.Variable) string {
	switch {
	case v.Required:
		return "must be set, e.g. `" + v.Sample + "`"
	case v.Default == "":
		return "–"
	}
	return "`" + v.Default + "`"
}

// values are what a setting can have.
func values(v cxmrc.Variable) string {
	kinds := map[cxmrc.Kind]string{
		cxmrc.KindText: "text", cxmrc.KindBool: "True, False", cxmrc.KindSize: "size", cxmrc.KindFSType: strings.Join(cxmrc.FSTypes, ", "),
		cxmrc.KindPath: "path", cxmrc.KindProgram: "program", cxmrc.KindName: "name", cxmrc.KindHost: "host", cxmrc.KindFQDN: "name with %U, %V, %I",
		cxmrc.KindEnum: strings.Join(v.Choices, ", "), cxmrc.KindInt: fmt.Sprintf("%d to %d", v.Min, v.Max),
	}
	if v.List {
		return "any number: " + kinds[v.Kind]
	}
	return kinds[v.Kind]
}
