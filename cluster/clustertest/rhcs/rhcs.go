// Package rhcs is a double of the Red Hat Cluster Suite: cman, ricci, rgmanager and the
// libvirt of each node, with one state for all of them. The tools behave as the suite's do
// where a driver can tell: exit statuses, messages and where they are printed, which copy
// of cluster.conf they touch, and what a loaded configuration does to running VMs.
//
// It serves calls in the test's own process, by a clock that only waiting moves, and as
// programs that share a directory (Programs).
package rhcs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"one-clvm/cluster/clustertest/double"
)

// Cluster is the state. The zero Time is that of no event.
type Cluster struct {
	Nodes    []*Node
	Loaded   string              // configuration that runs
	Services map[string]*Service // by name, without vm:
	Saved    map[string]string   // checkpoints: domain by file, on the shared file system
	Running  map[string]string   // documents of domains whose devices somebody asked for
	Delays   Delays
	Faults   []*double.Fault
	Quorum   bool
	Busy     int // reports that fail with too many queries
	RHEL5    bool
	// Hook is libvirt's on all nodes, nil for none: before a domain starts (prepare begin, and it does
	// not start if that fails), once its process is there, and when it is gone.
	Hook func(node, domain, operation, part, document string) error `json:"-"`
	// Violations are what a driver must never do.
	Violations []string

	now time.Time
}

// Delays are how long things take.
type Delays struct{ Start, Stop, Move, Fence, Load time.Duration }

// Node is one machine.
type Node struct {
	Name          string
	Up            bool      // member of the cluster
	Manager       bool      // rgmanager runs
	Fencing       time.Time // when its fencing ends
	Fenced        bool      // at some time; that outlives its coming back
	NoRicci       bool
	Unauthorised  bool
	Config        string // its cluster.conf
	Error         bool   // holds an older configuration than the cluster runs
	NoLibvirt     bool
	Domains       map[string]string // state by name
	Deaf          bool              // guests ignore a shutdown
	RefusesStart  bool
	RefusesStop   bool
	RefusesMoving string // result of the agent's migrate: 150 runs on here, 1 failed
}

// Service is a VM of rgmanager's.
type Service struct {
	State       int
	Owner, Last string
	Frozen      bool
	Restarts    int
	Due         time.Time // when a transition ends
	Target      string    // of a start
}

// Reply of a program.
type Reply = double.Reply

// Call is one call of a program on a node.
func (c *Cluster) Call(node, program string, args []string, stdin string, now time.Time) Reply {
	c.now = now
	c.tick()
	n := c.Node(node)
	call := program + " " + strings.Join(args, " ")
	if f := double.Take(c.Faults, call); f != nil {
		switch {
		case f.Event != "":
			c.happen(f.Event)
		case f.Silent:
			return Reply{}
		case f.Hangs:
			return Reply{Hangs: true}
		case program == "ccs" || program == "clusvcadm" || program == "clustat":
			return Reply{Stdout: f.Text + "\n", Status: f.Status}
		default:
			return Reply{Stderr: f.Text + "\n", Status: f.Status}
		}
	}
	switch program {
	case "clustat":
		return c.clustat(n, args)
	case "clusvcadm":
		return c.clusvcadm(n, args)
	case "cman_tool":
		return c.cmanTool(n, args)
	case "ccs":
		return c.ccs(n, args, stdin)
	case "ccs_tool":
		return c.ccsTool(n, args)
	case "fence_tool":
		return c.fenceTool(n, args)
	case "virsh":
		return c.virsh(n, args, stdin)
	}
	return Reply{Stderr: program + ": command not found\n", Status: 127}
}

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

// Happen has an event come to pass now, and rgmanager go on from there.
func (c *Cluster) Happen(event string, now time.Time) {
	c.now = now
	c.happen(event)
	c.tick()
}

// happen is what other people and the world do: "edit" (a person adds a service, syncs and
// activates), "die NODE", "fenced NODE", "join NODE", "stop-libvirt NODE", "gone NODE DOMAIN".
func (c *Cluster) happen(event string) {
	words := strings.Fields(event)
	switch words[0] {
	case "edit":
		config, _ := parse(c.Loaded)
		vm := config.Root().SelectElement("rm").CreateElement("vm")
		vm.CreateAttr("name", "web")
		vm.CreateAttr("autostart", "0")
		raise(config, 1)
		for _, n := range c.Nodes {
			if n.Up {
				n.Config = render(config)
			}
		}
		c.load(c.Nodes[0])
	case "die":
		c.die(c.Node(words[1]))
	case "fenced":
		c.fenced(c.Node(words[1]))
	case "join":
		n := c.Node(words[1])
		n.Up, n.Manager, n.Config = true, true, c.Loaded
	case "stop-libvirt":
		c.Node(words[1]).NoLibvirt = true
	case "gone":
		delete(c.Node(words[1]).Domains, words[2])
	default:
		panic("no event " + event)
	}
}

// die: the node is gone, with its guests; nothing moves before it is fenced.
func (c *Cluster) die(n *Node) {
	n.Up, n.Manager, n.Domains = false, false, map[string]string{}
	n.Fencing = c.now.Add(c.Delays.Fence)
}

func (c *Cluster) fenced(n *Node) {
	n.Fencing, n.Fenced = time.Time{}, true
	for name, s := range c.Services {
		if s.Owner == n.Name && !s.Frozen && (s.State == started || s.State == starting) {
			s.Last, s.Restarts = s.Owner, s.Restarts+1
			c.begin(name, s, recovering, "")
		}
	}
}
