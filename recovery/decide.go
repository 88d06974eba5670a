package recovery

import (
	"fmt"
	"strings"

	"one-clvm/hook"
	"one-clvm/opennebula"
)

// Action is what is to be done with a stuck VM.
type Action string

// The actions. The first three are the words of onevm recover.
const (
	Success Action = "success"
	Failure Action = "failure"
	Retry   Action = "retry"
	Wait    Action = "wait"   // it is not stuck, or somebody else is about to change it
	Person  Action = "person" // it is not clear
)

// Acts says whether a call of oned belongs to it.
func (a Action) Acts() bool {
	_, acts := recoveries[a]
	return acts
}

// Decision is what is to be done, why, and what a person would type for it.
type Decision struct {
	Action Action `json:"action"`
	Why    string `json:"why"`
	// Command is the exact one; of Person one that ends the state once the doubt is gone.
	Command string `json:"command"`
}

// Decide judges a stuck VM. It is a function of what is known alone. Nothing is decided by
// probability: a fact that is missing makes it a person's.
func Decide(s Stuck) Decision {
	f, known := families[s.LCM]
	if s.State != opennebula.StateActive {
		f, known = nil, false
	}
	var d Decision
	t := s.Facts.Truth
	switch {
	case !known:
		d = s.nothing()
	case s.Facts.Busy != "":
		d = s.wait("%s is still at work", s.Facts.Busy)
	case t.Moving:
		d = s.wait("the cluster is about to start, stop or move it")
	case t.Doubt != "":
		d = s.person("where it runs is not certain: "+t.Doubt, "vmm-rhcs recover --dry-run")
	case s.unproved() != "":
		d = s.wait("%s is not proved to be off: have the cluster fence it; or look that it is off, then type on a node that lives: stonith_admin --confirm %[1]s, or on the front-end: onehost offline %[1]s", s.unproved())
	default:
		d = f(s)
	}
	return s.possible(d)
}

func (s Stuck) nothing() Decision {
	return s.person("oned waits for nothing that a recovery could end here", "onevm show %d", s.VM)
}

// unproved is a node that the VM may still be on or use its disks from: one that neither
// lives nor is fenced. "" where there is none, or where the VM is seen running elsewhere.
func (s Stuck) unproved() string {
	t := s.Facts.Truth
	if t.On != "" {
		return ""
	}
	hosts := []string{s.Host}
	if strings.Contains(s.LCM.String(), "MIGRATE") { // of the others, it left the host before long ago
		hosts = append(hosts, s.Previous)
	}
	for _, node := range hosts {
		if fate := t.Nodes[node]; node != "" && fate != hook.Alive && fate != hook.Fenced {
			return node
		}
	}
	return ""
}

// possible leaves to a person what the version of oned has no call for.
func (s Stuck) possible(d Decision) Decision {
	how, acts := recoveries[d.Action]
	if !acts {
		return d
	}
	if _, err := opennebula.RecoverCall(s.Version, s.VM, how); err != nil {
		return s.person(fmt.Sprintf("%s; to be ended by %s, but %v", d.Why, d.Action, err), "onevm show %d", s.VM)
	}
	return d
}

// recoveries are the calls of the actions.
var recoveries = map[Action]opennebula.Recovery{
	Success: opennebula.RecoverSuccess, Failure: opennebula.RecoverFailure, Retry: opennebula.RecoverRetry,
}

func (s Stuck) act(action Action, why string, args ...any) Decision {
	return Decision{action, fmt.Sprintf(why, args...), fmt.Sprintf("onevm recover --%s %d", action, s.VM)}
}

func (s Stuck) wait(why string, args ...any) Decision {
	return Decision{Wait, fmt.Sprintf(why, args...), "vmm-rhcs recover --dry-run"}
}

func (s Stuck) person(why, command string, args ...any) Decision {
	if strings.Contains(command, "%") {
		command = fmt.Sprintf(command, args...)
	}
	return Decision{Person, why, command}
}

// family judges the states of one kind.
type family func(s Stuck) Decision

// families are the states that end with a driver's answer.
var families = func() map[opennebula.LCMState]family {
	all := map[opennebula.LCMState]family{}
	for _, f := range []struct {
		judge  family
		states []opennebula.LCMState
	}{
		{boot, []opennebula.LCMState{2, 19, 20, 36}},
		{bootOfUndeployed, []opennebula.LCMState{32, 47}},
		{bootFromCheckpoint, []opennebula.LCMState{21, 22, 35, 37, 48}},
		{prolog, []opennebula.LCMState{1, 39}},
		{prologElsewhere, []opennebula.LCMState{8, 9, 31, 38, 43, 44, 45, 46, 49, 50, 60, 61}},
		{migrate, []opennebula.LCMState{4}},
		{save, []opennebula.LCMState{5, 6, 7}},
		{shutdown, []opennebula.LCMState{12, 13, 18, 29}},
		{epilog, []opennebula.LCMState{10, 11, 30, 40, 41, 42}},
		{cleanup, []opennebula.LCMState{15, 23}},
		{unknown, []opennebula.LCMState{16}},
		{failing, []opennebula.LCMState{14}},
		{onDisks, []opennebula.LCMState{26, 27, 28, 62, 63, 64, 67, 68, 69, 70, 71}},
		{onSnapshots, []opennebula.LCMState{51, 52, 53, 54, 55, 56, 57, 58, 59}},
		{onDevices, []opennebula.LCMState{17, 24, 25, 33, 34, 65, 66}},
	} {
		for _, state := range f.states {
			all[state] = f.judge
		}
	}
	return all
}()

// elsewhere: it runs, and not where oned waits for it. What leads to RUNNING lets the hook put
// the host right; a retry would start it a second time, and anything else take its disks away.
func (s Stuck) elsewhere(running Action) Decision {
	return s.person(fmt.Sprintf("it runs on %s, where oned does not expect it: once oned says RUNNING, one-migrate-hook reconcile puts that right", s.Facts.Truth.On),
		"onevm recover --%s %d", running, s.VM)
}

// disks: what keeps the VM from being started on its volumes; false: nothing does.
func (s Stuck) disks() (Decision, bool) {
	switch s.Facts.Disks {
	case Whole:
		return Decision{}, false
	case "":
		return s.person("its volumes could not be looked at", "tm-clvm audit"), true
	}
	return s.person(fmt.Sprintf("it runs nowhere, and its volumes are %s", s.Facts.Disks), "tm-clvm audit"), true
}
