package cxmrc

import (
	"fmt"
	"io"
	"strings"
)

const exampleWidth = 80

// Example writes an example file: every variable with its sentence and its default,
// commented out unless it must be set.
func Example(w io.Writer, title string, registry Registry) error {
	var text strings.Builder
	text.WriteString(comment(title))
	text.WriteString(comment("One NAME=VALUE a line, quoted as in a shell. No shell reads this file: nothing is expanded."))
	for _, v := range registry {
		text.WriteString("\n" + comment(v.Doc+v.notes()))
		if !v.Required {
			text.WriteString("#")
		}
		text.WriteString(v.example() + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (v Variable) notes() string {
	notes := ""
	if v.Kind == KindEnum {
		notes += " One of: " + strings.Join(v.Choices, ", ") + "."
	}
	if v.Datastore {
		notes += " A datastore's template may override it."
	}
	return notes
}

// example is an assignment of the default, or of the sample of a variable that has
// none. Neither ever has a quote in it.
func (v Variable) example() string {
	value := v.Default
	if v.Required {
		value = v.Sample
	}
	if value == "" || strings.ContainsAny(value, " \t") {
		return fmt.Sprintf("%s=%q", v.Name, value)
	}
	return v.Name + "=" + value
}

// comment wraps a text into comment lines.
func comment(text string) string {
	var out strings.Builder
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > exampleWidth {
			out.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return out.String() + line + "\n"
}
