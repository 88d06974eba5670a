package fakeoned

import "fmt"

// The operations of one.vm.recover since 4.14.
const (
	recoverFailure = 0
	recoverSuccess = 1
	recoverRetry   = 2
)

// recoverVM is one.vm.recover, which takes a driver's answer for given, or has it asked again.
// The ways are those of oned 7.4; of states that are not here, the server says that it is not
// available.
func recoverVM(s *Server, c Call) (any, *failure) {
	id, isInt := intParam(c, 1)
	operation, hasOperation := intParam(c, 2)
	if !isInt || !hasOperation || len(c.Params) != 3 {
		return nil, &failure{fmt.Sprintf("[%s] Internal Error: bad parameters.", c.Method), codeAPI, id}
	}
	if s.Document(VMs, id) == "" {
		return nil, &failure{fmt.Sprintf("[%s] Error getting virtual machine [%d].", c.Method, id), codeNoExists, id}
	}
	var refused *failure
	s.change(id, func(v *liveVM) {
		way := recoveries[[2]int{v.number("LCM_STATE"), operation}]
		if way == nil || v.number("STATE") != stateActive {
			refused = &failure{fmt.Sprintf("[%s] Recover action is not available in this state.", c.Method), codeAction, id}
			return
		}
		way(s, id, v)
	})
	return id, refused
}

// way is what an operation does to a VM in a state.
type way func(s *Server, id int, v *liveVM)

// to is a state.
func to(state, lcm int) way { return func(_ *Server, _ int, v *liveVM) { v.set(state, lcm) } }

func running(_ *Server, _ int, v *liveVM) { v.runs() }

// recoveries are the ways out, by LCM_STATE and operation.
var recoveries = map[[2]int]way{
	{lcmUnknown, recoverSuccess}: running,
	{lcmUnknown, recoverFailure}: running,

	{lcmProlog, recoverSuccess}: prologDone,
	{lcmProlog, recoverFailure}: to(stateActive, lcmPrologFailure),
	{lcmProlog, recoverRetry}: func(s *Server, id int, v *liveVM) {
		host := v.host()
		s.later(func() {
			s.transferred(id, func(t Transfers) error { return t.Prolog(id, host) }, prologDone, lcmPrologFailure)
		})
	},

	{lcmBoot, recoverSuccess}: running,
	{lcmBoot, recoverFailure}: to(stateActive, lcmBootFailure),
	{lcmBoot, recoverRetry}:   deploys,

	{lcmMigrate, recoverSuccess}: running,
	{lcmMigrate, recoverFailure}: func(s *Server, _ int, v *liveVM) {
		from := v.before()
		v.stay(s.hostID(from), from)
		v.runs()
	},
	{lcmMigrate, recoverRetry}: func(s *Server, id int, v *liveVM) {
		from := v.before()
		s.migrating(id, from, s.hostID(from), v.host())
	},

	{lcmSaveSuspend, recoverSuccess}: to(stateSuspend, lcmInit),
	{lcmSaveSuspend, recoverFailure}: running,

	{lcmEpilog, recoverSuccess}: to(stateDone, lcmInit),
	{lcmEpilog, recoverFailure}: to(stateActive, lcmEpilogFailure),
	{lcmEpilog, recoverRetry}: func(s *Server, id int, v *liveVM) {
		host := v.host()
		s.later(func() {
			s.transferred(id, func(t Transfers) error { return t.Epilog(id, host) }, to(stateDone, lcmInit), lcmEpilogFailure)
		})
	},
}

func prologDone(s *Server, id int, v *liveVM) {
	v.set(stateActive, lcmBoot)
	deploys(s, id, v)
}

func deploys(s *Server, id int, v *liveVM) {
	host := v.host()
	s.later(func() { s.boot(id, host, lcmBootFailure) })
}

// transferred has a VM's disks seen to, and goes on.
func (s *Server) transferred(id int, transfer func(Transfers) error, done way, failed int) {
	var err error
	if t, ok := s.drivers.(Transfers); ok {
		err = transfer(t)
	}
	s.change(id, func(v *liveVM) {
		if err != nil {
			v.set(stateActive, failed)
			return
		}
		done(s, id, v)
	})
}
