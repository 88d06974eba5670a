package rgmanager

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/cluster"
)

const (
	maxReport = 16 << 20 // bytes
	maxDepth  = 32
)

// States of a service, as clustat numbers them.
const (
	stopped       = 110
	starting      = 111
	started       = 112
	stopping      = 113
	failed        = 114
	uninitialized = 115
	checking      = 116
	recoverable   = 117
	recovering    = 118
	disabled      = 119
	migrating     = 120
)

const flagFrozen = 1

// report is what clustat -x said.
type report struct {
	cluster.State
	Nodes    []member // State.Nodes, with what only this package needs
	manager  bool     // rgmanager runs on this node
	services bool     // the report has a list of services
	all      map[string]cluster.Condition
	before   string // what clustat printed in front of the document: a failure of its own
}

type member struct {
	cluster.Node
	id     int  // 0 is that of no node
	member bool // of the cluster, whether or not it takes services
}

// parseReport reads a report of clustat -x, and picks the service of a VM. A failure that is
// printed in front of the document does not hide it.
func parseReport(r io.Reader, name string) (report, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxReport))
	if err != nil {
		return report{}, fmt.Errorf("%w: report of clustat: %w", cluster.ErrDown, err)
	}
	begin := bytes.Index(text, []byte("<?xml"))
	if begin < 0 {
		return report{}, fmt.Errorf("%w: clustat gave no report: is cman running on this node?", cluster.ErrDown)
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if err := doc.ReadFromBytes(text[begin:]); err != nil {
		return report{}, fmt.Errorf("%w: report of clustat: %w", cluster.ErrDown, err)
	}
	root := doc.Root()
	if root == nil || root.Tag != "clustat" {
		return report{}, fmt.Errorf("%w: clustat gave no report", cluster.ErrDown)
	}
	seen := report{before: strings.TrimSpace(string(text[:begin])), all: map[string]cluster.Condition{}}
	seen.Clustered = true
	if quorum := root.SelectElement("quorum"); quorum != nil {
		seen.Quorate = is(quorum, "quorate") && is(quorum, "groupmember")
	}
	seen.readNodes(root)
	groups := root.SelectElement("groups")
	seen.services = groups != nil
	if groups != nil {
		for _, e := range groups.SelectElements("group") {
			if vm, ok := strings.CutPrefix(e.SelectAttrValue("name", ""), serviceID("")); ok && (vm == name || oursPattern.MatchString(vm)) {
				seen.all[vm] = seen.condition(e)
			}
		}
	}
	seen.Service = seen.all[name]
	for _, n := range seen.Nodes {
		seen.State.Nodes = append(seen.State.Nodes, n.Node)
	}
	return seen, nil
}

func (r *report) complaint() string {
	if r.before == "" {
		return ""
	}
	return " (" + r.before + ")"
}

func is(e *etree.Element, name string) bool { return e.SelectAttrValue(name, "") == "1" }

func (r *report) readNodes(root *etree.Element) {
	for _, e := range root.FindElements("nodes/node") {
		if is(e, "qdisk") {
			continue
		}
		up := is(e, "state") && !is(e, "estranged")
		id, _ := strconv.ParseInt(e.SelectAttrValue("nodeid", ""), 0, 32) // without one, its fencing cannot be proved
		n := member{Node: cluster.Node{Name: e.SelectAttrValue("name", ""), Online: up && is(e, "rgmanager")}, id: int(id), member: up}
		n.Standby = up && !is(e, "rgmanager")
		if is(e, "local") {
			r.Self, r.manager = n.Name, is(e, "rgmanager")
		}
		r.Nodes = append(r.Nodes, n)
	}
}

// condition of a service. One whose owner is no live member is one whose node is being fenced;
// rgmanager gives it to nobody before that is over.
func (r *report) condition(e *etree.Element) cluster.Condition {
	number, _ := strconv.Atoi(e.SelectAttrValue("state", "")) // an unknown number is none of those below
	flags, _ := strconv.Atoi(e.SelectAttrValue("flags", "0"))
	owner, last := e.SelectAttrValue("owner", "none"), e.SelectAttrValue("last_owner", "none")
	c := cluster.Condition{Defined: true, Frozen: flags&flagFrozen != 0}
	switch number {
	case started:
		c.Running = r.holders(owner)
	case migrating:
		c.Pending, c.Running = "migrating", r.holders(last, owner)
	case stopping:
		c.Pending, c.Running = "stopping", r.holders(owner)
	case starting:
		c.Pending = "starting"
		r.holders(owner)
	case recoverable, recovering:
		c.Pending = "recovering"
	case disabled:
		c.Stopped = true
	case stopped:
	case failed:
		c.Failed, c.Blocked = true, true
		c.Failures = []cluster.Failure{{Node: last, Operation: "an operation", Reason: "rgmanager has the service as failed; its log on that node says why"}}
	default: // uninitialized, checking, and what later releases may have
		c.Pending, c.Running = "looking for", r.holders(owner)
	}
	return c
}

// holders are the nodes of the names given; one that is not a live member is unclean.
func (r *report) holders(names ...string) []string {
	var out []string
	for _, name := range names {
		if name == "none" || name == "" {
			continue
		}
		out = append(out, name)
		found := false
		for i := range r.Nodes {
			if n := &r.Nodes[i]; n.Name == name {
				found, n.Unclean = true, !n.member
			}
		}
		if !found { // clustat calls it unknown
			r.Nodes = append(r.Nodes, member{Node: cluster.Node{Name: name, Unclean: true}})
		}
	}
	return out
}
