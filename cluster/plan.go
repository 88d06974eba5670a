package cluster

import (
	"fmt"
	"strings"
	"time"
)

// Verb is what OpenNebula asks of a service.
type Verb string

// The verbs.
const (
	VerbStart    Verb = "deploy"
	VerbShutdown Verb = "shutdown"
	VerbCancel   Verb = "cancel"
	VerbReboot   Verb = "reboot"
	VerbReset    Verb = "reset"
	VerbSave     Verb = "save"
	VerbRestore  Verb = "restore"
	VerbMigrate  Verb = "migrate"

	VerbAttachDisk Verb = "attach_disk"
	VerbDetachDisk Verb = "detach_disk"
	VerbAttachNIC  Verb = "attach_nic"
	VerbDetachNIC  Verb = "detach_nic"
	VerbResize     Verb = "resize"      // processors and memory
	VerbResizeDisk Verb = "resize_disk" // the guest learns what its volume has
	VerbEject      Verb = "prereconfigure"
	VerbInsert     Verb = "reconfigure"
)

// Order is one verb for one service.
type Order struct {
	Verb    Verb
	Service Service
	Node    string    // where OpenNebula has the VM
	To      string    // of a migration
	File    string    // checkpoint of save and restore
	Now     time.Time // when it was given

	Device    Device // of the verbs that change the hardware
	SizeMiB   int64  // of resize_disk
	CPUs      int    // of resize; 0 as it is
	MemoryMiB int64  // of resize; 0 as it is
}

// Action is what a step does.
type Action string

// The actions: of files, of the cluster, of the hypervisor of this node, of the volumes, and waiting.
const (
	Store    Action = "store"    // the definition, where the service is started from
	Define   Action = "define"   // the service, wanted running, on Step.Node if possible
	Enable   Action = "enable"   // start it, on Step.Node
	Disable  Action = "disable"  // want it stopped
	Freeze   Action = "freeze"   // have the cluster leave it alone, until Step.Until at most
	Thaw     Action = "thaw"     // have the cluster manage it again
	Prefer   Action = "prefer"   // Step.Node from now on
	Declare  Action = "declare"  // what the service uses of its node
	Forget   Action = "forget"   // the cluster's failures with it, and look anew where it is
	Remove   Action = "remove"   // the definition
	Create   Action = "create"   // start the domain
	Ask      Action = "ask"      // the guest to shut down
	Destroy  Action = "destroy"  // the domain
	Reboot   Action = "reboot"   // the guest
	Reset    Action = "reset"    // the domain
	Save     Action = "save"     // the memory into Step.File
	Restore  Action = "restore"  // it, paused, but where the manager wakes it
	Resume   Action = "resume"   // the domain that was restored
	Discard  Action = "discard"  // Step.File, whose memory is older than what the disks become
	Abort    Action = "abort"    // what the domain is being saved or moved by, without its program
	Move     Action = "move"     // the domain to Step.Node, live
	Activate Action = "activate" // the volumes, exclusively on this node
	Release  Action = "release"  // them
	Attach   Action = "attach"   // Order.Device to the domain
	Detach   Action = "detach"   // it from the domain, once the guest lets go
	Eject    Action = "eject"    // the medium of the drive
	Insert   Action = "insert"   // Order.Device into the drive
	Grow     Action = "grow"     // Order.Device, for the guest
	Resize   Action = "resize"   // processors and memory of the domain
	Await    Action = "await"    // Step.For
)

// Goal is what is waited for.
type Goal string

// The goals.
const (
	Running Goal = "running" // on Step.Node, and where that is this one the hypervisor says so
	Stopped Goal = "stopped" // on all nodes
	Frozen  Goal = "frozen"
	Off     Goal = "off" // the hypervisor of this node says that the domain is gone
	Resumed Goal = "resumed"
	Ended   Goal = "ended" // a save or a move that was aborted: it is done if the domain is gone, and failed if that runs

	Detached Goal = "detached" // the same of Order.Device
)

// Step of a plan.
type Step struct {
	Action Action
	Node   string
	File   string
	Until  time.Time
	For    Goal
	Limit  time.Duration // of a wait, or of the programs; 0: Patience.Settle

	CPUs      int   // of Resize; 0 as it is
	MemoryMiB int64 // the same

	// Undo are steps that take this one back if a later one fails.
	Undo []Step
	// Enough: if the step fails while this goal is reached, all is well.
	Enough Goal
	// Instead are done in the step's place if it fails.
	Instead []Step
	// Late are done in the step's place if its programs ran into Limit: what they had begun goes
	// on without them.
	Late []Step
	// Commit: once the step is done, what came before it is not taken back any more.
	Commit bool
}

func (s Step) String() string {
	text := string(s.Action)
	switch s.Action {
	case Await:
		text = "await " + string(s.For)
		if s.Node != "" {
			text += " on " + s.Node
		}
		return text + " for " + s.Limit.String()
	case Define, Enable, Prefer, Move:
		text += " " + s.Node
	case Freeze:
		text += " until " + s.Until.UTC().Format(time.RFC3339)
	case Save, Restore, Discard:
		text += " " + s.File
	case Resize:
		var to []string
		if s.CPUs > 0 {
			to = append(to, fmt.Sprintf("%d processors", s.CPUs))
		}
		if s.MemoryMiB > 0 {
			to = append(to, fmt.Sprintf("%d MiB", s.MemoryMiB))
		}
		text += " to " + strings.Join(to, " and ")
	}
	return text
}

// Plan is what to do. One without steps is done already; Note says why, or what is unusual.
type Plan struct {
	Note  string
	Steps []Step
}

func (p Plan) String() string {
	var out strings.Builder
	if p.Note != "" {
		fmt.Fprintf(&out, "note: %s\n", p.Note)
	}
	for i, step := range p.Steps {
		fmt.Fprintf(&out, "%d. %s\n", i+1, step)
		for _, undo := range step.Undo {
			fmt.Fprintf(&out, "   undo: %s\n", undo)
		}
		for _, instead := range step.Instead {
			fmt.Fprintf(&out, "   if it fails: %s\n", instead)
		}
		for _, late := range step.Late {
			fmt.Fprintf(&out, "   if it is late: %s\n", late)
		}
		if step.Enough != "" {
			fmt.Fprintf(&out, "   enough: %s\n", step.Enough)
		}
		if step.Commit {
			fmt.Fprintf(&out, "   no way back\n")
		}
	}
	return out.String()
}

func await(goal Goal, node string, limit time.Duration) Step {
	return Step{Action: Await, For: goal, Node: node, Limit: limit}
}
