package cxmrc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// Kind is what a variable's value is.
type Kind int

// The kinds.
const (
	KindText Kind = iota // printable text
	KindBool             // True or False, yes or no, in either case
	KindInt              // between Min and Max
	KindSize             // in LVM's syntax, between Min and Max bytes
	KindEnum             // one of Choices
	KindFSType
	KindPath    // absolute
	KindProgram // an absolute path, or a name that is looked up
	KindName    // of a volume group, a prefix of volumes, a user
	KindHost
	KindFQDN // template of a VM's name, with %U, %V and %I
)

// Variable is a variable of a configuration file.
type Variable struct {
	Name    string
	Kind    Kind
	Default string
	Doc     string // one or more sentences
	List    bool   // any number of values of Kind, separated by blanks
	Choices []string
	Min     int64
	Max     int64
	// Required: the file must set it; it has no Default but a Sample.
	Required bool
	Sample   string
	// Optional: the value may be empty.
	Optional bool
	// Datastore: a datastore's template may override it.
	Datastore bool
}

// Registry is the table of a file's variables, in the order of its documentation.
type Registry []Variable

func (r Registry) find(name string) (Variable, bool) {
	i := slices.IndexFunc(r, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		return Variable{}, false
	}
	return r[i], true
}

// wipePolicies are the values of WIPE, the one that does least first.
var wipePolicies = []string{"off", "create", "discard", "delete"}

// replaced are variables of earlier versions, with what to write instead.
var replaced = map[string]string{
	"ZERO":           "WIPE_METHOD=auto or WIPE_METHOD=write; instead of ZERO=clean, run tm-clvm wipe-free on the volume group",
	"WIPE_ON_DELETE": "WIPE: WIPE=delete for True, WIPE=create for False, both here and in cxmrc",
}

// unknown makes the error for a name that does not exist.
func (r Registry) unknown(name string) error {
	if instead, ok := replaced[name]; ok {
		return fmt.Errorf("%w %s: it was replaced by %s", ErrUnknown, name, instead)
	}
	best, distance := "", 4 // further away is no typing error
	for _, v := range r {
		if d := editDistance(strings.ToUpper(name), v.Name); d < distance {
			best, distance = v.Name, d
		}
	}
	if best == "" {
		return fmt.Errorf("%w %s", ErrUnknown, name)
	}
	return fmt.Errorf("%w %s; did you mean %s?", ErrUnknown, name, best)
}

// check refuses a value that the variable cannot have.
func (v Variable) check(value string) error {
	values := []string{value}
	if v.List {
		values = strings.Fields(value)
	}
	if strings.Join(values, "") == "" {
		if v.Optional {
			return nil
		}
		return fmt.Errorf("%s: %w: it is empty", v.Name, ErrValue)
	}
	for _, one := range values {
		if problem := v.problem(one); problem != "" {
			return fmt.Errorf("%s: %w: %q %s", v.Name, ErrValue, one, problem)
		}
	}
	return nil
}

// Lengths are compared: a repetition that is counted costs each start of each program.
const (
	maxName = 127
	maxHost = 253
)

var (
	pathValue = lazyregexp.New(`^/[A-Za-z0-9/._+@=,:~-]*$`)
	nameValue = lazyregexp.New(`^[A-Za-z0-9_+.][A-Za-z0-9_+.-]*$`)
	hostValue = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	fqdnValue = lazyregexp.New(`^([A-Za-z0-9.-]|%[UVI])+$`)
)

// problem says what is wrong with one value; "" when nothing is.
func (v Variable) problem(value string) string {
	switch v.Kind {
	case KindBool:
		return wrong(isBool(value), "is neither True nor False")
	case KindInt:
		return v.intProblem(value)
	case KindSize:
		return v.sizeProblem(value)
	case KindEnum:
		return wrong(slices.Contains(v.Choices, value), "is not one of "+strings.Join(v.Choices, ", "))
	case KindFSType:
		return wrong(slices.Contains(FSTypes, value), "is not one of "+strings.Join(FSTypes, ", "))
	case KindPath:
		return wrong(isPath(value), "is not an absolute path of plain characters")
	case KindProgram:
		return wrong(isPath(value) || isName(value), "is not the name or the absolute path of a program")
	case KindName:
		return wrong(isName(value), "is not a name (letters, digits, _ + . -)")
	case KindHost:
		return wrong(len(value) <= maxHost && hostValue.MatchString(value), "is not a host name")
	case KindFQDN:
		return wrong(fqdnValue.MatchString(value), "is not a host name with %U, %V or %I in it")
	}
	return wrong(isPrintable(value), "has a character that is not printable")
}

func wrong(ok bool, problem string) string {
	if ok {
		return ""
	}
	return problem
}

func (v Variable) intProblem(value string) string {
	n, err := strconv.ParseInt(value, 10, 64)
	ok := err == nil && n >= v.Min && n <= v.Max
	return wrong(ok, fmt.Sprintf("is not a number from %d to %d", v.Min, v.Max))
}

func (v Variable) sizeProblem(value string) string {
	n, err := lvm.ParseSize(value)
	if err != nil {
		return "is not a size: " + err.Error()
	}
	ok := n >= v.Min && n <= v.Max
	return wrong(ok, fmt.Sprintf("is not from %d to %d bytes (a number without a unit is MiB)", v.Min, v.Max))
}

func isPath(value string) bool {
	elements := strings.Split(value, "/")
	return pathValue.MatchString(value) && !slices.Contains(elements, "..") && !slices.Contains(elements, ".")
}

func isName(value string) bool {
	return len(value) <= maxName && nameValue.MatchString(value) && value != "." && value != ".."
}

func isPrintable(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) })
}

func isBool(value string) bool {
	_, err := parseBool(value)
	return err == nil
}

func parseBool(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "true", "yes":
		return true, nil
	case "false", "no":
		return false, nil
	}
	return false, fmt.Errorf("%w: %q is neither True nor False", ErrValue, value)
}

// editDistance is how many letters must be added, dropped or changed.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
