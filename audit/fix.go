package audit

import (
	"fmt"

	"one-clvm/agent"
	"one-clvm/lvm"
)

// request starts one about the disk that a volume is.
func (s *State) request(op agent.Op, v seen) agent.Request {
	ds, vm := id(v, lvm.TagDS), id(v, lvm.TagVM)
	return agent.Request{Op: op, Group: s.Group, VM: vm, Disk: id(v, lvm.TagDisk), DS: ds, Home: s.home(ds, vm)}
}

// activate has the disk exclusively on a node, linked in the home, and drops the tags that
// say otherwise.
func (s *State) activate(v seen, at *Node) Fix {
	q := s.request(agent.OpActivate, v)
	q.Activate, q.Link = lvm.Exclusive, true
	return Fix{What: fmt.Sprintf("activate disk %d of VM %d exclusively and link it", q.Disk, q.VM), Host: at.name(), Request: q}
}

// deactivate takes the disk off a node that does not use it.
func (s *State) deactivate(v seen, at *Node) Fix {
	q := s.request(agent.OpActivate, v)
	q.Activate = lvm.Off
	return Fix{What: fmt.Sprintf("deactivate disk %d of VM %d", q.Disk, q.VM), Host: at.name(), Request: q}
}

// deletion is the verb that removes a disk.
func (s *State) deletion(v seen) string {
	ds, vm := id(v, lvm.TagDS), id(v, lvm.TagVM)
	return fmt.Sprintf("tm-clvm delete %s:%s/disk.%s %d %d", s.holderOrAny(v).name(), s.home(ds, vm), v.Tags.Get(lvm.TagDisk), vm, ds)
}
