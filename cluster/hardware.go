package cluster

import (
	"fmt"
	"slices"
)

// Hardware is what a running domain has, as the hypervisor of its node says.
type Hardware struct {
	Disks map[string]string // by target: device or file; "" for an empty drive
	NICs  []string          // MAC addresses, lower case
	// CPUs and MemoryMiB are what it may grow to without a new start.
	CPUs      int
	MemoryMiB int64
	// CPUsNow and MemoryMiBNow are what it has; 0 unknown.
	CPUsNow      int
	MemoryMiBNow int64
}

// Device is the disk or the NIC that a verb is about: Target or MAC says which.
type Device struct {
	Target   string // of a disk: vda
	Path     string // of a disk: device or file, on this node
	MAC      string // of a NIC
	Type     string // of a NIC: bridge, …
	Document string // what the hypervisor is given to attach it, checked
}

func (d Device) String() string {
	if d.MAC != "" {
		return d.MAC
	}
	return d.Target
}

// has says whether the domain has the device; an error, that something else is there.
func (h Hardware) has(d Device) (bool, error) {
	if d.MAC != "" {
		return slices.Contains(h.NICs, d.MAC), nil
	}
	path, found := h.Disks[d.Target]
	if found && d.Path != "" && path != "" && path != d.Path {
		return true, fmt.Errorf("%s is %s, not %s", d.Target, path, d.Path)
	}
	return found, nil
}

// hardwareVerbs change what a running domain has.
var hardwareVerbs = []Verb{
	VerbAttachDisk, VerbDetachDisk, VerbAttachNIC, VerbDetachNIC, VerbResize, VerbResizeDisk, VerbEject, VerbInsert,
}

// ChangesHardware says that the verb is about what a running domain has.
func (v Verb) ChangesHardware() bool { return slices.Contains(hardwareVerbs, v) }

// decideHardware: first the running domain, then the definition that the cluster starts it
// from. Died in between, the next start forgets the change, as OpenNebula does, which was
// told of none; the same verb again finds the first half done.
func decideHardware(o Order, s State) (Plan, error) {
	if err := s.mustRun(o); err != nil {
		return Plan{}, err
	}
	var plan Plan
	var err error
	switch o.Verb {
	case VerbAttachDisk, VerbAttachNIC:
		plan, err = decideAttach(o, s)
	case VerbDetachDisk, VerbDetachNIC:
		plan, err = decideDetach(o, s)
	case VerbEject, VerbInsert:
		plan, err = decideMedium(o, s)
	case VerbResizeDisk:
		plan, err = decideGrow(o, s)
	case VerbResize:
		plan, err = decideResize(o, s)
	}
	if err != nil {
		return Plan{}, err
	}
	return thawed(s.Service, plan), nil
}

// mustRun: the verb needs the running domain.
func (s State) mustRun(o Order) error {
	if s.Clustered {
		return s.mustRunHere(o)
	}
	if err := s.hypervisorAnswers(o); err != nil {
		return err
	}
	if !s.Domain.Alive() {
		return refuse("%s does not run on %s (the hypervisor says: %s)", o.Service.Name, o.Node, s.Domain)
	}
	return nil
}

func decideAttach(o Order, s State) (Plan, error) {
	there, err := s.Hardware.has(o.Device)
	switch {
	case err != nil:
		return Plan{}, refuse("%s cannot be attached: %v", o.Device, err)
	case there:
		return Plan{Note: o.Device.String() + " is attached already", Steps: []Step{{Action: Store}}}, nil
	}
	back := []Step{{Action: Detach, Enough: Detached}, await(Detached, "", o.Service.Patience.Settle)}
	return Plan{Steps: []Step{{Action: Attach, Undo: back}, {Action: Store}}}, nil
}

// decideDetach waits for the guest, which has to let go of the device. What it does later
// than that the same verb finds.
func decideDetach(o Order, s State) (Plan, error) {
	there, err := s.Hardware.has(o.Device)
	switch {
	case err != nil:
		return Plan{}, refuse("%s cannot be detached: %v", o.Device, err)
	case !there:
		return Plan{Note: o.Device.String() + " is detached already", Steps: []Step{{Action: Store}}}, nil
	}
	gone := await(Detached, "", o.Service.Patience.Settle)
	if o.Device.Document != "" {
		gone.Undo = []Step{{Action: Attach}}
	}
	return Plan{Steps: []Step{{Action: Detach, Enough: Detached}, gone, {Action: Store}}}, nil
}

// decideMedium: the definition keeps its CD, so that a start in between has one.
func decideMedium(o Order, s State) (Plan, error) {
	path, found := s.Hardware.Disks[o.Device.Target]
	switch {
	case !found:
		return Plan{}, refuse("%s has no drive %s", o.Service.Name, o.Device.Target)
	case o.Verb == VerbEject && path == "":
		return Plan{Note: "the drive is empty already"}, nil
	case o.Verb == VerbEject:
		return Plan{Steps: []Step{{Action: Eject}}}, nil
	case path == o.Device.Path:
		return Plan{Note: "it is in the drive already"}, nil
	case path != "":
		return Plan{Steps: []Step{{Action: Eject}, {Action: Insert}}}, nil
	}
	return Plan{Steps: []Step{{Action: Insert}}}, nil
}

// decideGrow tells the guest a volume's new size; the definition has no sizes.
func decideGrow(o Order, s State) (Plan, error) {
	for _, path := range s.Hardware.Disks {
		if path == o.Device.Path {
			return Plan{Steps: []Step{{Action: Grow}}}, nil
		}
	}
	return Plan{}, refuse("%s has no disk %s attached", o.Service.Name, o.Device.Path)
}

// decideResize changes what is to be different: oned tells both, and memory needs a guest with
// a balloon. A cluster that died without the last step places the VM by what it used before.
func decideResize(o Order, s State) (Plan, error) {
	h := s.Hardware
	switch {
	case o.CPUs > h.CPUs:
		return Plan{}, refuse("%s was started with at most %d processors, not %d: set VCPU_MAX, or power it off first", o.Service.Name, h.CPUs, o.CPUs)
	case o.MemoryMiB > h.MemoryMiB:
		return Plan{}, refuse("%s was started with at most %d MiB, not %d: set MEMORY_MAX, or power it off first", o.Service.Name, h.MemoryMiB, o.MemoryMiB)
	}
	resize := Step{Action: Resize, CPUs: o.CPUs, MemoryMiB: o.MemoryMiB}
	if h.CPUsNow == o.CPUs {
		resize.CPUs = 0
	}
	if h.MemoryMiBNow == o.MemoryMiB {
		resize.MemoryMiB = 0
	}
	plan := Plan{Note: "it has that already"}
	if resize.CPUs > 0 || resize.MemoryMiB > 0 {
		plan = Plan{Steps: []Step{resize}}
	}
	plan.Steps = append(plan.Steps, Step{Action: Store})
	if s.Manager.Places {
		plan.Steps = append(plan.Steps, Step{Action: Declare})
	}
	return plan, nil
}
