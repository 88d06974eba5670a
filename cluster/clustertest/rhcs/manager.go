package rhcs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// States of a service.
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

var stateNames = map[int]string{
	stopped: "stopped", starting: "starting", started: "started", stopping: "stopping", failed: "failed", uninitialized: "uninitialized",
	checking: "checking", recoverable: "recoverable", recovering: "recovering", disabled: "disabled", migrating: "migrating",
}

// tick is rgmanager's own doing up to now.
func (c *Cluster) tick() {
	for _, n := range c.Nodes {
		if !n.Fencing.IsZero() && !c.now.Before(n.Fencing) {
			c.fenced(n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		s := c.Services[name]
		switch {
		case s.Due.IsZero() || c.now.Before(s.Due):
		case s.State == starting || s.State == recovering:
			c.start(name, s, s.Target)
		}
	}
}

// begin a transition that ends by itself.
func (c *Cluster) begin(name string, s *Service, state int, target string) {
	s.State, s.Target, s.Due = state, target, c.now.Add(c.Delays.Start)
	if state == starting {
		if s.Target == "" {
			s.Target = c.best(name)
		}
		s.Owner = s.Target
	} else {
		s.Owner = "none"
	}
	c.tickOne(name, s)
}

func (c *Cluster) tickOne(name string, s *Service) {
	if !c.now.Before(s.Due) {
		c.start(name, s, s.Target)
	}
}

// start is what the agent does: a guest that is up anywhere is taken over, one that no node
// starts leaves the service stopped.
func (c *Cluster) start(name string, s *Service, target string) bool {
	s.Due = time.Time{}
	for _, n := range c.Nodes {
		if n.Up && n.Manager && n.Domains[name] != "" {
			s.State, s.Owner = started, n.Name
			return true
		}
	}
	for _, candidate := range append([]string{target}, c.candidates(name)...) {
		n := c.Node(candidate)
		if n == nil || !n.Up || !n.Manager || n.Error || n.RefusesStart || n.NoLibvirt {
			continue
		}
		if !c.libvirtStarts(n, name) {
			continue
		}
		s.State, s.Owner = started, n.Name
		return true
	}
	s.Last, s.Owner, s.State = target, "none", stopped
	return false
}

// stop is what the agent does: asks, waits, destroys. An indeterminate state is a failure.
func (c *Cluster) stop(name string, s *Service) bool {
	n := c.Node(s.Owner)
	s.Due = time.Time{}
	if n != nil && (n.NoLibvirt || n.RefusesStop) {
		s.State, s.Last, s.Owner = failed, s.Owner, "none"
		return false
	}
	if n != nil {
		c.libvirtEnds(n, name)
		s.Last = s.Owner
	}
	s.Owner = "none"
	return true
}

// candidates are the nodes of the failover domain, best first, then all others.
func (c *Cluster) candidates(name string) []string {
	var names []string
	if config, err := parse(c.Loaded); err == nil {
		if vm := named(config, "rm/vm", name); vm != nil {
			if domain := named(config, "rm/failoverdomains/failoverdomain", vm.SelectAttrValue("domain", "")); domain != nil {
				nodes := domain.SelectElements("failoverdomainnode")
				slices.SortStableFunc(nodes, func(a, b *element) int { return priority(a) - priority(b) })
				for _, e := range nodes {
					names = append(names, e.SelectAttrValue("name", ""))
				}
			}
		}
	}
	for _, n := range c.Nodes {
		if !slices.Contains(names, n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}

func priority(e *element) int {
	n, _ := strconv.Atoi(e.SelectAttrValue("priority", "100"))
	return n
}

func (c *Cluster) best(name string) string {
	for _, candidate := range c.candidates(name) {
		if n := c.Node(candidate); n != nil && n.Up && n.Manager {
			return candidate
		}
	}
	return "none"
}

// clusvcadm: the call ends when the operation has.
func (c *Cluster) clusvcadm(n *Node, args []string) Reply {
	if !n.Up {
		return Reply{Stderr: "Could not connect to cluster service\n", Status: 1}
	}
	if !n.Manager {
		return Reply{Stderr: "Could not connect to resource group manager\n", Status: 1}
	}
	verb, id, target := "", "", ""
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "-m", "-n":
			target = args[i+1]
		default:
			verb, id = args[i], args[i+1]
		}
	}
	name, ok := strings.CutPrefix(id, "vm:")
	s := c.Services[name]
	prefix := ""
	if target != "" && c.Node(target) == nil { // the closest match is taken
		prefix = fmt.Sprintf("'%s' not in membership list\n", target)
		c.violation("clusvcadm was given a node that is none: %s", target)
		return Reply{Stdout: prefix + "No matches\n", Status: 1}
	}
	r := c.operate(n, verb, name, s, target, ok)
	r.Stdout = prefix + r.Stdout
	return r
}

func (c *Cluster) operate(n *Node, verb, name string, s *Service, target string, ok bool) Reply {
	say := map[string]string{
		"-e": "Local machine trying to enable vm:" + name + "...", "-d": "Local machine disabling vm:" + name + "...", "-Z": "Local machine freezing vm:" + name + "...",
		"-U": "Local machine unfreezing vm:" + name + "...", "-M": "Trying to migrate vm:" + name + " to " + target + "...",
	}[verb]
	if target != "" && target != n.Name && verb == "-e" {
		say = "Member " + target + " trying to enable vm:" + name + "..."
	}
	result := func(status int, text string, took time.Duration) Reply {
		return Reply{Stdout: say + text + "\n", Status: status, Took: took}
	}
	busy := s != nil && !s.Due.IsZero()
	switch {
	case !c.Quorum || n.Error:
		return result(247, "Operation requires quorum", 0)
	case s == nil || !ok:
		return result(252, "Service does not exist", 0)
	case verb == "-Z" || verb == "-U":
		s.Frozen = verb == "-Z"
		return result(0, "Success", 0)
	case s.Frozen:
		return result(245, "Failure: Service is frozen", 0)
	case slices.ContainsFunc(c.Nodes, func(m *Node) bool { return !m.Fencing.IsZero() && m.Name == s.Owner }):
		return result(243, "Fencing operation pending; try again later", 0)
	case busy:
		return result(250, "Temporary failure; try again", 0)
	}
	switch verb {
	case "-e":
		return c.enable(name, s, target, result)
	case "-d":
		return c.disable(name, s, result)
	case "-M":
		return c.migrate(name, s, target, result)
	}
	return Reply{Stdout: "usage\n", Status: 1}
}

type results func(status int, text string, took time.Duration) Reply

func (c *Cluster) enable(name string, s *Service, target string, result results) Reply {
	if owner := c.Node(s.Owner); s.State == started && (owner == nil || owner.Up) {
		return result(0, "Service is already running", 0)
	}
	if s.State == failed {
		return result(255, "Failure", 0)
	}
	if m := c.Node(target); m != nil && (!m.Up || !m.Manager) {
		return result(244, "Target node dead / nonexistent", 0)
	}
	if target == "" {
		target = c.best(name)
	}
	if !c.start(name, s, target) {
		return result(255, "Failure", c.Delays.Start)
	}
	r := result(0, "Success", c.Delays.Start)
	warning := ""
	if s.Owner != target {
		warning = "Warning: "
	}
	r.Stdout += fmt.Sprintf("%svm:%s is now running on %s\n", warning, name, s.Owner)
	return r
}

func (c *Cluster) disable(name string, s *Service, result results) Reply {
	took := time.Duration(0)
	if s.State == started && c.Node(s.Owner) != nil && c.Node(s.Owner).Domains[name] != "" {
		took = c.Delays.Stop
	}
	if owner := c.Node(s.Owner); s.State == started && (owner == nil || owner.Up) && !c.stop(name, s) {
		return result(254, "Aborted; service failed", took)
	}
	s.State, s.Owner = disabled, "none"
	return result(0, "Success", took)
}

func (c *Cluster) migrate(name string, s *Service, target string, result results) Reply {
	to, from := c.Node(target), c.Node(s.Owner)
	switch {
	case s.State != started:
		return result(255, "Failure", 0)
	case !to.Up:
		return Reply{Stdout: fmt.Sprintf("'%s' is offline\n", target), Status: 1}
	case !to.Manager:
		return result(244, "Target node dead / nonexistent", 0)
	case to == from:
		return result(0, "Success", 0)
	case from.RefusesMoving == "150":
		return result(239, "Failed; service running on original owner", c.Delays.Move)
	case from.RefusesMoving != "":
		s.State, s.Last, s.Owner = failed, s.Owner, "none"
		return result(255, "Failure", c.Delays.Move)
	}
	state := from.Domains[name]
	if c.libvirtHook(to, name, "migrate", "begin") != nil || !c.libvirtStarts(to, name) {
		return result(239, "Failed; service running on original owner", c.Delays.Move)
	}
	to.Domains[name] = state
	c.libvirtEnds(from, name)
	s.Last, s.Owner = s.Owner, target
	return result(0, "Success", c.Delays.Move)
}

// clustat prints the report of -x.
func (c *Cluster) clustat(n *Node, args []string) Reply {
	if !n.Up {
		return Reply{Stderr: "Could not connect to CMAN: Connection refused\n", Status: 1}
	}
	if !slices.Equal(args, []string{"-x"}) {
		return Reply{Stderr: "usage\n", Status: 1}
	}
	var out strings.Builder
	hidden := !n.Manager || len(c.Services) == 0
	if c.Busy > 0 {
		c.Busy, hidden = c.Busy-1, true
		out.WriteString("Service states unavailable: Temporary failure; try again\n")
	}
	out.WriteString("<?xml version=\"1.0\"?>\n<clustat version=\"4.1.1\">\n  <cluster name=\"sanone\" id=\"13721\" generation=\"92\"/>\n")
	fmt.Fprintf(&out, "  <quorum quorate=\"%d\" groupmember=\"1\"/>\n  <nodes>\n", bit(c.Quorum && !n.Error))
	for i, m := range c.Nodes {
		fmt.Fprintf(&out, "    <node name=%q state=\"%d\" local=\"%d\" estranged=\"0\" rgmanager=\"%d\" rgmanager_master=\"0\" qdisk=\"0\" nodeid=\"0x%08x\"/>\n",
			m.Name, bit(m.Up), bit(m == n), bit(m.Up && m.Manager), i+1)
	}
	out.WriteString("  </nodes>\n")
	status := 0
	if hidden {
		status = 255
	} else {
		out.WriteString("  <groups>\n")
		for _, name := range slices.Sorted(maps.Keys(c.Services)) {
			s := c.Services[name]
			flags := ""
			if s.Frozen {
				flags = "frozen"
			}
			fmt.Fprintf(&out, "    <group name=\"vm:%s\" state=\"%d\" state_str=%q flags=\"%d\" flags_str=%q owner=%q last_owner=%q restarts=\"%d\" last_transition=\"1360573200\" last_transition_str=\"Mon Feb 11 10:00:00 2013\"/>\n",
				name, s.State, stateNames[s.State], bit(s.Frozen), flags, orNone(s.Owner), orNone(s.Last), s.Restarts)
		}
		out.WriteString("  </groups>\n")
	}
	out.WriteString("</clustat>\n")
	return Reply{Stdout: out.String(), Status: status}
}

func orNone(name string) string {
	if name == "" {
		return "none"
	}
	return name
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
