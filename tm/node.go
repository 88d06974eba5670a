package tm

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/opennebula"
)

// isFrontEnd says whether a host in oned's arguments is the front-end, which is not
// on the SAN: a parked disk is "there".
func (d *Driver) isFrontEnd(host string) bool { return host == d.FrontEnd }

// place is where a verb acts on a VM's disks.
type place struct {
	cfg  *cxmrc.Config // of the VM's system datastore
	host string
	// dead is the node that has the disks, if oned has lost it: then host is another one,
	// and only a lock manager's word makes it safe to act there. "" too when an
	// administrator has set that node offline, and so said that it is down.
	dead string
}

// request starts a request of a call at this place.
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
	if d.isFrontEnd(hint) {
		group.Go(func() (err error) {
			vm, err = d.Records.VM(ctx, call.VM)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return at, err
	}
	if d.isFrontEnd(hint) && vm.Last() != nil {
		hint = vm.Last().Hostname
	}
	lost := findHost(hosts, hint)
	if !d.isFrontEnd(at.host) && !isDead(lost) {
		return at, nil
	}
	if isDead(lost) && lost.State != opennebula.HostOffline {
		at.dead = hint
	}
	var err error
	if bridges := at.cfg.List("BRIDGE_LIST"); len(bridges) > 0 {
		at.host, err = firstUsable(hosts, bridges)
	} else {
		at.host, err = chooseNode(hosts, vm, lost)
	}
	return at, err
}

// findHost is the host of that name, nil if oned has none.
func findHost(hosts []opennebula.Host, name string) *opennebula.Host {
	i := slices.IndexFunc(hosts, func(h opennebula.Host) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return &hosts[i]
}

// isDead: oned cannot reach the host, or was told that it is off. (A disabled host works.)
func isDead(h *opennebula.Host) bool {
	return h != nil && slices.Contains([]opennebula.HostState{opennebula.HostError, opennebula.HostMonitoringError, opennebula.HostOffline}, h.State)
}

// firstUsable is the first of the names that oned does not call dead or disabled.
func firstUsable(hosts []opennebula.Host, names []string) (string, error) {
	for _, name := range names {
		if h := findHost(hosts, name); h == nil || h.Usable() {
			return name, nil
		}
	}
	return "", errNoNode
}

// chooseNode prefers the VM's last host, then any usable host of the same cluster: that of
// the last host, or of the one that was lost.
func chooseNode(hosts []opennebula.Host, vm *opennebula.VM, lost *opennebula.Host) (string, error) {
	name, cluster := "", opennebula.None
	if lost != nil {
		cluster = lost.ClusterID
	}
	if vm != nil && vm.Last() != nil {
		name, cluster = vm.Last().Hostname, vm.Last().ClusterID
	}
	if last := findHost(hosts, name); last != nil && last.Usable() {
		return name, nil
	}
	for _, h := range hosts {
		if h.Usable() && (cluster == opennebula.None || h.ClusterID == cluster) {
			return h.Name, nil
		}
	}
	return "", errNoNode
}
