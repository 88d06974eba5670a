// Package frontend is OpenNebula's front-end as a service of a cluster: its cluster.conf,
// rendered from a small description, and judged.
package frontend

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Finding is a defect of a cluster.conf.
type Finding struct {
	Line int    `json:"line"`
	What string `json:"what"`
	Why  string `json:"why"` // what comes of it
	Do   string `json:"do"`
}

func (f Finding) String() string {
	return fmt.Sprintf("line %d: %s: %s; %s", f.Line, f.What, f.Why, f.Do)
}

// checker judges a cluster.conf.
type checker struct {
	root  *element
	nodes map[string]bool
	found []Finding
}

// Check says what is wrong with a cluster.conf, in the order of its lines.
func Check(text string) []Finding {
	root, found := readTags(text)
	c := &checker{root: root, nodes: map[string]bool{}, found: found}
	if root != nil {
		for _, check := range []func(){c.elements, c.cluster, c.members, c.quorum, c.fenceDaemon, c.fenceDevices, c.fencing, c.domains, c.services, c.machines} {
			check()
		}
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return c.found
}

func (c *checker) report(e *element, what, why, do string) {
	c.found = append(c.found, Finding{e.line, what, why, do})
}

// known are the elements of the schema, by their parents; * for any.
var known = map[string][]string{
	"cluster":         {"clusternodes", "cman", "fencedevices", "fence_daemon", "fence_xvmd", "rm", "quorumd", "totem", "dlm", "gfs_controld", "group", "logging", "uidgid"},
	"clusternodes":    {"clusternode"},
	"clusternode":     {"fence", "unfence", "altname", "multicast"},
	"fence":           {"method"},
	"method":          {"device"},
	"fencedevices":    {"fencedevice"},
	"quorumd":         {"heuristic"},
	"rm":              {"failoverdomains", "resources", "service", "vm", "events"},
	"failoverdomains": {"failoverdomain"},
	"failoverdomain":  {"failoverdomainnode"},
}

func (c *checker) elements() {
	var walk func(e *element)
	walk = func(e *element) {
		for _, child := range e.children {
			if allowed, limited := known[e.tag]; limited && !slices.Contains(allowed, child.tag) {
				c.report(child, fmt.Sprintf("<%s> does not belong into <%s>", child.tag, e.tag), "it has no effect, or ccs refuses the file", "there may be "+strings.Join(allowed, ", "))
			}
			walk(child)
		}
	}
	walk(c.root)
}

// once reports names that are given twice.
func (c *checker) once(what, attribute string, elements []*element) {
	seen := map[string]int{}
	for _, e := range elements {
		name := e.attr(attribute, "")
		if line, twice := seen[name]; twice && name != "" {
			c.report(e, fmt.Sprintf("%s %s is there twice, first in line %d", what, name, line), "which one counts is chance", "rename or remove one")
		}
		if name != "" {
			seen[name] = e.line
		}
	}
}

func (c *checker) cluster() {
	if name := c.root.attr("name", ""); name == "" || len(name) > 15 {
		c.report(c.root, fmt.Sprintf("cluster name %q", name), "it has 1 to 15 characters: it is the first half of every lock table of GFS2", "choose a shorter one")
	}
	if n, err := strconv.Atoi(c.root.attr("config_version", "")); err != nil || n < 1 {
		c.report(c.root, fmt.Sprintf("config_version is %q", c.root.attr("config_version", "")), "nodes could not tell which file is newer", "a whole number, raised with every change")
	}
}

func (c *checker) members() {
	nodes := c.root.all("clusternodes", "clusternode")
	for _, e := range nodes {
		name := e.attr("name", "")
		c.nodes[name] = true
		if name == "" {
			c.report(e, "a clusternode without a name", "no node is it", "name=\"…\", as it resolves on all nodes")
		}
		if id, err := strconv.Atoi(e.attr("nodeid", "")); err != nil || id < 1 {
			c.report(e, fmt.Sprintf("node %s has nodeid %q", name, e.attr("nodeid", "")), "required since RHEL 6", "nodeid=\"1\", \"2\", …")
		}
	}
	c.once("node", "name", nodes)
	c.once("nodeid", "nodeid", nodes)
	if len(nodes) < 2 {
		c.report(c.root, fmt.Sprintf("%d nodes", len(nodes)), "nothing can take over", "add a clusternode")
	}
	c.mixedNames(nodes)
}

// mixedNames: with and without a domain is how one node gets two names.
func (c *checker) mixedNames(nodes []*element) {
	var short, full []*element
	for _, e := range nodes {
		if strings.Contains(e.attr("name", ""), ".") {
			full = append(full, e)
		} else {
			short = append(short, e)
		}
	}
	if len(short) > 0 && len(full) > 0 {
		for _, e := range short {
			c.report(e, fmt.Sprintf("node %s is named without a domain, others with one", e.attr("name", "")), "failover domains, fencing and OpenNebula's hosts use exactly this string", fmt.Sprintf("name it like %s, everywhere", full[0].attr("name", "")))
		}
	}
}

func number(e *element, name string, otherwise int) int {
	n, err := strconv.Atoi(e.attr(name, ""))
	if err != nil {
		return otherwise
	}
	return n
}

func (c *checker) quorum() {
	nodes := c.root.all("clusternodes", "clusternode")
	cman, disk := c.root.first("cman"), c.root.first("quorumd")
	two := cman != nil && cman.attr("two_node", "0") == "1"
	if two {
		c.twoNode(cman, disk, len(nodes))
	} else if len(nodes) == 2 && disk == nil {
		e := c.root
		if cman != nil {
			e = cman
		}
		c.report(e, "two nodes without two_node and without a quorum disk", "the one that is left has no quorum, and nothing takes over", "cman two_node=\"1\" expected_votes=\"1\"")
	}
	if disk != nil {
		c.quorumDisk(disk, len(nodes))
	}
}

func (c *checker) twoNode(cman, disk *element, nodes int) {
	if nodes != 2 {
		c.report(cman, fmt.Sprintf("two_node with %d nodes", nodes), "halves of the cluster would both have quorum", "two_node=\"0\"")
	}
	if cman.attr("expected_votes", "") != "1" {
		c.report(cman, fmt.Sprintf("two_node with expected_votes %q", cman.attr("expected_votes", "")), "the one that is left has no quorum", "expected_votes=\"1\"")
	}
	if disk != nil {
		c.report(cman, fmt.Sprintf("two_node and a quorum disk (line %d)", disk.line), "they do not go together: the disk's vote counts for nothing", "two_node=\"0\" expected_votes=\"3\", or no quorumd")
	}
}

const defaultToken = 10_000 // ms, under cman

func (c *checker) quorumDisk(disk *element, nodes int) {
	if disk.attr("label", "")+disk.attr("device", "") == "" {
		c.report(disk, "quorumd without label and device", "it finds no disk", "label=\"…\", as mkqdisk -l gave it")
	}
	if votes := number(disk, "votes", 1); nodes > 1 && votes != nodes-1 {
		c.report(disk, fmt.Sprintf("quorumd has %d votes with %d nodes", votes, nodes), "the last node and the disk together have no quorum, or the disk decides alone", fmt.Sprintf("votes=\"%d\"", nodes-1))
	}
	token := defaultToken
	if totem := c.root.first("totem"); totem != nil {
		token = number(totem, "token", defaultToken)
	}
	if died := number(disk, "interval", 1) * number(disk, "tko", 10) * 1000; died >= token {
		c.report(disk, fmt.Sprintf("the quorum disk gives a node up after %d ms (interval × tko), the token after %d ms", died, token), "nodes are fenced before the disk has decided who stays", "a totem token of more than twice that, or a smaller tko")
	}
	score := 0
	for _, h := range disk.all("heuristic") {
		score += number(h, "score", 1)
		if h.attr("program", "") == "" {
			c.report(h, "a heuristic without a program", "it proves nothing", "program=\"ping -c1 -w1 GATEWAY\"")
		}
	}
	if least := number(disk, "min_score", 0); least > score {
		c.report(disk, fmt.Sprintf("min_score is %d, and all heuristics together have %d", least, score), "no node is ever fit", fmt.Sprintf("min_score=\"%d\"", max(1, score)))
	}
}

// Compare says where the copy of a cluster.conf on another node differs from the first.
func Compare(first, other string) []Finding {
	if first == other {
		return nil
	}
	version := func(text string) string {
		root, _ := readTags(text)
		if root == nil {
			return "none"
		}
		return root.attr("config_version", "none")
	}
	a, b := strings.Split(first, "\n"), strings.Split(other, "\n")
	line := 0
	for line < min(len(a), len(b)) && a[line] == b[line] {
		line++
	}
	return []Finding{{Line: line + 1, What: fmt.Sprintf("it differs from here on (config_version %s and %s)", version(first), version(other)),
		Why: "the node with the older one is turned out of the cluster, and its services are stopped", Do: "ccs --sync --activate from the right one"}}
}
