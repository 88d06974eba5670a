package rhcs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/cluster/clustertest/double"
)

// Programs of the suite.
var Programs = []string{"clustat", "clusvcadm", "cman_tool", "ccs", "ccs_tool", "fence_tool", "virsh"}

// New is a cluster with that configuration, all nodes up and nothing running.
func New(config string) (*Cluster, error) {
	doc, err := parse(config)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Loaded: config, Services: map[string]*Service{}, Saved: map[string]string{}, Quorum: true}
	for _, e := range doc.Root().FindElements("clusternodes/clusternode") {
		c.Nodes = append(c.Nodes, &Node{Name: e.SelectAttrValue("name", ""), Up: true, Manager: true, Config: config, Domains: map[string]string{}})
	}
	for _, e := range doc.Root().FindElements("rm/vm") {
		c.Services[e.SelectAttrValue("name", "")] = &Service{State: disabled}
	}
	return c, nil
}

// Set brings the cluster into a state, which has one word a line:
//
//	delay start|stop|move|fence|load SECONDS
//	node NAME down|fenced|dead|no-rgmanager|no-ricci|unauthorised|no-libvirt|deaf|refuses-start|refuses-stop|moves-150|moves-1
//	pending NODE          a person's edit that is not activated
//	leftover NODE VM      an interrupted change of this driver, given to that node alone
//	service VM STATE OWNER LAST [frozen]   with its vm element and failover domain
//	unloaded VM           defined on all nodes, and not loaded
//	domain NODE VM STATE
//	checkpoint FILE VM
//	inquorate | busy TIMES | rhel5
//	fault TIMES CALL => STATUS TEXT
//	silent CALL           ends with status 0 and does nothing, once
//	hang TIMES CALL       does not end, and does nothing
//	before CALL => EVENT  once
func (c *Cluster) Set(state, home, uri string, now time.Time) error {
	c.now = now
	for line := range strings.Lines(state) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := c.set(words, strings.TrimSpace(line), home, uri); err != nil {
			return fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
	}
	return nil
}

func (c *Cluster) set(words []string, line, home, uri string) error {
	switch words[0] {
	case "delay":
		return c.Delays.set(words[1], words[2])
	case "node":
		return c.setNode(c.Node(words[1]), words[2])
	case "pending":
		return c.edit([]*Node{c.Node(words[1])}, false, []string{"--addvm", "web", "autostart=0"})
	case "leftover":
		return c.edit([]*Node{c.Node(words[1])}, false, define(words[2], home, uri, words[1])...)
	case "unloaded":
		return c.edit(c.Nodes, false, define(words[1], home, uri, c.Nodes[0].Name)...)
	case "service":
		if err := c.edit(c.Nodes, true, c.defineAll(words[1], home, uri)...); err != nil {
			return err
		}
		s := &Service{State: number(words[2]), Owner: words[3], Last: words[4], Frozen: slices.Contains(words, "frozen")}
		if s.State == starting || s.State == recovering {
			s.Due, s.Target = c.now.Add(c.Delays.Start), words[3]
		}
		c.Services[words[1]] = s
	case "domain":
		c.Node(words[1]).Domains[words[2]] = strings.Join(words[3:], " ")
	case "checkpoint":
		c.Saved[words[1]] = words[2]
	case "inquorate":
		c.Quorum = false
	case "rhel5":
		c.RHEL5 = true
	case "busy":
		n, err := strconv.Atoi(words[1])
		c.Busy = n
		return err
	case "fault", "silent", "hang", "before":
		f, err := double.ParseFault(words[0], strings.TrimSpace(strings.TrimPrefix(line, words[0])))
		c.Faults = append(c.Faults, f)
		return err
	default:
		return fmt.Errorf("no such word")
	}
	return nil
}

func (d *Delays) set(name, seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	field, ok := map[string]*time.Duration{"start": &d.Start, "stop": &d.Stop, "move": &d.Move, "fence": &d.Fence, "load": &d.Load}[name]
	if !ok {
		return fmt.Errorf("no such delay")
	}
	*field = time.Duration(n) * time.Second
	return nil
}

func (c *Cluster) setNode(n *Node, word string) error {
	switch word {
	case "down":
		n.Up, n.Manager = false, false
	case "fenced":
		n.Up, n.Manager, n.Fenced = false, false, true
	case "dead":
		n.Up, n.Manager, n.Fencing = false, false, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	case "no-rgmanager":
		n.Manager = false
	case "no-ricci":
		n.NoRicci = true
	case "unauthorised":
		n.Unauthorised = true
	case "no-libvirt":
		n.NoLibvirt = true
	case "deaf":
		n.Deaf = true
	case "refuses-start":
		n.RefusesStart = true
	case "refuses-stop":
		n.RefusesStop = true
	case "moves-150", "moves-1":
		n.RefusesMoving = strings.TrimPrefix(word, "moves-")
	default:
		return fmt.Errorf("no such thing of a node")
	}
	return nil
}

// edit changes the file of nodes as ccs does, and what runs too if it is loaded.
func (c *Cluster) edit(nodes []*Node, loaded bool, calls ...[]string) error {
	doc, err := parse(nodes[0].Config)
	if err != nil {
		return err
	}
	for _, call := range calls {
		if r := change(doc, call[0], call[1:]); r.Status != 0 {
			return fmt.Errorf("%s", r.Stdout)
		}
		raise(doc, 1)
	}
	for _, n := range nodes {
		n.Config = render(doc)
	}
	if loaded {
		c.Loaded = render(doc)
	}
	return nil
}

func (c *Cluster) defineAll(name, home, uri string) [][]string {
	var nodes []string
	for _, n := range c.Nodes {
		nodes = append(nodes, n.Name)
	}
	if c.RHEL5 {
		return append(domainOf(name, nodes), []string{"--addvm", name, "domain=" + name, "autostart=1", "recovery=restart", "migrate=live", "path=" + home})
	}
	return define(name, home, uri, nodes...)
}

// define is a VM's service as this driver writes it.
func define(name, home, uri string, nodes ...string) [][]string {
	return append(domainOf(name, nodes), []string{"--addvm", name, "domain=" + name, "autostart=1", "recovery=restart", "use_virsh=1", "hypervisor=qemu",
		"xmlfile=" + home + "/domain.xml", "migration_uri=" + uri, "__max_failures=3", "__failure_expire_time=120"})
}

func domainOf(name string, nodes []string) [][]string {
	calls := [][]string{{"--addfailoverdomain", name, "ordered", "nofailback"}}
	for i, n := range nodes {
		calls = append(calls, []string{"--addfailoverdomainnode", name, n, strconv.Itoa(i + 1)})
	}
	return calls
}

func number(state string) int {
	for n, name := range stateNames {
		if name == state {
			return n
		}
	}
	return 0
}

// Reads implements double.Tools.
func (*Cluster) Reads(program string, args []string) bool {
	call := program + " " + strings.Join(args, " ")
	return program == "clustat" || call == "cman_tool version" || strings.Contains(call, " domstate ") || strings.HasSuffix(call, " --getconf")
}

// Summary implements double.Tools.
func (c *Cluster) Summary() string {
	var lines []string
	running, err := parse(c.Loaded)
	if err != nil {
		return err.Error()
	}
	lines = append(lines, fmt.Sprintf("version %d is loaded", version(running)))
	for _, n := range c.Nodes {
		text := n.Name
		if !n.Up {
			text += " is down,"
		}
		if own, err := parse(n.Config); err == nil {
			text += fmt.Sprintf(" has version %d", version(own))
		}
		for _, name := range slices.Sorted(maps.Keys(n.Domains)) {
			text += fmt.Sprintf(", %s %s", name, n.Domains[name])
		}
		lines = append(lines, text)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		s := c.Services[name]
		text := fmt.Sprintf("vm:%s %s, owner %s", name, stateNames[s.State], orNone(s.Owner))
		if s.Frozen {
			text += ", frozen"
		}
		if domain := named(running, "rm/failoverdomains/failoverdomain", name); domain != nil {
			var nodes []string
			for _, e := range domain.SelectElements("failoverdomainnode") {
				nodes = append(nodes, e.SelectAttrValue("name", ""))
			}
			text += ", belongs on " + strings.Join(nodes, " then ")
		}
		lines = append(lines, text)
	}
	for _, text := range c.Violations {
		lines = append(lines, "VIOLATION: "+text)
	}
	return strings.Join(lines, "\n")
}
