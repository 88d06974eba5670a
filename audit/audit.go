// Package audit compares what nodes report of a volume group (volumes, their tags and
// where they are active, homes and links, running machines) with what oned has, and says
// what is not as it should be and what repairs it. Judging is a function of what was
// collected; collecting and repairing stand beside it.
package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// Kind is what is wrong.
type Kind string

// The kinds of findings, as docs/audit.md explains them.
const (
	Orphan     Kind = "orphan"     // a volume of a VM or of an image that oned does not have
	Unfinished Kind = "unfinished" // a volume that was never completed, and nobody is at it
	Half       Kind = "half"       // an operation on a disk that has not ended
	Quarantine Kind = "quarantine" // a deleted volume that is not wiped
	Foreign    Kind = "foreign"    // named like ours, without our tags
	Tags       Kind = "tags"       // its tags say that it is another disk than its name does
	Duplicate  Kind = "duplicate"  // two volumes that are the same disk
	Missing    Kind = "missing"    // a VM's disk without a volume
	Lent       Kind = "lent"       // an image that is lent to a VM that does not use it
	Snapshot   Kind = "snapshot"   // one that is lost, or that oned does not have
	Window     Kind = "window"     // a migration that was to end long ago
	Shared     Kind = "shared"     // active shared, and no migration runs
	Double     Kind = "double"     // in use on two nodes
	Stale      Kind = "stale"      // active where its VM is not
	Elsewhere  Kind = "elsewhere"  // in use where oned does not have its VM
	Inactive   Kind = "inactive"   // its VM runs, and it is active nowhere
	Parked     Kind = "parked"     // its tags and its VM's state do not agree on whether it rests
	Link       Kind = "link"       // missing in the home, or leading elsewhere
	HomeLeft   Kind = "home"       // the directory of a VM that oned does not have
	Machine    Kind = "machine"    // a domain that runs where it should not, or not where it should
	Unowned    Kind = "unowned"    // a domain that runs without the cluster
	Spooled    Kind = "spool"      // what the cluster did, and oned was not told
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object"` // VG/VOLUME, or what else it is about
	Why    string `json:"why"`
	Repair string `json:"repair"` // what to type, or to look at
	// Fixes are what --repair does: nothing where a person must decide.
	Fixes []Fix `json:"fixes,omitempty"`
}

// Fix is one request to one node.
type Fix struct {
	What    string        `json:"what"`
	Host    string        `json:"host"`
	Request agent.Request `json:"-"`
}

// Node is a machine and what it reports.
type Node struct {
	Names  []string // as oned calls it
	Report agent.Result
}

func (n *Node) name() string { return n.Names[0] }

func (n *Node) is(host string) bool { return slices.Contains(n.Names, host) }

// State is all that an audit judges by.
type State struct {
	Group  string
	Prefix string   // of volumes' names
	Shared []string // SHARED_DIRS: disks that are links into them have no volume
	Now    time.Time
	Nodes  []Node
	VMs    map[int]opennebula.VM // those that are not done
	Images map[int]opennebula.Image
	// Disks are the DISK_IDs that must have a volume in the group, by VM.
	Disks map[int][]int
	// Bases are the directories of the system datastores whose VMs have their disks here.
	Bases map[int]string
	// Unasked are the hosts that could not be asked, with the reason.
	Unasked map[string]string
}

// Findings judges: volumes in the order of their names, then homes, machines and what is
// missing.
func (s *State) Findings() []Finding {
	volumes := s.volumes()
	twice, undecided := s.duplicates(volumes)
	var all []Finding
	for _, v := range volumes {
		if f, found := s.judge(v); found && !undecided[v.Name] {
			all = append(all, f)
		}
	}
	all = append(all, twice...)
	all = append(all, s.links(volumes)...)
	all = append(all, s.homes(volumes)...)
	all = append(all, s.machines()...)
	all = append(all, s.spools()...)
	return append(all, s.missing(volumes)...)
}

// seen is a volume with where it is active.
type seen struct {
	lvm.Volume
	holders []holder
}

type holder struct {
	node *Node
	lvm.Volume
}

// open are the nodes that use it.
func (v seen) open() []*Node {
	var nodes []*Node
	for _, h := range v.holders {
		if h.Open {
			nodes = append(nodes, h.node)
		}
	}
	return nodes
}

// volumes are the group's, with the modes of all nodes.
func (s *State) volumes() []seen {
	var all []seen
	at := map[string]int{}
	for i := range s.Nodes {
		node := &s.Nodes[i]
		for _, v := range node.Report.Volumes {
			n, known := at[v.Name]
			if !known {
				n = len(all)
				at[v.Name] = n
				all = append(all, seen{Volume: v})
			}
			all[n].Invalid = all[n].Invalid || v.Invalid
			if v.Mode != lvm.Off {
				all[n].holders = append(all[n].holders, holder{node, v})
			}
		}
	}
	slices.SortFunc(all, func(a, b seen) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (s *State) object(v seen) string { return s.Group + "/" + v.Name }

// id is the number that a tag holds; opennebula.None without one.
func id(v seen, key string) int {
	n, err := strconv.Atoi(v.Tags.Get(key))
	if err != nil || n < 0 {
		return opennebula.None
	}
	return n
}

// node is the machine of that name, nil if it was not asked.
func (s *State) node(host string) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].is(host) {
			return &s.Nodes[i]
		}
	}
	return nil
}

// anyNode is a machine to do what any can; volumes come from one, so there is one.
func (s *State) anyNode() *Node { return &s.Nodes[0] }

func (s *State) wiping(name string) bool {
	return slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Report.Audit != nil && slices.Contains(n.Report.Audit.Wiping, name) })
}

// home is the directory of a VM on all nodes.
func (s *State) home(ds, vm int) string {
	base := s.Bases[ds]
	if base == "" {
		base = fmt.Sprintf("/var/lib/one/datastores/%d", ds)
	}
	return fmt.Sprintf("%s/%d", base, vm)
}

// host is where oned has the VM; "" where that is nowhere.
func host(vm opennebula.VM) string {
	if last := vm.Last(); last != nil {
		return last.Hostname
	}
	return ""
}

// StateOf names a VM's state as onevm shows it.
func StateOf(vm opennebula.VM) string {
	if vm.State == opennebula.StateActive {
		return vm.LCMState.String()
	}
	return vm.State.String()
}

// running: oned takes it for a domain that runs.
func running(vm opennebula.VM) bool {
	return vm.State == opennebula.StateActive && vm.LCMState == opennebula.LCMRunning
}

// migrating: it is live on two nodes for a while.
func migrating(vm opennebula.VM) bool {
	return vm.State == opennebula.StateActive && vm.LCMState == opennebula.LCMMigrate
}

// resting: its disks are parked.
func resting(vm opennebula.VM) bool {
	return vm.State == opennebula.StateStopped || vm.State == opennebula.StateUndeployed
}

// Settled says that no verb is at the VM's disks, nor has one failed in the middle.
func Settled(vm opennebula.VM) bool {
	return running(vm) || resting(vm) || vm.State == opennebula.StatePoweroff || vm.State == opennebula.StateSuspended
}

// busyWithDisks: in these states a verb may be making the disk.
func busyWithDisks(vm opennebula.VM) bool {
	name := vm.LCMState.String()
	if vm.State != opennebula.StateActive || strings.HasSuffix(name, "_FAILURE") {
		return false
	}
	for _, part := range []string{"PROLOG", "HOTPLUG", "RESTORE", "SNAPSHOT", "BACKUP", "RESIZE", "EPILOG"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
