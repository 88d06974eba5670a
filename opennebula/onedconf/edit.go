package onedconf

import (
	"fmt"
	"slices"
	"strings"
)

// replace is the file with other bytes from one place to another.
func (f *File) replace(from, to int, text string) (*File, error) {
	return Parse(f.text[:from] + text + f.text[to:])
}

// quote writes a value so that oned takes it as it is.
func quote(value string) string { return `"` + strings.ReplaceAll(value, `"`, `\"`) + `"` }

// find is the first vector of that kind and, unless name is "", with that NAME; -1 without.
func (f *File) find(kind, name string) int {
	return slices.IndexFunc(f.attributes, func(a attribute) bool {
		return a.name == kind && a.vector && (name == "" || strings.EqualFold(a.get("NAME"), name))
	})
}

func (a attribute) get(name string) string {
	if i := a.index(name); i >= 0 {
		return a.settings[i].value
	}
	return ""
}

func (a attribute) index(name string) int {
	return slices.IndexFunc(a.settings, func(s setting) bool { return s.name == name })
}

// set gives a setting of a vector another value, or adds it in front of the others, in their
// way of standing in lines.
func (f *File) set(attribute int, name, value string) (*File, error) {
	a := f.attributes[attribute]
	if i := a.index(name); i >= 0 {
		return f.replace(a.settings[i].valueAt, a.settings[i].valueTo, quote(value))
	}
	if len(a.settings) == 0 {
		return f.replace(a.end-1, a.end-1, " "+name+" = "+quote(value)+" ")
	}
	last := a.settings[len(a.settings)-1]
	between := ", "
	if line := strings.LastIndexByte(f.text[:last.start], '\n') + 1; strings.Trim(f.text[line:last.start], blanks) == "" {
		between = ",\n" + f.text[line:last.start] // each stands in a line of its own
	}
	return f.replace(last.valueTo, last.valueTo, between+name+" = "+quote(value))
}

// add puts lines behind the last attribute of that kind, or else at the end; a section that
// stands in lines of its own keeps a distance.
func (f *File) add(kind, lines string) (*File, error) {
	at := len(f.text)
	for _, a := range slices.Backward(f.attributes) {
		if a.name == kind {
			at = a.end
			break
		}
	}
	rest := f.text[at:][:lineLength(f.text[at:])]
	if text := strings.Trim(rest, blanks+"\r\n"); text == "" || text[0] == '#' { // else another attribute
		at += len(rest)
	}
	if at > 0 && f.text[at-1] != '\n' {
		lines = "\n" + lines
	}
	if at > 0 && (at == len(f.text) || strings.Contains(lines, "[")) {
		lines = "\n" + lines
	}
	return f.replace(at, at, lines+"\n")
}

// setArgument gives an option in the ARGUMENTS of a section one more value in its list, or, where
// the option is missing, puts it behind another one that is not.
func (f *File) setArgument(kind, option, value, behind string) (*File, error) {
	i := f.find(kind, "")
	if i < 0 {
		return nil, fmt.Errorf("there is no %s: is this oned.conf?", kind)
	}
	arguments := f.attributes[i].get("ARGUMENTS")
	at, found := listOf(arguments, option)
	added := "," + value
	if !found {
		at, found = listOf(arguments, behind)
		added = " " + option + " " + value
	}
	if !found {
		return nil, fmt.Errorf("%s has neither %s nor %s in its ARGUMENTS: add %s %s by hand", kind, option, behind, option, value)
	}
	return f.set(i, "ARGUMENTS", arguments[:at]+added+arguments[at:])
}

// listOf is where the list behind an option ends, before a quote that closes it.
func listOf(arguments, option string) (end int, found bool) {
	words := strings.Fields(arguments)
	at := 0
	for i, word := range words {
		at += strings.Index(arguments[at:], word) + len(word)
		if i == 0 || words[i-1] != option {
			continue
		}
		inner := strings.TrimRight(word, `"'`)
		if len(inner) < len(word) && option != "" && inner != "" && (word[0] == '"' || word[0] == '\'') {
			return at - (len(word) - len(inner)), true
		}
		return at, true
	}
	return 0, false
}

// BlockDisks makes block devices of the disks in a file of defaults for Xen.
func BlockDisks(f *File) (*File, error) {
	const driver = "phy:"
	switch i := f.find("DISK", ""); {
	case i < 0:
		return f.add("DISK", "DISK = [ DRIVER = "+quote(driver)+" ]")
	case f.attributes[i].get("DRIVER") != driver:
		return f.set(i, "DRIVER", driver)
	}
	return f, nil
}
