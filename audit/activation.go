package audit

import (
	"fmt"
	"strings"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// judgeActivation compares where a disk is active with where its VM is, for VMs that no
// verb is at.
func (s *State) judgeActivation(v seen, vm opennebula.VM) (Finding, bool) {
	f := Finding{Object: s.object(v)}
	open, at := v.open(), s.node(host(vm))
	switch {
	case len(open) > 1 && !migrating(vm):
		f.Kind, f.Why = Double, "it is in use on "+names(open)+": if both write, its content is being destroyed"
		f.Repair = fmt.Sprintf("now, on all of these nodes but one: virsh destroy one-%d; then check the disk's file systems", vm.ID)
		return f, true
	case !Settled(vm):
		return f, false
	case len(open) == 1 && (open[0] != at || resting(vm)):
		f.Kind, f.Why = Elsewhere, fmt.Sprintf("it is in use on %s, where oned does not have VM %d (%s on %s)", open[0].name(), vm.ID, StateOf(vm), orNone(host(vm)))
		f.Repair = fmt.Sprintf("virsh -c qemu:///system list on %s; correct oned, or end what uses the disk", open[0].name())
		return f, true
	case resting(vm):
		return s.judgeResting(v, vm)
	case at == nil:
		return f, false // the node that has it could not be asked
	}
	return s.judgePlace(v, vm, at)
}

func orNone(host string) string {
	if host == "" {
		return "no host"
	}
	return host
}

// judgeResting: the disk of a stopped VM is off, and says so.
func (s *State) judgeResting(v seen, vm opennebula.VM) (Finding, bool) {
	f := Finding{Kind: Parked, Object: s.object(v)}
	var wrong []string
	holders := v.holders
	if len(holders) > 0 && v.Tags.Get(lvm.TagClone) == "" { // else with its image, which others use
		wrong = append(wrong, "it is active on "+holderNames(holders))
	}
	if !v.Tags.Has(lvm.TagParked) {
		wrong = append(wrong, "it has not the tag "+lvm.TagParked)
	}
	f.Why = fmt.Sprintf("VM %d is %s, and %s", vm.ID, StateOf(vm), strings.Join(wrong, ", and "))
	f.Repair = fmt.Sprintf("lvchange --addtag %s %s; where it is active: lvchange -an %s", lvm.TagParked, s.object(v), s.object(v))
	if len(holders) == 0 {
		holders = []holder{{node: s.anyNode()}}
	}
	for _, h := range holders {
		f.Fixes = append(f.Fixes, Fix{What: fmt.Sprintf("park disk %d of VM %d", id(v, lvm.TagDisk), vm.ID), Host: h.node.name(), Request: s.request(agent.OpPark, v)})
	}
	return f, len(wrong) > 0
}

// judgePlace: the disk is active where the VM is, exclusively and nowhere else.
func (s *State) judgePlace(v seen, vm opennebula.VM, at *Node) (Finding, bool) {
	f := Finding{Object: s.object(v)}
	var here *holder
	var others []holder
	for i, h := range v.holders {
		if h.node == at {
			here = &v.holders[i]
		} else {
			others = append(others, h)
		}
	}
	switch {
	case len(others) > 0:
		f.Kind, f.Why = Stale, fmt.Sprintf("it is active on %s, and VM %d is on %s", holderNames(others), vm.ID, at.name())
		f.Repair = fmt.Sprintf("on %s: lvchange -an %s", holderNames(others), s.object(v))
		for _, h := range others {
			f.Fixes = append(f.Fixes, s.deactivate(v, h.node))
		}
		if here != nil && here.Mode == lvm.Shared {
			f.Fixes = append(f.Fixes, s.activate(v, at))
		}
	case here != nil && here.Mode == lvm.Shared:
		f.Kind, f.Why = Shared, fmt.Sprintf("it is active shared on %s, and VM %d does not migrate (it is %s)", at.name(), vm.ID, StateOf(vm))
		f.Repair = fmt.Sprintf("on %s: lvchange -aey %s", at.name(), s.object(v))
		f.Fixes = []Fix{s.activate(v, at)}
	case v.Tags.Has(lvm.TagParked):
		f.Kind, f.Why = Parked, fmt.Sprintf("it has the tag %s, and VM %d is %s", lvm.TagParked, vm.ID, StateOf(vm))
		f.Repair = fmt.Sprintf("lvchange --deltag %s %s; on %s: lvchange -aey %s", lvm.TagParked, s.object(v), at.name(), s.object(v))
		f.Fixes = []Fix{s.activate(v, at)}
	case here == nil && running(vm):
		f.Kind, f.Why = Inactive, fmt.Sprintf("VM %d runs on %s, and it is not active there", vm.ID, at.name())
		f.Repair = fmt.Sprintf("on %s: lvchange -aey %s", at.name(), s.object(v))
		f.Fixes = []Fix{s.activate(v, at)}
	default:
		return f, false
	}
	return f, true
}

func holderNames(holders []holder) string {
	var nodes []*Node
	for _, h := range holders {
		nodes = append(nodes, h.node)
	}
	return names(nodes)
}
