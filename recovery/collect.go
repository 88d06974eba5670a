package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"one-clvm/agent"
	"one-clvm/audit"
	"one-clvm/hook"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// Nodes ask all nodes of a system datastore for its volumes and homes; *audit.Auditor does.
type Nodes interface {
	Collect(ctx context.Context, t audit.Target) (*audit.State, error)
}

// API is what is needed of oned.
type API interface {
	VM(ctx context.Context, id int) (*opennebula.VM, error)
	VMs(ctx context.Context) ([]opennebula.VM, error)
	Hosts(ctx context.Context) ([]opennebula.Host, error)
	Do(ctx context.Context, request opennebula.Request) error
}

// Recoverer finds stuck VMs and ends what they are stuck in.
type Recoverer struct {
	OneD    API
	Version opennebula.Version
	Nodes   Nodes
	// Clusters are asked where their VMs are; a VM may be in none.
	Clusters func(ctx context.Context) hook.Heard
	Work     Work // what still works on this front-end
	Now      func() time.Time
}

// seen is what all others have said.
type seen struct {
	hosts  []opennebula.Host
	at     time.Time            // before the nodes were asked
	states map[int]*audit.State // by system datastore; nil: nobody could say
	heard  hook.Heard
}

// Stuck collects what is known of all VMs that oned waits for. It changes nothing. With an error
// it is of those that oned tells of.
func (r *Recoverer) Stuck(ctx context.Context) ([]Stuck, error) {
	vms, err := r.OneD.VMs(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(vms, func(a, b opennebula.VM) int { return cmp.Compare(a.ID, b.ID) })
	var waiting []*opennebula.VM
	var failed []error
	for _, listed := range vms {
		if !waits(&listed) {
			continue
		}
		vm, err := r.OneD.VM(ctx, listed.ID)
		switch {
		case errors.Is(err, opennebula.ErrUnreachable):
			return nil, err
		case err != nil:
			failed = append(failed, fmt.Errorf("VM %d: %w", listed.ID, err))
		case waits(vm): // else it has ended meanwhile
			waiting = append(waiting, vm)
		}
	}
	if len(waiting) == 0 {
		return nil, errors.Join(failed...)
	}
	said, err := r.ask(ctx, waiting)
	if err != nil {
		return nil, errors.Join(append(failed, err)...)
	}
	var all []Stuck
	for _, vm := range waiting {
		all = append(all, r.look(vm, said))
	}
	return all, errors.Join(failed...)
}

// ask hears everybody. The clusters come last: where a VM runs changes soonest, and is believed
// for hook.MaxAge alone.
func (r *Recoverer) ask(ctx context.Context, waiting []*opennebula.VM) (*seen, error) {
	hosts, err := r.OneD.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	said := &seen{hosts: hosts, at: r.Now(), states: map[int]*audit.State{}}
	for _, vm := range waiting {
		last := vm.Last()
		if last == nil {
			continue
		}
		if _, looked := said.states[last.DatastoreID]; !looked {
			said.states[last.DatastoreID], _ = r.Nodes.Collect(ctx, audit.Target{Datastore: last.DatastoreID}) // nil without an answer
		}
	}
	said.heard = r.Clusters(ctx)
	return said, nil
}

// waits: oned waits for a driver, or for a person after a driver's failure.
func waits(vm *opennebula.VM) bool {
	return vm.State == opennebula.StateCloningFailure ||
		vm.State == opennebula.StateActive && vm.LCMState != 0 && vm.LCMState != opennebula.LCMRunning
}

func (r *Recoverer) look(vm *opennebula.VM, said *seen) Stuck {
	s := Stuck{Version: r.Version, VM: vm.ID, State: vm.State, LCM: vm.LCMState}
	last := vm.Last()
	if last == nil {
		s.Facts.Truth = hook.Truth{VM: vm.ID, Doubt: "oned has had it on no host"}
		return s
	}
	s.Host, s.Previous = last.Hostname, previous(vm)
	state := said.states[last.DatastoreID]
	s.Facts = Facts{Truth: said.truth(&s, state), Busy: r.Work.of(vm)}
	if state != nil {
		s.Facts.Disks, s.Facts.Checkpoint = disksOf(vm, state), checkpointOf(vm.ID, state)
	}
	return s
}

// previous is the host of the record before the last one.
func previous(vm *opennebula.VM) string {
	host, seq := "", -1
	for _, h := range vm.History {
		if h.Seq < vm.Last().Seq && h.Seq > seq {
			host, seq = h.Hostname, h.Seq
		}
	}
	return host
}

// truth is the cluster's word, or, for a VM that no cluster has, that of the hypervisors: all
// of them have to have answered. That no cluster has it is known when those of its hosts have
// spoken: one that has not might start it the next moment.
func (said *seen) truth(s *Stuck, state *audit.State) hook.Truth {
	known := hook.Truth{VM: s.VM, Nodes: map[string]hook.Fate{}, Seen: said.at}
	for _, t := range said.heard.Truths {
		if t.VM == s.VM {
			return t.TakenOffline(said.hosts)
		}
		maps.Copy(known.Nodes, t.Nodes)
	}
	known = known.TakenOffline(said.hosts)
	for _, host := range s.hosts() {
		if !said.heard.Spoken[host] {
			known.Doubt = fmt.Sprintf("%s has not said whether a cluster has it: is the node, or one of its cluster, in NODES of hook.conf?", host)
			return known
		}
	}
	switch {
	case state == nil:
		known.Doubt = "no node could be asked"
		return known
	case len(state.Unasked) > 0:
		known.Doubt = "not all nodes could be asked: " + state.WhyUnasked()
		return known
	}
	asked := map[string]bool{}
	for _, n := range state.Nodes {
		for _, name := range n.Names {
			known.Nodes[name], asked[name] = hook.Alive, true
		}
		switch {
		case n.Report.Audit == nil || n.Report.Audit.Domains == nil:
			known.Doubt = fmt.Sprintf("the hypervisor of %s gives no answer", n.Names[0])
		case !slices.Contains(n.Report.Audit.Domains, agent.Domain{VM: s.VM}):
		case known.On != "":
			known.Doubt = fmt.Sprintf("it runs on %s and %s", known.On, n.Names[0])
		default:
			known.On = n.Names[0]
		}
	}
	for _, host := range s.hosts() {
		if !asked[host] && known.Nodes[host] != hook.Fenced {
			known.Doubt = fmt.Sprintf("%s was not asked: onehost enable %[1]s, or move its VMs away, if it is disabled", host)
		}
	}
	return known
}

// hosts of the VM's last two records.
func (s *Stuck) hosts() []string {
	return slices.DeleteFunc([]string{s.Host, s.Previous}, func(host string) bool { return host == "" })
}

// disksOf is the worst that is true of a VM's volumes.
func disksOf(vm *opennebula.VM, state *audit.State) Disks {
	expected, found := state.Expected(vm), 0
	worst := Whole
	for _, disk := range expected {
		volume, ok := volumeOf(vm.ID, disk, state)
		switch {
		case !ok:
			continue
		case audit.HalfDone(volume.Tags):
			worst = Half
		case volume.Tags.Has(lvm.TagBuilding) && worst == Whole:
			worst = Building
		}
		found++
	}
	switch {
	case found < len(expected) && found == 0:
		return Gone
	case found < len(expected) && worst == Whole:
		return Missing
	}
	return worst
}

func volumeOf(vm, disk int, state *audit.State) (lvm.Volume, bool) {
	for _, n := range state.Nodes {
		for _, v := range n.Report.Volumes {
			half := audit.HalfDone(v.Tags)
			if v.Tags.Get(lvm.TagVM) == strconv.Itoa(vm) && v.Tags.Get(lvm.TagDisk) == strconv.Itoa(disk) && v.Tags.Get(lvm.TagSnapshot) == "" &&
				(half || !v.Tags.Has(lvm.TagQuarantine)) {
				return v, true
			}
		}
	}
	return lvm.Volume{}, false
}

// checkpointOf is not known where no node has the VM's home, or nodes disagree.
func checkpointOf(vm int, state *audit.State) Checkpoint {
	var found []Checkpoint
	for _, n := range state.Nodes {
		if n.Report.Audit == nil {
			continue
		}
		for _, h := range n.Report.Audit.Homes {
			if h.VM != vm {
				continue
			}
			switch {
			case h.Checkpoint == agent.CheckpointSaved:
				found = append(found, Saved)
			case h.Checkpoint == agent.CheckpointPartial:
				found = append(found, Partial)
			case !slices.Contains(h.Files, agent.CheckpointName):
				found = append(found, Absent)
			default:
				found = append(found, "")
			}
		}
	}
	if found = slices.Compact(slices.Sorted(slices.Values(found))); len(found) != 1 {
		return ""
	}
	return found[0]
}
