package audit

import (
	"fmt"

	"one-clvm/agent"
	"one-clvm/opennebula"
)

// machines compares what runs with oned and with the cluster. Nothing of it is repaired
// here: ending or starting a machine is for a person to decide.
func (s *State) machines() []Finding {
	runs := map[int][]*Node{}
	for i := range s.Nodes {
		if s.Nodes[i].Report.Audit == nil {
			continue
		}
		for _, d := range s.Nodes[i].Report.Audit.Domains {
			runs[d.VM] = append(runs[d.VM], &s.Nodes[i])
		}
	}
	var all []Finding
	for _, id := range sortedKeys(runs) {
		if f, found := s.judgeMachine(id, runs[id]); found {
			all = append(all, f)
		}
	}
	for _, id := range sortedKeys(s.VMs) {
		vm := s.VMs[id]
		at := s.node(host(vm))
		if len(runs[id]) == 0 && running(vm) && at != nil && at.Report.Audit != nil && at.Report.Audit.Domains != nil {
			all = append(all, Finding{Kind: Machine, Object: fmt.Sprintf("VM %d", id), Why: fmt.Sprintf("oned takes it for running on %s, and it runs nowhere", host(vm)),
				Repair: fmt.Sprintf("onevm show %d; start it again: onevm poweroff --hard %d, onevm resume %d", id, id, id)})
		}
	}
	return all
}

func (s *State) judgeMachine(id int, nodes []*Node) (Finding, bool) {
	f := Finding{Kind: Machine, Object: fmt.Sprintf("VM %d", id)}
	vm, known := s.VMs[id]
	switch {
	case known && migrating(vm):
		return f, false // two for a while
	case len(nodes) > 1:
		f.Why = "it runs on " + names(nodes) + ": two machines write the same disks"
		f.Repair = fmt.Sprintf("now, on all of these nodes but one: virsh destroy one-%d; then check its file systems", id)
	case !known:
		f.Why = fmt.Sprintf("it runs on %s, and oned does not have it", nodes[0].name())
		f.Repair = fmt.Sprintf("find out whose it is; on %s: virsh shutdown one-%d", nodes[0].name(), id)
	case !Settled(vm):
		return f, false
	case vm.State != opennebula.StateActive:
		f.Why = fmt.Sprintf("it runs on %s, and for oned it is %s", nodes[0].name(), StateOf(vm))
		f.Repair = fmt.Sprintf("on %s: virsh shutdown one-%d; or start it in oned", nodes[0].name(), id)
	case !nodes[0].is(host(vm)):
		f.Why = fmt.Sprintf("it runs on %s, and oned has it on %s", nodes[0].name(), host(vm))
		f.Repair = fmt.Sprintf("tell oned, or bring it back: on %s: virsh migrate --live one-%d qemu+ssh://%s/system", nodes[0].name(), id, host(vm))
	default:
		return s.judgeService(vm, nodes[0])
	}
	return f, true
}

// judgeService: where there is a cluster manager, it has to have the machine, or nobody
// starts it again when its node dies.
func (s *State) judgeService(vm opennebula.VM, at *Node) (Finding, bool) {
	f := Finding{Kind: Unowned, Object: fmt.Sprintf("VM %d", vm.ID), Repair: fmt.Sprintf("deploy it again: onevm poweroff %d, onevm resume %d", vm.ID, vm.ID)}
	services := s.services()
	if services == nil {
		return f, false
	}
	service, owned := services[vm.ID]
	switch {
	case !owned:
		f.Why = fmt.Sprintf("it runs on %s, and the cluster has no service for it: nobody starts it again when the node dies", at.name())
	case !service.Started:
		f.Why = fmt.Sprintf("it runs on %s, and its service is not started", at.name())
	case service.Node != "" && !at.is(service.Node):
		f.Why = fmt.Sprintf("it runs on %s, and the cluster has it on %s", at.name(), service.Node)
	default:
		return f, false
	}
	return f, true
}

// services are those of the cluster, as the first node tells that can; nil without one.
func (s *State) services() map[int]agent.Service {
	for _, n := range s.Nodes {
		if n.Report.Audit == nil || n.Report.Audit.Services == nil {
			continue
		}
		all := map[int]agent.Service{}
		for _, service := range n.Report.Audit.Services {
			all[service.VM] = service
		}
		return all
	}
	return nil
}
