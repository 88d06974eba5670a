// Package cxmrc reads the suite's two configuration files: cxmrc, the drivers' own
// on the front-end (the file of the original cxm drivers, extended), and agent.conf,
// the root-owned word of a node on what may be done there.
//
// Both are written as shell assignments, and no shell reads them: a file with
// anything else in it is refused, with the line's number. One table of variables
// drives everything: which names exist, what their values may be, their defaults,
// the example files, and `tm-clvm config`.
package cxmrc

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"one-clvm/lvm"
)

// Sentinels. Test with errors.Is.
var (
	// ErrSyntax: a line is not an assignment that means the same without a shell.
	ErrSyntax = errors.New("not a plain assignment")
	// ErrUnknown: there is no such variable.
	ErrUnknown = errors.New("unknown variable")
	// ErrValue: a variable cannot have that value.
	ErrValue = errors.New("bad value")
	// ErrUntrusted: the file could have been written by somebody else than root.
	ErrUntrusted = errors.New("file cannot be trusted")
)

// LineError is what is wrong with one line of a file.
type LineError struct {
	File string
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// OriginDefault is the origin of a setting that nobody made.
const OriginDefault = "default"

// Setting is one variable as it is in effect.
type Setting struct {
	Name   string
	Value  string
	Origin string // OriginDefault, FILE:LINE, or "datastore 101"
}

// Config is a valid configuration: every variable of its registry has a valid value.
type Config struct {
	registry Registry
	set      map[string]Setting
}

// Defaults is the configuration that nobody wrote.
func Defaults(registry Registry) *Config {
	return &Config{registry: registry, set: map[string]Setting{}}
}

// WithDatastore is the configuration for one datastore: what its template says about
// the variables that a datastore may override goes first. Other attributes, and empty
// ones, are none of our business. origin names the datastore: "datastore 101".
func (c *Config) WithDatastore(attributes map[string]string, origin string) (*Config, error) {
	out := &Config{registry: c.registry, set: maps.Clone(c.set)}
	for _, v := range c.registry {
		value := attributes[v.Name]
		if !v.Datastore || value == "" {
			continue
		}
		if err := v.check(value); err != nil {
			return nil, fmt.Errorf("%s: %w; correct it with onedatastore update", origin, err)
		}
		out.set[v.Name] = Setting{v.Name, value, origin}
	}
	return out, nil
}

// Effective lists all variables with their values and where they come from, in the
// order of the registry.
func (c *Config) Effective() []Setting {
	settings := make([]Setting, 0, len(c.registry))
	for _, v := range c.registry {
		settings = append(settings, c.setting(v.Name))
	}
	return settings
}

// setting finds a variable. A name that is not in the registry is a mistake in the
// program, not in a file.
func (c *Config) setting(name string) Setting {
	if s, ok := c.set[name]; ok {
		return s
	}
	v, ok := c.registry.find(name)
	if !ok {
		panic("cxmrc: the program asks for the variable " + name + ", which does not exist")
	}
	return Setting{name, v.Default, OriginDefault}
}

// Origin says where a variable's value comes from.
func (c *Config) Origin(name string) string { return c.setting(name).Origin }

// String is a variable as text.
func (c *Config) String(name string) string { return c.setting(name).Value }

// List is a variable that is a list: words separated by blanks.
func (c *Config) List(name string) []string { return strings.Fields(c.String(name)) }

// Bool is a variable of KindBool.
func (c *Config) Bool(name string) bool { return must(parseBool(c.String(name))) }

// Int is a variable of KindInt.
func (c *Config) Int(name string) int { return must(strconv.Atoi(c.String(name))) }

// Size is a variable of KindSize, in bytes; 0 where an optional one is empty.
func (c *Config) Size(name string) int64 {
	if c.String(name) == "" {
		return 0
	}
	return must(lvm.ParseSize(c.String(name)))
}

// must: values are checked when they come in, so an error is the program's mistake:
// it asks for a variable as something that it is not.
func must[T any](value T, err error) T {
	if err != nil {
		panic("cxmrc: " + err.Error())
	}
	return value
}
