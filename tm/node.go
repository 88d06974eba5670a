package tm

import (
	"context"

	"golang.org/x/sync/errgroup"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// place is where a verb acts on a VM's disks.
type place struct {
	cfg  *cxmrc.Config // of the VM's system datastore
	host string
	// dead is the node that has the disks, if oned has lost it: then host is another one,
	// and only a lock manager's word makes it safe to act there. "" too when an
	// administrator has set that node offline, and so said that it is down.
	dead string
}

// requestAt starts a request of a call at this place.
func (d *Driver) requestAt(at place, op agent.Op, call opennebula.Call) agent.Request {
	q := d.request(op, call, at.cfg)
	q.TakeOver = at.dead
	return q
}

// whereDisksAre finds the place for a verb on a VM's disks. The host in oned's arguments
// is only a hint: of a parked VM it is the front-end, and recover and terminate name the
// last one, dead or not.
func (d *Driver) whereDisksAre(ctx context.Context, call opennebula.Call, hint string) (place, error) {
	at := place{host: hint}
	var hosts []opennebula.Host
	var vm *opennebula.VM
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		at.cfg, err = d.systemConfig(ctx, call.Home.Datastore)
		return err
	})
	group.Go(func() (err error) {
		hosts, err = d.Records.Hosts(ctx)
		return err
	})
	if d.IsFrontEnd(hint) {
		group.Go(func() (err error) {
			vm, err = d.Records.VM(ctx, call.VM)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return at, err
	}
	if d.IsFrontEnd(hint) && vm.Last() != nil {
		hint = vm.Last().Hostname
	}
	lost := plan.FindHost(hosts, hint)
	if !d.IsFrontEnd(at.host) && !plan.IsDead(lost) {
		return at, nil
	}
	if plan.IsDead(lost) && lost.State != opennebula.HostOffline {
		at.dead = hint
	}
	choice := plan.Choice{Bridges: at.cfg.List("BRIDGE_LIST")}
	if lost != nil {
		choice.Clusters = clusterOf(lost.ClusterID)
	}
	if vm != nil && vm.Last() != nil { // the one of its host, which oned may have forgotten
		choice.Prefer, choice.Clusters = vm.Last().Hostname, clusterOf(vm.Last().ClusterID)
	}
	var err error
	at.host, err = choice.Choose(hosts)
	return at, err
}

func clusterOf(id int) []int {
	if id == opennebula.None {
		return nil
	}
	return []int{id}
}
