package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"one-clvm/agent"
	"one-clvm/lvm"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// links are those of disks that are active, of VMs that no verb is at: the hypervisor
// opens the disk through them.
func (s *State) links(volumes []seen) []Finding {
	var all []Finding
	for _, v := range volumes {
		vm, known := s.VMs[id(v, lvm.TagVM)]
		ds, disk := id(v, lvm.TagDS), id(v, lvm.TagDisk)
		if !isDisk(v) || !known || !Settled(vm) || resting(vm) || v.Tags.Has(lvm.TagBuilding) || ds < 0 || disk < 0 {
			continue
		}
		for _, h := range v.holders {
			if !h.node.is(host(vm)) {
				continue
			}
			name := fmt.Sprintf("disk.%d", disk)
			path, target := s.home(ds, vm.ID), ""
			if home := h.node.home(ds, vm.ID); home != nil {
				path, target = home.Path, home.Links[name]
			}
			if target == h.Path {
				continue
			}
			f := Finding{Kind: Link, Object: h.node.name() + ":" + path + "/" + name, Why: "it is missing",
				Repair: fmt.Sprintf("on %s: ln -sfn %s %s/%s", h.node.name(), h.Path, path, name)}
			if target != "" {
				f.Why = fmt.Sprintf("it leads to %s instead of %s", target, h.Path)
			}
			if h.Mode == lvm.Exclusive {
				f.Fixes = []Fix{s.activate(v, h.node)}
			}
			all = append(all, f)
		}
	}
	return all
}

// home is the directory of a VM as the node has it, nil for none.
func (n *Node) home(ds, vm int) *agent.Home {
	if n.Report.Audit == nil {
		return nil
	}
	for i, h := range n.Report.Audit.Homes {
		if h.DS == ds && h.VM == vm {
			return &n.Report.Audit.Homes[i]
		}
	}
	return nil
}

// homes are the directories without a VM, and links in the others to volumes that are not
// there. On a shared file system every node has the same: each is told once.
func (s *State) homes(volumes []seen) []Finding {
	var all []Finding
	told := map[string]bool{}
	for i := range s.Nodes {
		node := &s.Nodes[i]
		if node.Report.Audit == nil {
			continue
		}
		for _, h := range node.Report.Audit.Homes {
			if _, ours := s.Bases[h.DS]; !ours || told[h.Path] {
				continue
			}
			told[h.Path] = true
			if _, known := s.VMs[h.VM]; !known {
				all = append(all, s.homeLeft(node, h, volumes)...)
				continue
			}
			all = append(all, s.dangling(node, h, volumes)...)
		}
	}
	return all
}

func (s *State) homeLeft(node *Node, h agent.Home, volumes []seen) []Finding {
	if slices.ContainsFunc(volumes, func(v seen) bool { return isDisk(v) && id(v, lvm.TagVM) == h.VM }) {
		return nil // its disks are found, and it goes with them
	}
	holds := "links only"
	if len(h.Files) > 0 {
		holds = strings.Join(h.Files, ", ")
	} else if len(h.Links) == 0 {
		holds = "nothing"
	}
	return []Finding{{Kind: HomeLeft, Object: node.name() + ":" + h.Path, Why: fmt.Sprintf("VM %d does not exist, or is done; the directory holds %s", h.VM, holds),
		Repair: fmt.Sprintf("tm-clvm delete %s:%s %d %d", node.name(), h.Path, h.VM, h.DS)}}
}

// dangling are links to volumes of the group that it does not have.
func (s *State) dangling(node *Node, h agent.Home, volumes []seen) []Finding {
	var all []Finding
	if !Settled(s.VMs[h.VM]) {
		return nil
	}
	for _, name := range sortedKeys(h.Links) {
		target := h.Links[name]
		volume, ofGroup := strings.CutPrefix(target, "/dev/"+s.Group+"/")
		if !ofGroup || slices.ContainsFunc(volumes, func(v seen) bool { return v.Name == volume || v.Path == target }) {
			continue
		}
		if slices.ContainsFunc(volumes, func(v seen) bool {
			return isDisk(v) && id(v, lvm.TagVM) == h.VM && "disk."+v.Tags.Get(lvm.TagDisk) == name
		}) {
			continue // the disk is there, and its link is looked at where it is active
		}
		all = append(all, Finding{Kind: Link, Object: node.name() + ":" + h.Path + "/" + name, Why: fmt.Sprintf("it leads to %s, which does not exist", target),
			Repair: fmt.Sprintf("look for the disk; if VM %d has no such disk, on %s: rm %s/%s", h.VM, node.name(), h.Path, name)})
	}
	return all
}
