package cluster

import (
	"fmt"
	"strings"
)

// Reached says whether a goal is reached in a state; an error, that it will not be.
func Reached(goal Goal, node string, o Order, s State) (bool, error) {
	c := s.Service
	switch goal {
	case Off:
		return s.Domain == Absent, nil
	case Resumed:
		return s.Domain == Active, nil
	case Ended:
		if s.Domain == Active {
			return false, fmt.Errorf("%w: it was aborted, and %s runs on", ErrTimeout, o.Service.Name)
		}
		return s.Domain == Absent, nil
	case Frozen:
		return c.Frozen && c.Pending == "", nil
	case Stopped:
		return stopped(o, s)
	case Running:
		return running(node, o, s)
	case Detached:
		there, err := s.Hardware.has(o.Device)
		return !there && s.Domain.Alive(), err
	}
	return false, fmt.Errorf("no goal %q", goal)
}

func stopped(o Order, s State) (bool, error) {
	c := s.Service
	if holder := s.uncleanHolder(); holder != "" {
		return false, nil // until it is fenced
	}
	if c.Blocked {
		return false, fmt.Errorf("%w to stop %s: %s: see that the domain is gone, then cancel the VM again", ErrFailed, o.Service.Name, reasons(c.Failures))
	}
	here := s.Domain.Alive() && (c.Defined && len(c.Running) == 0 || c.On(s.Self))
	return len(c.Running) == 0 && c.Pending == "" && !here, nil
}

// running: the hypervisor has the last word, where it can be asked.
func running(node string, o Order, s State) (bool, error) {
	c := s.Service
	if !s.Clustered {
		return s.Domain == Active || s.Domain == Paused, nil
	}
	for _, f := range c.Failures {
		if f.Operation == "start" && f.Node == node && c.Pending == "" && len(c.Running) == 0 {
			return false, fmt.Errorf("%w to start %s: %s", ErrFailed, o.Service.Name, reasons(c.Failures))
		}
	}
	switch {
	case c.Blocked:
		return false, fmt.Errorf("%w with %s: %s", ErrFailed, o.Service.Name, reasons(c.Failures))
	case c.Pending == "" && len(c.Running) == 1 && !c.On(node) && !c.Frozen: // frozen, it is where the cluster saw it last
		return false, fmt.Errorf("%w: the cluster started %s on %s instead of %s: %s", ErrFailed, o.Service.Name, strings.Join(c.Running, " "), node, reasons(c.Failures))
	case !c.On(node) || c.Pending != "" || c.Failed:
		return false, nil
	case node != s.Self:
		return true, nil
	}
	return s.Domain == Active || s.Domain == Paused, nil
}
