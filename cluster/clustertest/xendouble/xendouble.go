// Package xendouble is a double of Xen nodes, with the cluster tool cxm and without: the
// programs cxm, cxmd_ctl, xl and xm, with one state for all nodes.
package xendouble

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"one-clvm/cluster/clustertest/double"
)

// Programs of a Xen node.
var Programs = []string{"cxm", "cxmd_ctl", "xl", "xm", "xentop", "xenstore-read"}

// Cluster is the state.
type Cluster struct {
	Base   string // directory with a directory of autostart links for each node
	Nodes  []*Node
	State  string // of cxmd: normal, recovery, panic
	Saved  map[string]string
	Faults []*double.Fault
	// Violations are what a driver must never do.
	Violations []string
}

// Node is one machine.
type Node struct {
	Name                         string
	Up                           bool
	Domains                      map[string]string // letters by name
	Devices                      map[string]*Devices
	NoCxmd, NoXen, Deaf, Holds   bool // Deaf guests ignore a shutdown; what Holds lets go of no device
	RefusesCreate, RefusesMoving bool
}

// Devices are what a running domain has.
type Devices struct {
	Disks map[string]string // path by target
	NICs  []string          // MAC addresses
}

// New are so many nodes, all up.
func New(base string, nodes int) (*Cluster, error) {
	c := &Cluster{Base: base, State: "normal", Saved: map[string]string{}}
	for i := range nodes {
		n := &Node{Name: fmt.Sprintf("node%d", i+1), Up: true, Domains: map[string]string{}, Devices: map[string]*Devices{}}
		c.Nodes = append(c.Nodes, n)
		if err := os.MkdirAll(c.Auto(n.Name), 0o755); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Auto is the directory of a node's autostart links.
func (c *Cluster) Auto(node string) string { return filepath.Join(c.Base, "auto-"+node) }

// Node is the machine of that name, nil for none.
func (c *Cluster) Node(name string) *Node {
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return c.Nodes[i]
}

func (c *Cluster) violation(format string, args ...any) {
	c.Violations = append(c.Violations, fmt.Sprintf(format, args...))
}

// Set brings the nodes into a state, which has one word a line; name is the VM's:
//
//	node NODE down|no-cxmd|no-xen|deaf|refuses-create|refuses-moving
//	domain NODE LETTERS
//	link NODE
//	cxmd recovery|panic
//	checkpoint FILE
//	fault, silent, before: see double.ParseFault; events are "die NODE" and "gone NODE"
func (c *Cluster) Set(state, name, definition string) error {
	for line := range strings.Lines(state) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := c.set(words, strings.TrimSpace(line), name, definition); err != nil {
			return fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
	}
	return nil
}

func (c *Cluster) set(words []string, line, name, definition string) error {
	switch words[0] {
	case "node":
		n := c.Node(words[1])
		flag, ok := map[string]*bool{"no-cxmd": &n.NoCxmd, "no-xen": &n.NoXen, "deaf": &n.Deaf, "refuses-create": &n.RefusesCreate, "refuses-moving": &n.RefusesMoving}[words[2]]
		if words[2] == "down" {
			n.Up = false
		} else if !ok {
			return fmt.Errorf("no such thing of a node")
		} else {
			*flag = true
		}
	case "domain":
		c.Node(words[1]).Domains[name] = words[2]
	case "link":
		return os.Symlink(definition, filepath.Join(c.Auto(words[1]), name))
	case "cxmd":
		c.State = words[1]
	case "checkpoint":
		c.Saved[words[1]] = name
	case "fault", "silent", "before":
		f, err := double.ParseFault(words[0], strings.TrimSpace(strings.TrimPrefix(line, words[0])))
		if f != nil && f.Event != "" {
			f.Event += " " + name
		}
		c.Faults = append(c.Faults, f)
		return err
	default:
		return fmt.Errorf("no such word")
	}
	return nil
}

// Call implements double.Tools.
func (c *Cluster) Call(node, program string, args []string, _ string, _ time.Time) double.Reply {
	n := c.Node(node)
	if f := double.Take(c.Faults, program+" "+strings.Join(args, " ")); f != nil {
		switch {
		case f.Event != "":
			c.happen(f.Event)
		case f.Silent:
			return double.Reply{}
		default:
			return double.Reply{Stderr: f.Text + "\n", Status: f.Status}
		}
	}
	switch program {
	case "cxm":
		return c.cxm(n, args)
	case "cxmd_ctl":
		return c.cxmdCtl(n, args)
	case "xl", "xm":
		return c.client(n, program, args)
	case "xentop":
		return c.xentop(n)
	case "xenstore-read":
		return c.xenstore(n, args)
	}
	return double.Reply{Stderr: program + ": command not found\n", Status: 127}
}

func (c *Cluster) happen(event string) {
	words := strings.Fields(event)
	n := c.Node(words[1])
	switch words[0] {
	case "die":
		n.Up, n.Domains = false, map[string]string{}
	case "gone":
		delete(n.Domains, words[2])
	default:
		panic("no event " + event)
	}
}

// Reads implements double.Tools.
func (*Cluster) Reads(program string, args []string) bool {
	word := append(args, "")[0]
	return program == "cxmd_ctl" || program == "xentop" || program == "xenstore-read" || slices.Contains([]string{"list", "block-list", "network-list"}, word) || program == "cxm" && word == "search"
}

// Summary implements double.Tools.
func (c *Cluster) Summary() string {
	var lines []string
	for _, n := range c.Nodes {
		text := n.Name
		if !n.Up {
			text += " is down"
		}
		for _, name := range slices.Sorted(maps.Keys(n.Domains)) {
			text += " " + name + " " + n.Domains[name]
		}
		for _, name := range c.links(n.Name) {
			text += ", link of " + name
		}
		lines = append(lines, text)
	}
	for _, text := range c.Violations {
		lines = append(lines, "VIOLATION: "+text)
	}
	return strings.Join(lines, "\n")
}

func (c *Cluster) links(node string) []string {
	entries, err := os.ReadDir(c.Auto(node))
	if err != nil {
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
