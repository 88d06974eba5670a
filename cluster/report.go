package cluster

import "slices"

// Figures are what a domain has used. Counters are since its start.
type Figures struct {
	CPUNanoseconds        int64
	MemoryKiB             int64 // resident, else what its balloon leaves it
	NetRX, NetTX          int64 // bytes
	ReadBytes, WriteBytes int64 // of all disks
	ReadOps, WriteOps     int64
}

// Sighting is what a hypervisor says of one of its node's domains.
type Sighting struct {
	State   Domain
	Figures *Figures // nil where it has none
}

// Report is what OpenNebula is told of a VM.
type Report string

// The reports.
const (
	ReportRunning   Report = "running"
	ReportSuspended Report = "suspended"
	ReportFailed    Report = "failed"
	ReportOff       Report = "off"
	// ReportUnknown: it is being acted on, or another node has it. oned concludes nothing.
	ReportUnknown Report = "unknown"
)

// Judge says what the state of a VM is for OpenNebula, and whether it is this node's to
// tell: oned takes a VM that another host tells of for a stray one. The hypervisor must
// have answered.
func Judge(s State) (report Report, here bool) {
	switch s.Domain {
	case Active, Dying:
		return ReportRunning, true
	case Paused, Asleep:
		return ReportSuspended, true
	case Crashed:
		return ReportFailed, true
	}
	c := s.Service
	if !s.Clustered || !c.Defined && len(c.Running) == 0 {
		return ReportOff, false
	}
	mine := slices.Contains(c.Running, s.Self)
	failedHere := slices.ContainsFunc(c.Failures, func(f Failure) bool { return f.Node == s.Self })
	switch {
	case s.uncleanHolder() != "", s.Maintenance, !s.Quorate:
		return ReportUnknown, mine
	case c.Blocked, c.Failed:
		return ReportFailed, mine || failedHere
	case c.Pending != "", c.Frozen, len(c.Running) > 0:
		return ReportUnknown, mine
	case c.Stopped: // a manager that leaves alone what has ended leaves it to this node
		return ReportOff, s.Manager.Leaves
	case len(c.Failures) > 0:
		return ReportFailed, failedHere
	}
	return ReportUnknown, false // the cluster is about to start it
}
