// Package recovery ends what oned waits for in vain: VMs in transient states whose driver is
// gone, after a failover of the front-end or of a node. What the nodes, the cluster and the
// volumes say are facts; the decision is a function of oned's state and of them; and what is
// not clear needs a person.
package recovery

import (
	"one-clvm/hook"
	"one-clvm/opennebula"
)

// Disks is what became of a VM's volumes, as their tags say. The zero value is not to know.
type Disks string

// The states of a VM's volumes; of several disks the worst counts.
const (
	Whole    Disks = "whole"
	Building Disks = "building" // one was never completed
	Half     Disks = "half"     // an operation on one has not ended
	Missing  Disks = "missing"  // one is not there
	Gone     Disks = "gone"     // none is there
)

// Checkpoint is what became of a VM's saved memory. The zero value is not to know.
type Checkpoint string

// The states of a checkpoint.
const (
	Saved   Checkpoint = "saved"   // complete, by libvirt's own mark in it
	Partial Checkpoint = "partial" // its writing was cut off
	Absent  Checkpoint = "absent"
)

// Facts is what is known of a stuck VM besides oned's record.
type Facts struct {
	// Truth is where the VM runs, and the fates of the nodes. Truth.Doubt: that is not known.
	Truth      hook.Truth `json:"truth"`
	Disks      Disks      `json:"disks"`
	Checkpoint Checkpoint `json:"checkpoint"`
	// Busy is what still works for the VM; "" nothing. It is then not stuck.
	Busy string `json:"busy,omitempty"`
}

// Stuck is a VM in a state in which oned waits for something.
type Stuck struct {
	Version  opennebula.Version
	VM       int
	State    opennebula.State
	LCM      opennebula.LCMState
	Host     string // of the last history record: of a migration, the target
	Previous string // of the record before; "" there is none
	Facts    Facts
}

// Name of the state, as onevm shows it.
func (s Stuck) Name() string {
	if s.State == opennebula.StateActive {
		return s.LCM.String()
	}
	return s.State.String()
}
