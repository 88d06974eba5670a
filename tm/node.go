package tm

import (
	"context"
	"slices"

	"one-clvm/cxmrc"
	"one-clvm/opennebula"
)

// isFrontEnd says whether a host in oned's arguments is the front-end, which is not
// on the SAN: a parked disk is "there".
func (d *Driver) isFrontEnd(host string) bool { return host == d.FrontEnd }

// whereDisksAre gives the settings of a VM's system datastore and the node that acts on
// its disks; of a parked VM, whose host is the front-end, oned is asked for the last one.
func (d *Driver) whereDisksAre(ctx context.Context, call opennebula.Call) (*cxmrc.Config, string, error) {
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, "", err
	}
	var vm *opennebula.VM
	if d.isFrontEnd(call.Dest.Host) {
		if vm, err = d.Records.VM(ctx, call.VM); err != nil {
			return nil, "", err
		}
	}
	host, err := d.nodeFor(ctx, cfg, call.Dest.Host, vm)
	return cfg, host, err
}

// nodeFor finds the node that acts on a VM's volumes. The host in oned's arguments is
// only a hint: for a parked VM it is the front-end.
func (d *Driver) nodeFor(ctx context.Context, cfg *cxmrc.Config, hint string, vm *opennebula.VM) (string, error) {
	if hint != "" && !d.isFrontEnd(hint) {
		return hint, nil
	}
	if bridges := cfg.List("BRIDGE_LIST"); len(bridges) > 0 {
		return d.firstUsable(ctx, bridges)
	}
	hosts, err := d.Records.Hosts(ctx)
	if err != nil {
		return "", err
	}
	return chooseNode(hosts, vm)
}

// firstUsable is the first of the names that oned does not call dead or disabled.
func (d *Driver) firstUsable(ctx context.Context, names []string) (string, error) {
	hosts, err := d.Records.Hosts(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		i := slices.IndexFunc(hosts, func(h opennebula.Host) bool { return h.Name == name })
		if i < 0 || hosts[i].Usable() {
			return name, nil
		}
	}
	return "", errNoNode
}

// chooseNode prefers the VM's last host, then any usable host of the same cluster.
func chooseNode(hosts []opennebula.Host, vm *opennebula.VM) (string, error) {
	usable := slices.DeleteFunc(slices.Clone(hosts), func(h opennebula.Host) bool { return !h.Usable() })
	if len(usable) == 0 {
		return "", errNoNode
	}
	if vm == nil || vm.Last() == nil {
		return usable[0].Name, nil
	}
	last := vm.Last()
	for _, h := range usable {
		if h.Name == last.Hostname {
			return h.Name, nil
		}
	}
	for _, h := range usable {
		if last.ClusterID == opennebula.None || h.ClusterID == last.ClusterID {
			return h.Name, nil
		}
	}
	return "", errNoNode
}
