package hook

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"one-clvm/opennebula"
)

// Outcome is what a report ends in.
type Outcome string

// The outcomes.
const (
	Done    Outcome = "done"    // oned was told, and its record is right now
	Nothing Outcome = "nothing" // there was nothing to do
	Act     Outcome = "act"     // oned is to be called; never the answer to a report
	Retry   Outcome = "retry"   // later
	Person  Outcome = "person"  // needs a person
	Down    Outcome = "down"    // this front-end, or its oned, cannot: another one may
	Refused Outcome = "refused" // it was no report
)

// Record is what oned has of a VM.
type Record struct {
	Known bool // false: no such VM
	State opennebula.State
	LCM   opennebula.LCMState
	Host  string // of the last history record
	// Since is when oned put it there; zero where its document does not tell.
	Since time.Time
}

// Situation is all that a decision depends on.
type Situation struct {
	Version opennebula.Version
	Record  Record
	Truth   Truth
	Target  int // oned's id of the host Truth.On; opennebula.None: it has none
	// LocalMigrate: oned runs the VMM driver's migrate on the front-end (-l migrate=…).
	LocalMigrate bool
	// Asked is how often oned was called for this VM since its record was right.
	Asked int
}

// Decision is what is to be done, and why.
type Decision struct {
	Outcome Outcome
	Call    opennebula.Request // of Act
	Why     string             // of Person: with what to type
}

// maxAsked: a call that oned accepts and that does not help is not repeated for ever.
const maxAsked = 5

// Decide says how oned's record is brought to the truth. It is a function of the situation
// alone. Where the truth changes meanwhile, the drivers find out: a migration of a VM that
// is at its target already succeeds without moving anything.
func Decide(s Situation) Decision {
	r, t := s.Record, s.Truth
	switch {
	case t.Doubt != "":
		return decision(Retry, "%s", t.Doubt)
	case !r.Known || r.State == opennebula.StateDone:
		return s.unknownVM()
	case t.On == "":
		return decision(Nothing, "it runs on no node; monitoring reports that")
	case t.Moving:
		return decision(Retry, "the cluster is moving it")
	case r.State == opennebula.StateActive && !settled(r.LCM):
		return decision(Retry, "oned is working on it (%s), and is left alone", r.LCM)
	case r.Host == t.On:
		return s.sameHost()
	case r.Since.After(t.Seen):
		return decision(Retry, "it was on %s before oned had it on %s: look again", t.On, orNone(r.Host))
	case s.Target == opennebula.None:
		return decision(Person, "it runs on %s, which is no host of OpenNebula; type: onehost create %[1]s -i IM -v VMM, as for %s", t.On, orNone(r.Host))
	case s.Asked >= maxAsked:
		return decision(Person, "it runs on %s, and oned, which has it on %s, was called %d times in vain; see its log /var/log/one/%d.log, "+
			"then type on a node: one-migrate-hook report %[4]d", t.On, orNone(r.Host), s.Asked, t.VM)
	}
	return s.otherHost()
}

func decision(outcome Outcome, why string, args ...any) Decision {
	return Decision{Outcome: outcome, Why: fmt.Sprintf(why, args...)}
}

func orNone(host string) string {
	if host == "" {
		return "no host"
	}
	return host
}

// settled: oned waits for nothing.
func settled(lcm opennebula.LCMState) bool {
	return lcm == opennebula.LCMRunning || lcm == opennebula.LCMUnknown || failed(lcm)
}

// failed: oned waits for a person.
func failed(lcm opennebula.LCMState) bool { return strings.HasSuffix(lcm.String(), "_FAILURE") }

func (s Situation) unknownVM() Decision {
	if s.Truth.On == "" {
		return decision(Nothing, "OpenNebula has no such VM any more, and it runs nowhere")
	}
	return decision(Person, "it runs on %s, and OpenNebula has no such VM: stop and remove its service in the cluster, then look at its disks: tm-clvm audit", s.Truth.On)
}

func (s Situation) sameHost() Decision {
	r, t := s.Record, s.Truth
	switch {
	case r.State == opennebula.StateActive && r.LCM == opennebula.LCMRunning:
		return decision(Nothing, "oned has it running on %s", t.On)
	case r.State == opennebula.StateActive && r.LCM == opennebula.LCMUnknown:
		return s.call(opennebula.RecoverCall(s.Version, t.VM, opennebula.RecoverSuccess))("it runs on %s, where oned has lost sight of it", t.On)
	case r.State == opennebula.StatePoweroff:
		return decision(Nothing, "it runs on %s again; monitoring reports that", t.On)
	case r.State == opennebula.StateActive && strings.HasPrefix(r.LCM.String(), "BOOT"):
		return decision(Person, "it runs on %s, and oned has it there as %s; type: onevm recover --success %d", t.On, r.LCM, t.VM)
	} // success of any other failed state is the end of the VM or of its disks, or a second start
	return s.contradiction()
}

func (s Situation) otherHost() Decision {
	r, t := s.Record, s.Truth
	running := r.State == opennebula.StateActive && r.LCM == opennebula.LCMRunning
	unknown := r.State == opennebula.StateActive && r.LCM == opennebula.LCMUnknown
	if !running && !unknown && r.State != opennebula.StatePoweroff {
		return s.contradiction()
	}
	switch fate := t.Nodes[r.Host]; {
	case fate != Alive && fate != Fenced:
		return decision(Retry, "%s, where oned has it, is not proved to be off (%s): have the cluster fence it; or look that it is off, then type: onehost offline %[1]s", r.Host, orUnknown(fate))
	case fate == Fenced && (running || unknown) && !s.Version.AtLeast(4, 10, 0):
		return decision(Person, "it runs on %s, and %s, where oned has it, is off: a migration would fail there, as this OpenNebula needs it at its end, too; "+
			"once that node is back, type on a node: one-migrate-hook report %d", t.On, r.Host, t.VM)
	case running && fate == Fenced && !s.Version.AtLeast(4, 14, 0):
		return decision(Retry, "%s is off, where this OpenNebula would have a live migration fail; waits until oned finds that out", r.Host)
	case running && fate == Fenced && !s.LocalMigrate:
		return decision(Retry, "%s is off, and oned would call its driver there; waits until oned finds that out (or set -l migrate=migrate_local for the driver in oned.conf)", r.Host)
	case running:
		return s.call(opennebula.MigrateCall(s.Version, t.VM, s.Target, true))("it runs on %s and no more on %s (%s): live migration that finds its work done", t.On, r.Host, fate)
	case unknown && s.Version.AtLeast(4, 10, 0):
		return s.call(opennebula.MigrateCall(s.Version, t.VM, s.Target, false))("it runs on %s, and oned lost it on %s (%s): migration whose deploy finds it running", t.On, r.Host, fate)
	case unknown:
		return s.call(opennebula.RecoverCall(s.Version, t.VM, opennebula.RecoverSuccess))("it runs on %s, and oned lost it on %s (%s): RUNNING first, then the migration", t.On, r.Host, fate)
	case s.Version.AtLeast(4, 14, 0):
		return s.call(opennebula.MigrateCall(s.Version, t.VM, s.Target, false))("it runs on %s, and oned has it powered off on %s (%s): cold migration, then monitoring reports it running", t.On, r.Host, fate)
	}
	return s.contradiction()
}

func orUnknown(fate Fate) Fate {
	if fate == "" {
		return "its state is not known"
	}
	return fate
}

// call gives the decision to make a call, or the person's turn where there is no such call.
func (s Situation) call(call opennebula.Request, err error) func(why string, args ...any) Decision {
	return func(why string, args ...any) Decision {
		d := Decision{Outcome: Act, Call: call, Why: fmt.Sprintf(why, args...)}
		switch {
		case errors.Is(err, opennebula.ErrVersion) && s.Version == (opennebula.Version{}):
			return decision(Person, "%s: %v; set VERSION in hook.conf", d.Why, err)
		case errors.Is(err, opennebula.ErrVersion):
			return decision(Person, "%s: %v; have the cluster run it on %s again if it does not, then type: onevm restart %d", d.Why, err, s.Record.Host, s.Truth.VM)
		}
		return d
	}
}

// contradiction: running is not what oned believes, and there is no safe way.
func (s Situation) contradiction() Decision {
	r, t := s.Record, s.Truth
	state := r.State.String()
	if r.State == opennebula.StateActive {
		state = r.LCM.String()
	}
	text := fmt.Sprintf("it runs on %s, and oned has it as %s (%s)", t.On, state, orNone(r.Host))
	if r.State == opennebula.StateActive {
		return decision(Person, "%s; see: vmm-rhcs recover --dry-run", text)
	}
	return decision(Person, "%s: stop its service in the cluster; do not resume or deploy it before, two copies would write to its disks", text)
}
