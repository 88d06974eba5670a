// Package onedconf reads oned.conf without losing a byte of it, knows what it must contain
// for the drivers of the suite, and makes exactly the changes that are missing. The files of
// /etc/one/vmm_exec have the same syntax.
package onedconf

import (
	"errors"
	"fmt"
	"strings"

	"one-clvm/opennebula"
)

// ErrSyntax means: oned would not read this file either.
var ErrSyntax = errors.New("not in the syntax of oned.conf")

// File is one such file. It is never changed: an edit makes another one, in which every byte
// that the edit is not about is the same.
type File struct {
	text       string
	attributes []attribute
}

// attribute is one assignment, where it stands in the text.
type attribute struct {
	name       string // upper case, as oned takes it
	start, end int    // of all of it
	value      string // of a single one, as oned takes it
	vector     bool   // NAME = [ … ]
	settings   []setting
}

// setting is one of NAME = [ SETTING = VALUE, … ].
type setting struct {
	name             string // upper case
	value            string // as oned takes it
	start            int    // of its name
	valueAt, valueTo int    // the value as it is written, with its quotes
}

// Parse takes a file apart, by the grammar of oned's own reader (template_parser). ErrSyntax.
func Parse(text string) (*File, error) {
	s := &scanner{text: text}
	f := &File{text: text}
	for s.skip(); s.at < len(text); s.skip() {
		a, err := s.attribute()
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrSyntax, 1+strings.Count(text[:s.at], "\n"), err)
		}
		f.attributes = append(f.attributes, a)
	}
	return f, nil
}

// String is the file, byte for byte.
func (f *File) String() string { return f.text }

// Assignments are those of the file as they are written, one after another.
func (f *File) Assignments() []string {
	var all []string
	for _, a := range f.attributes {
		all = append(all, f.text[a.start:a.end])
	}
	return all
}

// Config is what oned makes of the file.
func (f *File) Config() *opennebula.DaemonConfig {
	var sections []opennebula.Section
	for _, a := range f.attributes {
		s := opennebula.Section{Kind: a.name, Value: a.value, Settings: map[string]string{}}
		for _, one := range a.settings {
			if _, double := s.Settings[one.name]; !double { // oned keeps the first
				s.Settings[one.name] = one.value
			}
		}
		sections = append(sections, s)
	}
	return opennebula.NewDaemonConfig(sections)
}

// scanner goes over the text.
type scanner struct {
	text string
	at   int
}

const blanks = " \t"

// skip goes over blanks, empty lines and comments.
func (s *scanner) skip() {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case strings.IndexByte(" \t\n\r", c) >= 0:
			s.at++
		case c == '#':
			s.at += lineLength(s.text[s.at:])
		default:
			return
		}
	}
}

func lineLength(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

// take goes over the longest run of bytes that are wanted.
func (s *scanner) take(wanted func(byte) bool) string {
	from := s.at
	for s.at < len(s.text) && wanted(s.text[s.at]) {
		s.at++
	}
	return s.text[from:s.at]
}

func isBlank(c byte) bool { return strings.IndexByte(blanks, c) >= 0 }

func isName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// isBare: a byte of a value without quotes.
func isBare(c byte) bool { return strings.IndexByte("=# \t\n\r,[]\"", c) < 0 }

func (s *scanner) byte() byte {
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

// name reads NAME and the equals sign behind it; upper case.
func (s *scanner) name() (string, error) {
	name := s.take(isName)
	s.take(isBlank)
	if name == "" || s.byte() != '=' {
		return "", fmt.Errorf("NAME = is expected, and there is %q", shown(s.text[s.at:]))
	}
	s.at++
	s.take(isBlank)
	return strings.ToUpper(name), nil
}

func shown(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return text[:min(len(text), 30)]
}

func (s *scanner) attribute() (attribute, error) {
	a := attribute{start: s.at}
	var err error
	if a.name, err = s.name(); err != nil {
		return a, err
	}
	switch s.byte() {
	case '\n', '\r', 0: // NAME = alone is empty
	case '[':
		a.vector = true
		s.at++
		a.settings, err = s.vector()
	default:
		a.value, err = s.value()
	}
	a.end = s.at
	return a, err
}

// vector reads what is between the brackets, and the closing one.
func (s *scanner) vector() ([]setting, error) {
	var all []setting
	s.skip()
	for len(all) > 0 || s.byte() != ']' {
		one := setting{start: s.at}
		var err error
		if one.name, err = s.name(); err != nil {
			return nil, err
		}
		one.valueAt = s.at
		if one.value, err = s.value(); err != nil {
			return nil, err
		}
		one.valueTo = s.at
		all = append(all, one)
		s.skip()
		if s.byte() != ',' {
			break
		}
		s.at++
		s.skip()
	}
	if s.byte() != ']' {
		return nil, fmt.Errorf("] or a comma is expected, and there is %q", shown(s.text[s.at:]))
	}
	s.at++
	return all, nil
}

// value reads one with quotes, which may go over lines, or without.
func (s *scanner) value() (string, error) {
	if s.byte() != '"' {
		value := s.take(isBare)
		if value == "" {
			return "", fmt.Errorf("a value is expected, and there is %q", shown(s.text[s.at:]))
		}
		return value, nil
	}
	from := s.at + 1
	for i := from; i < len(s.text); i++ {
		switch {
		case s.text[i] == '\\' && i+1 < len(s.text) && s.text[i+1] == '"':
			i++
		case s.text[i] == '"':
			s.at = i + 1
			return strings.ReplaceAll(s.text[from:i], `\"`, `"`), nil
		}
	}
	return "", errors.New("the quotes are not closed")
}
