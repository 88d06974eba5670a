// Package assignment reads and changes NAME=VALUE lines in files of others, which a shell,
// Python or libvirt reads, and keeps every other byte.
package assignment

import (
	"slices"
	"strings"
)

// Value is what a name has.
type Value struct {
	Written string // with its quotes
	Text    string // without
	at      int
}

// How such a line is written where there is none yet.
const (
	Tight  = "="   // for a shell
	Spaced = " = " // for libvirt
)

// Find finds the last assignment of a name that is no comment: that one counts.
func Find(text, name string) (found Value, ok bool) {
	at := 0
	for line := range strings.Lines(text) {
		left, _, isOne := strings.Cut(line, "=")
		if isOne && strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(left), "export ")) == name {
			found, ok = valueAt(text, at+len(left)+1), true
		}
		at += len(line)
	}
	return found, ok
}

// valueAt reads a value; one in quotes may go over lines.
func valueAt(text string, at int) Value {
	for at < len(text) && (text[at] == ' ' || text[at] == '\t') {
		at++
	}
	rest := text[at:]
	if rest != "" && (rest[0] == '"' || rest[0] == '\'') {
		if length := strings.IndexByte(rest[1:], rest[0]); length >= 0 {
			return Value{rest[:length+2], rest[1 : length+1], at}
		}
	}
	length := strings.IndexAny(rest, " \t\r\n#;")
	if length < 0 {
		length = len(rest)
	}
	return Value{rest[:length], rest[:length], at}
}

// Set gives a name a value, written as it is; where the name is not there yet, in a line at
// the end.
func Set(text, name, written, equals string) string {
	if v, ok := Find(text, name); ok {
		return text[:v.at] + written + text[v.at+len(v.Written):]
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + name + equals + written + "\n"
}

// AddWords adds those words that the list in a value lacks.
func AddWords(text, name string, words ...string) (changed string, missing []string) {
	v, _ := Find(text, name)
	have := strings.Fields(v.Text)
	for _, word := range words {
		if !slices.Contains(have, word) {
			missing = append(missing, word)
		}
	}
	if len(missing) == 0 {
		return text, nil
	}
	list := strings.TrimSpace(strings.TrimSpace(v.Text) + " " + strings.Join(missing, " "))
	return Set(text, name, `"`+list+`"`, Tight), missing
}
