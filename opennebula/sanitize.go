package opennebula

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"one-clvm/internal/lazyregexp"
)

// marks are the words by which oned's runners find the end of a script's output or
// of its message. In our text they would cut it short, or forge an exit status.
var marks = strings.NewReplacer(
	"ExitCode:", "exit code:",
	"EOF_ERR", "EOF-ERR",
	"EOF_OUT", "EOF-OUT",
	"ERROR MESSAGE", "error message",
)

// levelPrefix is how 7.x tells a log line from the user's message.
var levelPrefix = lazyregexp.New(`^(?i:ERROR|WARN|WARNING|INFO|DEBUG):[ ]*`)

// Sanitize makes a text one line that oned's runners take for nothing else: no
// control or invisible characters, none of their marks, no level in front.
func Sanitize(text string) string {
	line := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), unprintable), " ")
	line = marks.Replace(line)
	for levelPrefix.MatchString(line) {
		line = levelPrefix.ReplaceAllString(line, "")
	}
	return line
}

// unprintable: what separates words, and whatever else is not to be seen.
func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// shorten cuts the middle out of a text of more than max bytes: the beginning has the
// object, the end the cause and what to do.
func shorten(text string, max int) string {
	const gap = " … "
	if len(text) <= max {
		return text
	}
	keep := (max - len(gap)) / 2
	head, tail := text[:keep], text[len(text)-keep:]
	for len(head) > 0 && !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	for len(tail) > 0 && !utf8.ValidString(tail) {
		tail = tail[1:]
	}
	return strings.TrimSpace(head) + gap + strings.TrimSpace(tail)
}
