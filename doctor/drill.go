package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"one-clvm/agent/facts"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// Subject is what a drill is done with.
type Subject struct {
	Node string
	VM   int // of a migration
}

// Drill is a fault that somebody makes on purpose, and what must come of it.
type Drill struct {
	Name  string
	About string
	// Do says what to do, and Undo afterwards.
	Do, Undo func(s Subject) string
	// Judge compares; what is not (yet) as it must be is a failure. It may be asked again
	// and again until there is none.
	Judge func(s Subject, before, after *View) []Finding
}

// Names of drills that others speak of.
const (
	drillPath      = "path"
	drillSAN       = "san"
	drillNetwork   = "network"
	drillMigration = "migration"
)

// Drills are those that an installation should have been through before it is relied on.
func Drills() []Drill {
	return []Drill{
		{
			Name: drillPath, About: "One of the node's paths to the SAN fails: nothing may happen to its VMs.",
			Do:    func(s Subject) string { return "Pull one of the two SAN cables of " + s.Node + "." },
			Undo:  func(Subject) string { return "Plug the cable in again; multipath -ll shows when the path is back." },
			Judge: judgePath,
		},
		{
			Name: drillSAN, About: "The node loses the SAN: it must be fenced, and its VMs started elsewhere.",
			Do:    func(s Subject) string { return "Pull all SAN cables of " + s.Node + ". It will be switched off." },
			Undo:  func(s Subject) string { return "Plug the cables in, and start " + s.Node + "." },
			Judge: judgeLoss,
		},
		{
			Name: drillNetwork, About: "The node loses the cluster's network: it must be fenced, and its VMs started elsewhere.",
			Do:    func(s Subject) string { return "Pull the network cables of " + s.Node + ". It will be switched off." },
			Undo:  func(s Subject) string { return "Plug the cables in, and start " + s.Node + "." },
			Judge: judgeLoss,
		},
		{
			Name: drillMigration, About: "A VM is migrated live: it must run on the other node, with its disks there alone.",
			Do:    func(s Subject) string { return fmt.Sprintf("onevm migrate --live %d %s", s.VM, s.Node) },
			Undo:  func(Subject) string { return "Migrate it back, to see the other way." },
			Judge: judgeMigration,
		},
	}
}

// ErrNotReady means: a drill would prove nothing, or do damage.
var ErrNotReady = errors.New("not ready for a drill")

// Ready makes sure that a drill starts from an installation in which nothing fails, with a
// subject that it has. ErrNotReady.
func (d Drill) Ready(s Subject, v *View) error {
	for _, f := range Run(v) {
		if f.Severity == Fail {
			return fmt.Errorf("%w: %s: %s", ErrNotReady, f.Check, f.Text)
		}
	}
	if v.factsOf(s.Node) == nil {
		return fmt.Errorf("%w: there is no node %q", ErrNotReady, s.Node)
	}
	if d.Name != drillMigration {
		return nil
	}
	switch vm := v.vm(s.VM); {
	case vm == nil || vm.State != opennebula.StateActive || vm.LCMState != opennebula.LCMRunning:
		return fmt.Errorf("%w: VM %d does not run", ErrNotReady, s.VM)
	case vm.Last() != nil && vm.Last().Hostname == s.Node:
		return fmt.Errorf("%w: VM %d is on %s already", ErrNotReady, s.VM, s.Node)
	}
	return nil
}

func (v *View) vm(id int) *opennebula.VM {
	i := slices.IndexFunc(v.Oned.VMs, func(vm opennebula.VM) bool { return vm.ID == id })
	if i < 0 {
		return nil
	}
	return &v.Oned.VMs[i]
}

// vmsOn are the VMs that oned has running on a node.
func (v *View) vmsOn(node string) []int {
	var ids []int
	for _, vm := range v.Oned.VMs {
		if vm.State == opennebula.StateActive && vm.Last() != nil && vm.Last().Hostname == node {
			ids = append(ids, vm.ID)
		}
	}
	return ids
}

func (d Drill) judgeWith(v *View, do func(*judge)) []Finding {
	j := &judge{View: v, check: "drill " + d.Name}
	do(j)
	return j.found
}

func judgePath(s Subject, before, after *View) []Finding {
	return Drill{Name: drillPath}.judgeWith(after, func(j *judge) {
		f := after.factsOf(s.Node)
		if f == nil {
			j.fail(s.Node, nil, "it does not answer any more: one path was not all of them?")
			return
		}
		if lost := brokenPaths(f); lost == 0 {
			j.fail(s.Node, nil, "no path is missing: the kernel has not noticed yet, or the cable was not a path of this SAN")
		}
		for _, group := range after.groups() {
			if _, ok := state(f, group); !ok {
				j.fail(s.Node, fix(s.Node, "multipath -ll"), "volume group %s is gone with the path", group)
			}
		}
		if was, is := before.vmsOn(s.Node), after.vmsOn(s.Node); !slices.Equal(was, is) {
			j.fail(s.Node, nil, "VMs %v were there, and %v are: none should have moved", was, is)
		}
	})
}

func brokenPaths(f *facts.Facts) int {
	n := 0
	for _, d := range f.Disks {
		for _, p := range append([]facts.Disk{d}, d.Paths...) {
			if p.State != "" && p.State != "running" {
				n++
			}
		}
	}
	return n
}

// judgeLoss: the survivors have the node out of the cluster, nobody waits for its fencing,
// and its VMs are on others.
func judgeLoss(s Subject, before, after *View) []Finding {
	return Drill{Name: "loss"}.judgeWith(after, func(j *judge) {
		survivors := 0
		for _, n := range after.Nodes {
			if n.Name == s.Node || n.Facts == nil || n.Facts.Cluster == nil {
				continue
			}
			survivors++
			survivor(j, n, s.Node)
		}
		if survivors == 0 {
			j.fail("", nil, "no other node answers")
		}
		for _, id := range before.vmsOn(s.Node) {
			if vm := after.vm(id); vm == nil || vm.Last() == nil || vm.Last().Hostname == s.Node {
				j.fail("", fix("", "onevm show %d", id), "VM %d was on %s, and OpenNebula does not know it on another node", id, s.Node)
			}
		}
	})
}

func survivor(j *judge, n Node, lost string) {
	c := n.Facts.Cluster
	for _, m := range c.Nodes {
		if m.Name == lost && m.Present {
			j.fail(n.Name, nil, "%s is still in the cluster", lost)
		}
	}
	if !c.Quorate {
		j.fail(n.Name, nil, "it has no quorum without %s", lost)
	}
	if n.Facts.DLM == nil {
		return
	}
	if len(n.Facts.DLM.Waiting) > 0 {
		j.fail(n.Name, fix(n.Name, "dlm_tool status"), "%s is not fenced: nobody gets a lock", lost)
	}
	for _, l := range n.Facts.DLM.Lockspaces {
		if l.Changing {
			j.fail(n.Name, fix(n.Name, "dlm_tool ls"), "lock space %s is not free yet", l.Name)
		}
	}
}

func judgeMigration(s Subject, _, after *View) []Finding {
	return Drill{Name: drillMigration}.judgeWith(after, func(j *judge) {
		vm := after.vm(s.VM)
		if vm == nil || vm.LCMState != opennebula.LCMRunning || vm.Last() == nil || vm.Last().Hostname != s.Node {
			j.fail("", fix("", "onevm show %d", s.VM), "OpenNebula does not have VM %d running on %s", s.VM, s.Node)
		}
		there := false
		j.each(func(n Node, f *facts.Facts) {
			for _, a := range f.Active {
				v, ok := stored(f, a.UUID)
				if !ok || v.Tags.Get(lvm.TagVM) != strconv.Itoa(s.VM) {
					continue
				}
				mode := f.LVM.Locks[a.UUID]
				there = there || n.Name == s.Node
				switch {
				case n.Name != s.Node:
					j.fail(n.Name, fix(n.Name, "lvchange -an %s/%s", a.Group, a.Name), "disk %s is still active", a.Name)
				case f.LVM.Locks != nil && mode != lvm.Exclusive:
					j.fail(n.Name, fix(n.Name, "lvchange -aey %s/%s", a.Group, a.Name), "disk %s is %s instead of exclusive", a.Name, mode)
				}
			}
		})
		if !there {
			j.fail(s.Node, nil, "no disk of VM %d is active", s.VM)
		}
	})
}
