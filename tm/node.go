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
