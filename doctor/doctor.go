// Package doctor judges whether an installation can do its work. What the nodes and oned
// say of themselves is put together in a View; a Check is a function of that alone, so each
// can be tested with a view that was recorded and then broken.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"one-clvm/agent/facts"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
)

// Severity of a finding.
type Severity string

// The severities.
const (
	OK   Severity = "ok"
	Warn Severity = "warn" // works, but not for ever, or not as it could
	Fail Severity = "fail" // something does not work, or data is in danger
)

// View is all that checks judge by.
type View struct {
	FrontEnd FrontEnd
	Oned     Oned
	Nodes    []Node
}

// FrontEnd is the machine that oned and the drivers run on.
type FrontEnd struct {
	Name       string // as oned calls it
	Version    string // of the suite
	OpenNebula opennebula.Version
	Config     *cxmrc.Config
	Program    string                 // of the suite, on the nodes
	Installed  func(name string) bool // programs, there
	Trials     []Trial                // of drills that were passed
	TrialsErr  error                  // they could not be read
}

// Oned is what OpenNebula says. A part that could not be asked is nil.
type Oned struct {
	Err        error // oned does not answer: the rest is empty
	Hosts      []opennebula.Host
	VMs        []opennebula.VM
	Datastores []opennebula.Datastore
	Hooks      []opennebula.Hook
	Daemon     *opennebula.DaemonConfig
	Unasked    map[string]error // what could not be asked, by name
}

// Node is one node, asked or not to be reached.
type Node struct {
	Name            string
	Facts           *facts.Facts // nil: see Err
	Err             error
	Asked, Answered time.Time // by the front-end's clock
}

// Finding is what one check says of one thing.
type Finding struct {
	Check    string   `json:"check"`
	Node     string   `json:"node,omitempty"` // "" where it is about all of them
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	Fix      *Fix     `json:"fix,omitempty"`
}

// Fix is a command that heals, to be typed by root.
type Fix struct {
	On      string `json:"on"` // a node; "" is the front-end
	Command string `json:"command"`
}

func (f Fix) String() string {
	if f.On == "" {
		return "on the front-end: " + f.Command
	}
	return "on " + f.On + ": " + f.Command
}

// Check is one thing that a working installation needs.
type Check struct {
	Name  string
	Why   string // one sentence, for the manual
	judge func(*judge)
	needs need
}

// need is who must have answered for a check to say that all is well.
type need int

const (
	nodes need = iota // at least one
	oned
	onedAndNodes
	nobody
)

// met says whether they did.
func (n need) met(v *View) bool {
	asked := slices.ContainsFunc(v.Nodes, func(n Node) bool { return n.Facts != nil })
	switch n {
	case nodes:
		return asked
	case oned:
		return v.Oned.Err == nil
	case onedAndNodes:
		return asked && v.Oned.Err == nil
	case nobody:
	}
	return true
}

// judge collects what one check finds.
type judge struct {
	*View
	check string
	found []Finding
	about string // what an ok says
}

// ok says what is well; it is shown only where nothing was found.
func (j *judge) ok(format string, args ...any) { j.about = fmt.Sprintf(format, args...) }

func (j *judge) add(s Severity, node string, fix *Fix, format string, args ...any) {
	j.found = append(j.found, Finding{j.check, node, s, fmt.Sprintf(format, args...), fix})
}

func (j *judge) fail(node string, fix *Fix, format string, args ...any) {
	j.add(Fail, node, fix, format, args...)
}

func (j *judge) warn(node string, fix *Fix, format string, args ...any) {
	j.add(Warn, node, fix, format, args...)
}

// each goes over the nodes that answered.
func (j *judge) each(do func(n Node, f *facts.Facts)) {
	for _, n := range j.Nodes {
		if n.Facts != nil {
			do(n, n.Facts)
		}
	}
}

// fix is a command for a node, or with on "" for the front-end.
func fix(on, format string, args ...any) *Fix {
	return &Fix{On: on, Command: fmt.Sprintf(format, args...)}
}

// start is how a service is started on a node.
func start(n Node, service, program string) *Fix {
	if n.Facts != nil && n.Facts.Systemd {
		return fix(n.Name, "systemctl start %s", service)
	}
	return fix(n.Name, "%s", program)
}

// Run makes all checks; each has at least one finding, which is OK where nothing is wrong.
// Those that nobody answered are named in one more.
func Run(v *View) []Finding {
	var all []Finding
	var skipped []string
	for _, c := range Checks() {
		if !c.needs.met(v) {
			skipped = append(skipped, c.Name)
			continue
		}
		j := &judge{View: v, check: c.Name}
		c.judge(j)
		if len(j.found) == 0 {
			j.add(OK, "", nil, "%s", cmp.Or(j.about, c.Why))
		}
		slices.SortStableFunc(j.found, func(a, b Finding) int { return strings.Compare(a.Node, b.Node) })
		all = append(all, j.found...)
	}
	if len(skipped) > 0 {
		all = append(all, Finding{Check: "unknown", Severity: Warn, Text: "not checked, because nobody answered: " + strings.Join(skipped, ", ")})
	}
	return append(all, unknown(v)...)
}

// unknown are the parts that could not be looked at: what depends on them was not judged.
func unknown(v *View) []Finding {
	var all []Finding
	for _, n := range v.Nodes {
		if n.Facts == nil {
			continue
		}
		for _, part := range sortedKeys(n.Facts.Unknown) {
			all = append(all, Finding{Check: "unknown", Node: n.Name, Severity: Warn, Text: fmt.Sprintf("%s could not be looked at: %s", part, n.Facts.Unknown[part])})
		}
	}
	for _, part := range sortedKeys(v.Oned.Unasked) {
		all = append(all, Finding{Check: "unknown", Severity: Warn, Text: fmt.Sprintf("%s could not be asked for: %v", part, v.Oned.Unasked[part])})
	}
	return all
}

// Clean says whether nothing was found.
func Clean(found []Finding) bool {
	return !slices.ContainsFunc(found, func(f Finding) bool { return f.Severity != OK })
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
