// Package cluster is a VM as a service of the cluster's own manager. It has the words, the
// decision what to do for each of OpenNebula's verbs (Decide, a function of what was seen),
// and what carries a decision out (Executor). A stack says how to see and how to act:
// cluster/pacemaker, cluster/rgmanager, cluster/cxm, cluster/standalone.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Sentinels. Test with errors.Is.
var (
	// ErrDown: the cluster manager does not answer on this node: nothing is known.
	ErrDown = errors.New("the cluster manager does not answer")
	// ErrRefused: the state of the cluster forbids it; nothing was changed.
	ErrRefused = errors.New("refused")
	// ErrFencing: a node that had the VM is not yet known to be off.
	ErrFencing = errors.New("a node is being fenced")
	// ErrElsewhere: the VM is on another node than OpenNebula believes.
	ErrElsewhere = errors.New("the VM is on another node")
	// ErrHypervisor: the hypervisor of this node does not answer: it may run the VM or not.
	ErrHypervisor = errors.New("libvirt does not answer")
	// ErrXen: the same of Xen's own client.
	ErrXen = errors.New("the client of Xen does not answer")
	// ErrTimeout: what was waited for did not come.
	ErrTimeout = errors.New("gave up waiting")
	// ErrFailed: the cluster manager tried, and failed.
	ErrFailed = errors.New("the cluster manager failed")
)

// Service is a VM as a cluster knows it.
type Service struct {
	VM         int
	Name       string // of the service and of the domain: one-42, under Xen the VM's own name
	Definition string // file with the domain, the same path on every node
	Hypervisor string // URI of libvirt
	MemoryMiB  int64  // 0 unknown
	CPUs       int    // 0 unknown
	After      string // resource that must run where the service runs, like the file system of Definition; "" for none
	Patience   Patience
}

// Patience is how long things may take.
type Patience struct {
	Start    time.Duration // until the hypervisor says that it runs
	Shutdown time.Duration // of the guest, by itself
	Stop     time.Duration // of the cluster, the guest's shutdown included
	Migrate  time.Duration
	Settle   time.Duration // until the cluster has taken note of a change
}

// State is all that a decision depends on.
type State struct {
	Clustered   bool   // false: there is no cluster, only this node
	Self        string // this node, by the cluster's name
	Nodes       []Node
	Quorate     bool
	Fencing     bool // nodes that fail are fenced
	Maintenance bool // the cluster looks on and does nothing
	Manager     Manager
	Service     Condition
	Domain      Domain   // on this node
	There       Domain   // on the node that a migration goes to; asked only without a cluster, and where it is not on this one
	Hardware    Hardware // of it, where it runs and the verb is about that
}

// Manager is how cluster managers differ, as far as a decision depends on it.
type Manager struct {
	Enables bool // a service that is defined is started when told to, not before
	Moves   bool // it moves a VM itself, and leaves it where it was if that fails
	Waits   bool // disabling a service asks the guest first, and ends when the guest is off
	Leaves  bool // it starts the VMs of nodes that failed, and leaves alone those that run: nothing is to be frozen
	Anew    bool // a VM is reset by being started anew, also one that is off
	Wakes   bool // what is restored runs at once: it cannot be kept paused
	Insists bool // a guest that ignores a shutdown is destroyed in the end
	Places  bool // it may choose nodes by what services use of them
}

// silence is the error of a hypervisor that does not answer.
func (m Manager) silence() error {
	if m.Anew {
		return ErrXen
	}
	return ErrHypervisor
}

// Node of a cluster.
type Node struct {
	Name    string
	Online  bool
	Standby bool // takes no services, or is about to leave
	Unclean bool // failed, and not yet known to be off
	Fenced  bool // proved to be off: it left, and the last fencing of it succeeded
}

// Condition is what a cluster says of a service.
type Condition struct {
	Defined  bool
	Stopped  bool     // it is wanted stopped
	Frozen   bool     // the cluster leaves it alone
	Running  []string // nodes that have it; two during a migration
	Pending  string   // what the cluster is doing with it: starting, stopping, migrating, recovering; "" nothing
	Failed   bool
	Blocked  bool // the cluster has given it up until a person helps
	Failures []Failure
}

// Failure is an operation that failed.
type Failure struct{ Node, Operation, Reason string }

func (f Failure) String() string {
	return fmt.Sprintf("%s on %s: %s", f.Operation, f.Node, f.Reason)
}

// Domain is what the hypervisor of a node says of a VM.
type Domain int

// The states of a domain. Unknown is the zero value: nobody has said anything.
const (
	Unknown Domain = iota
	Absent         // no such domain, or shut off
	Active         // running, idle, blocked, or without a state
	Paused
	Dying   // in shutdown
	Crashed // stopped by a failure, and still there
	Asleep  // suspended by the guest itself
)

func (d Domain) String() string {
	return [...]string{"unknown", "absent", "running", "paused", "shutting down", "crashed", "asleep"}[d]
}

// Alive says that the domain holds its disks.
func (d Domain) Alive() bool { return d != Unknown && d != Absent }

// On says whether the cluster has the service on exactly this node.
func (c Condition) On(node string) bool { return len(c.Running) == 1 && c.Running[0] == node }

func (s State) node(name string) (Node, bool) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// uncleanHolder is a failed node that may still run the service.
func (s State) uncleanHolder() string {
	for _, name := range s.Service.Running {
		if n, ok := s.node(name); ok && n.Unclean {
			return name
		}
	}
	return ""
}

func (s State) names() string {
	names := make([]string, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		names = append(names, n.Name)
	}
	return strings.Join(names, ", ")
}

// Command is one call of a program. Its arguments never pass a shell.
type Command struct {
	Program string
	Args    []string
	Stdin   string
	Noise   *regexp.Regexp // lines of its standard error that explain no failure; nil for none
	// Whole: it must not be cut off, since nobody but it completes what it has begun, or since that
	// is completed later and cannot be taken back.
	Whole bool
}

func (c Command) String() string {
	s := c.Program + " " + strings.Join(c.Args, " ")
	if c.Stdin != "" {
		s += " <<< " + c.Stdin
	}
	return s
}

// Hypervisor is the client of a node's hypervisor.
type Hypervisor interface {
	// State is what the hypervisor of this node says of a domain; where that is Unknown, the
	// reason why.
	State(ctx context.Context, s Service) (state Domain, reason string)
	// Commands carry out a step that concerns a domain on this node; none for other steps.
	// document gives the checked domain.
	Commands(o Order, s Step, document func() (string, error)) ([]Command, error)
}

// Performer is a Stack with steps that are more than calls of programs one after the other.
type Performer interface {
	// Perform carries out a step, with deadlines of its own; false where Commands has it.
	Perform(ctx context.Context, o Order, s Step) (done bool, err error)
}

// Stack is a cluster manager, or none.
type Stack interface {
	// Name of the stack, as in agent.conf.
	Name() string
	// Observe sees the state, of the cluster and of this node's hypervisor. ErrDown where
	// the manager does not answer; a hypervisor that does not is State.Domain Unknown.
	Observe(ctx context.Context, s Service) (State, error)
	// Commands carry out a step; none where the stack has nothing to do for it.
	Commands(o Order, s Step) ([]Command, error)
}
