package cxmrc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"one-clvm/internal/lazyregexp"
)

const maxLine = 64 << 10

// Parse reads a configuration file; filename is for messages. A variable that is
// assigned twice has the last value; lines may end as in DOS. The error is a *LineError where a line is to
// blame, and lists no more than the first one.
func Parse(r io.Reader, filename string, registry Registry) (*Config, error) {
	config := Defaults(registry)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number := 0
	for lines.Scan() {
		number++
		if err := config.assign(lines.Text(), filename, number); err != nil {
			return nil, &LineError{filename, number, err}
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, &LineError{filename, number + 1, fmt.Errorf("%w: the line is longer than %d bytes", ErrSyntax, maxLine)}
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", filename, err)
	}
	if err := config.checkRequired(filename); err != nil {
		return nil, err
	}
	return config, nil
}

func loadFile(path string, registry Registry) (_ *Config, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return Parse(file, path, registry)
}

func (c *Config) checkRequired(filename string) error {
	for _, v := range c.registry {
		if _, set := c.set[v.Name]; v.Required && !set {
			return fmt.Errorf("%s: %w: %s is not set; set it, for example: %s", filename, ErrValue, v.Name, v.example())
		}
	}
	return nil
}

// assign takes one line.
func (c *Config) assign(line, filename string, number int) error {
	name, value, err := parseLine(line)
	if err != nil || name == "" {
		return err
	}
	v, known := c.registry.find(name)
	if !known {
		return c.registry.unknown(name)
	}
	if err := v.check(value); err != nil {
		return err
	}
	c.set[name] = Setting{name, value, fmt.Sprintf("%s:%d", filename, number)}
	return nil
}

var assignment = lazyregexp.New(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// parseLine takes a line apart; no name for a line without an assignment.
func parseLine(line string) (name, value string, err error) {
	if problem := badCharacter(line); problem != "" {
		return "", "", fmt.Errorf("%w: %s", ErrSyntax, problem)
	}
	line = strings.Trim(line, " \t")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	match := assignment.FindStringSubmatch(line)
	if match == nil {
		return "", "", fmt.Errorf("%w: write NAME=VALUE, without blanks around the =", ErrSyntax)
	}
	value, err = parseValue(match[2])
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", match[1], err)
	}
	return match[1], value, nil
}

func badCharacter(line string) string {
	if !utf8.ValidString(line) {
		return "the line is not UTF-8"
	}
	if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return "the line has a control character"
	}
	return ""
}

// word is a shell word that is being read.
type word struct {
	rest string
	text strings.Builder
}

// parseValue reads what a shell would assign: one word of plain, quoted and escaped
// parts; then nothing, or a comment.
func parseValue(text string) (string, error) {
	w := &word{rest: text}
	for w.rest != "" && w.rest[0] != ' ' && w.rest[0] != '\t' {
		if err := w.part(); err != nil {
			return "", err
		}
	}
	after := strings.TrimLeft(w.rest, " \t")
	if after != "" && after[0] != '#' {
		return "", fmt.Errorf("%w: a value with blanks must be in quotes", ErrSyntax)
	}
	return w.text.String(), nil
}

// live are the characters by which a shell would do more than assign.
const live = "$`;&|<>()"

func (w *word) part() error {
	c := w.rest[0]
	switch {
	case c == '\'':
		return w.single()
	case c == '"':
		return w.double()
	case c == '\\':
		return w.escaped()
	case strings.IndexByte(live, c) >= 0:
		return fmt.Errorf("%w: %q would be for a shell; nothing is expanded here, put it in single quotes", ErrSyntax, string(c))
	case c == '~' && w.text.Len() == 0:
		return fmt.Errorf("%w: a shell would expand ~; write the path in full", ErrSyntax)
	}
	w.take(1)
	return nil
}

// take moves n bytes into the text.
func (w *word) take(n int) {
	w.text.WriteString(w.rest[:n])
	w.rest = w.rest[n:]
}

func (w *word) single() error {
	end := strings.IndexByte(w.rest[1:], '\'')
	if end < 0 {
		return fmt.Errorf("%w: the single quote is not closed on the line", ErrSyntax)
	}
	w.rest = w.rest[1:]
	w.take(end)
	w.rest = w.rest[1:]
	return nil
}

// double: within double quotes a backslash escapes only what would be special there.
func (w *word) double() error {
	w.rest = w.rest[1:]
	for w.rest != "" {
		switch c := w.rest[0]; {
		case c == '"':
			w.rest = w.rest[1:]
			return nil
		case c == '$' || c == '`':
			return fmt.Errorf("%w: nothing is expanded here; write \\%c or use single quotes", ErrSyntax, c)
		case c == '\\' && len(w.rest) > 1 && strings.IndexByte("$`\"\\", w.rest[1]) >= 0:
			w.rest = w.rest[1:]
		}
		w.take(1)
	}
	return fmt.Errorf("%w: the double quote is not closed on the line", ErrSyntax)
}

// escaped: outside of quotes a backslash takes what follows as it is.
func (w *word) escaped() error {
	if len(w.rest) == 1 {
		return fmt.Errorf("%w: a line cannot be continued; write one long line", ErrSyntax)
	}
	w.rest = w.rest[1:]
	w.take(1)
	return nil
}
