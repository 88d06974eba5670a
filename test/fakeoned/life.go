package fakeoned

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/beevik/etree"
)

// States that the stand-in knows the ways between, as oned numbers them.
const (
	stateActive   = 3
	stateSuspend  = 5
	stateDone     = 6
	statePoweroff = 8

	lcmInit                  = 0
	lcmProlog                = 1
	lcmBoot                  = 2
	lcmRunning               = 3
	lcmMigrate               = 4
	lcmSaveSuspend           = 6
	lcmEpilog                = 11
	lcmUnknown               = 16
	lcmBootFailure           = 36
	lcmPrologFailure         = 39
	lcmEpilogFailure         = 40
	lcmPrologMigratePoweroff = 43
	lcmPrologMigrateUnknown  = 60
	codeAction               = 2048
	parametersOfMigrate      = 7 // with the session, in 7.4
)

// Drivers carry out what oned would have its drivers do.
type Drivers interface {
	// Migrate a running VM. from is where oned has it.
	Migrate(vm int, from, to string) error
	// Deploy it on a host.
	Deploy(vm int, host string) error
}

// Transfers are Drivers that see to a VM's disks, too. With others that is done at once.
type Transfers interface {
	// Prolog makes them on a host, Epilog takes them away there.
	Prolog(vm int, host string) error
	Epilog(vm int, host string) error
	// Move carries them over, of a VM that does not run as far as oned knows.
	Move(vm int, from, to string) error
}

// Live makes the server keep the states of VMs: one.vm.migrate and one.vm.recover change
// them as oned 7.4 does, by drivers, when Settle is called.
func (s *Server) Live(drivers Drivers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drivers = drivers
}

// Settle lets all that was begun come to its end.
func (s *Server) Settle() {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, end := range pending {
		end()
	}
}

// Die forgets all that was begun: a front-end that dies takes its drivers with it, and the oned
// that follows has the states of before.
func (s *Server) Die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = nil
}

// Clock is the time that is written into history records; without, it is this machine's.
func (s *Server) Clock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Begin puts a VM into MIGRATE as if a user had asked for it; Settle ends it.
func (s *Server) Begin(vm int, to string) {
	s.change(vm, func(v *liveVM) { s.liveMigration(vm, v, s.hostID(to), to) })
}

// Monitor reports a VM running on a host, as the probes there do.
func (s *Server) Monitor(vm int, host string) {
	s.change(vm, func(v *liveVM) {
		lost := v.is(stateActive, lcmUnknown) || v.is(statePoweroff, lcmInit) || v.is(stateSuspend, lcmInit)
		if lost && v.host() == host {
			v.runs()
		}
	})
}

// Lose puts a VM into a state, as monitoring or a user would.
func (s *Server) Lose(vm, state, lcm int) { s.change(vm, func(v *liveVM) { v.set(state, lcm) }) }

// At is oned's record of a VM: where, and in which states.
func (s *Server) At(vm int) (host string, state, lcm int) {
	s.change(vm, func(v *liveVM) { host, state, lcm = v.host(), v.number("STATE"), v.number("LCM_STATE") })
	return host, state, lcm
}

// liveVM is the document of a VM that is being changed.
type liveVM struct {
	root *etree.Element
	now  time.Time
}

func (s *Server) change(vm int, f func(*liveVM)) {
	doc := newDocument()
	if err := doc.ReadFromString(s.Document(VMs, vm)); err != nil || doc.Root() == nil {
		panic(fmt.Sprintf("VM %d is not known: %v", vm, err))
	}
	s.mu.Lock()
	now := s.now
	s.mu.Unlock()
	f(&liveVM{doc.Root(), now()})
	s.store(VMs, vm, write(doc))
}

func (v *liveVM) number(name string) int {
	n, err := strconv.Atoi(v.root.SelectElement(name).Text())
	if err != nil {
		panic(err) // our own document
	}
	return n
}

func (v *liveVM) is(state, lcm int) bool {
	return v.number("STATE") == state && v.number("LCM_STATE") == lcm
}

func (v *liveVM) set(state, lcm int) {
	set(v.root, map[string]string{"STATE": strconv.Itoa(state), "LCM_STATE": strconv.Itoa(lcm)})
}

// runs: on the host of the last record, from now on.
func (v *liveVM) runs() {
	v.set(stateActive, lcmRunning)
	set(v.last(), map[string]string{"RSTIME": v.seconds()})
}

func (v *liveVM) seconds() string { return strconv.FormatInt(v.now.Unix(), 10) }

func (v *liveVM) records() []*etree.Element { return v.root.FindElements("HISTORY_RECORDS/HISTORY") }

func (v *liveVM) last() *etree.Element { records := v.records(); return records[len(records)-1] }

func (v *liveVM) host() string { return v.last().SelectElement("HOSTNAME").Text() }

// before is the host of the record before the last one.
func (v *liveVM) before() string {
	records := v.records()
	return records[len(records)-2].SelectElement("HOSTNAME").Text()
}

func (v *liveVM) hostID() int {
	id, err := strconv.Atoi(v.last().SelectElement("HID").Text())
	if err != nil {
		panic(err) // our own document
	}
	return id
}

// stay appends a history record.
func (v *liveVM) stay(hid int, host string) {
	record := v.last().Copy()
	set(record, map[string]string{"SEQ": strconv.Itoa(len(v.records())), "HOSTNAME": host, "HID": strconv.Itoa(hid), "STIME": v.seconds(), "RSTIME": "0"})
	v.root.SelectElement("HISTORY_RECORDS").AddChild(record)
}

func (s *Server) hostID(name string) int {
	for id := range 1000 {
		if s.hostName(id) == name {
			return id
		}
	}
	return -1
}

func (s *Server) hostName(id int) string {
	document := s.Document(Hosts, id)
	if document == "" {
		return ""
	}
	doc := readDocument(document)
	return doc.Root().SelectElement("NAME").Text()
}

func (s *Server) later(end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, end)
}

// migrateVM is one.vm.migrate: what it does depends on the VM's state.
func migrateVM(s *Server, c Call) (any, *failure) {
	id, isInt := intParam(c, 1)
	hid, hasHost := intParam(c, 2)
	if !isInt || !hasHost || len(c.Params) != parametersOfMigrate {
		return nil, &failure{fmt.Sprintf("[%s] Internal Error: bad parameters.", c.Method), codeAPI, id}
	}
	live := c.Params[3] == true
	host := s.hostName(hid)
	if s.Document(VMs, id) == "" || host == "" {
		return nil, &failure{fmt.Sprintf("[%s] Error getting virtual machine [%d].", c.Method, id), codeNoExists, id}
	}
	var refused *failure
	s.change(id, func(v *liveVM) {
		switch {
		case v.is(stateActive, lcmRunning) && live:
			s.liveMigration(id, v, hid, host)
		case v.is(stateActive, lcmUnknown):
			s.movesDisks(id, v, hid, host, lcmPrologMigrateUnknown, func(s *Server, id int, _ *liveVM) {
				s.later(func() { s.boot(id, host, lcmUnknown) })
			})
		case v.is(statePoweroff, lcmInit):
			s.movesDisks(id, v, hid, host, lcmPrologMigratePoweroff, to(statePoweroff, lcmInit))
		default:
			refused = &failure{fmt.Sprintf("[%s] Migrate action is not available in this state.", c.Method), codeAction, id}
		}
	})
	return id, refused
}

// movesDisks begins to carry the disks of a VM that does not run, as far as oned knows, to a
// host; the state of its failure comes after that of its doing.
func (s *Server) movesDisks(id int, v *liveVM, hid int, host string, during int, done way) {
	from := v.host()
	v.set(stateActive, during)
	v.stay(hid, host)
	s.later(func() {
		s.transferred(id, func(t Transfers) error { return t.Move(id, from, host) }, done, during+1)
	})
}

// liveMigration begins one to a host.
func (s *Server) liveMigration(id int, v *liveVM, hid int, host string) {
	from, fromID := v.host(), v.hostID()
	v.set(stateActive, lcmMigrate)
	v.stay(hid, host)
	s.migrating(id, from, fromID, host)
}

// migrating: a failure is a further record of the old host.
func (s *Server) migrating(id int, from string, fromID int, to string) {
	s.later(func() {
		err := s.drivers.Migrate(id, from, to)
		s.change(id, func(v *liveVM) {
			if err != nil {
				v.stay(fromID, from)
			}
			v.runs()
		})
	})
}

// boot deploys a VM; otherwise is the state that a failure leads to.
func (s *Server) boot(id int, host string, otherwise int) {
	s.Lose(id, stateActive, lcmBoot)
	err := s.drivers.Deploy(id, host)
	s.change(id, func(v *liveVM) {
		if err != nil {
			v.set(stateActive, otherwise)
			return
		}
		v.runs()
	})
}

// Changes are the methods that were called, of those that change something.
func (s *Server) Changes() []string {
	var changes []string
	for _, c := range s.Calls() {
		if slices.Contains([]string{"one.vm.migrate", "one.vm.recover"}, c.Method) {
			changes = append(changes, c.Method)
		}
	}
	return changes
}
