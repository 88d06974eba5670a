package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"one-clvm/cxmrc"
	"one-clvm/opennebula"
)

// ErrNoNode says that no host is left that could do it.
var ErrNoNode = errors.New("no usable node: set BRIDGE_LIST in the datastore, or enable a host of its clusters")

// Choice is what is known of where a verb may be done for which oned names no host: all
// verbs of datastores, MONITOR, and every verb on the disks of a VM that is parked or whose
// node is lost.
type Choice struct {
	Bridges  []string // BRIDGE_LIST: one of these, the first that works, and no other
	Prefer   string   // where it was last; "" nowhere
	Clusters []int    // hosts of these; none: of all
}

// Choose names the node. A host that oned cannot reach, or that an administrator has taken
// out of service, is passed over; one in BRIDGE_LIST that oned does not know is the
// administrator's word. ErrNoNode.
func (c Choice) Choose(hosts []opennebula.Host) (string, error) {
	name := c.choose(hosts)
	if name == "" {
		if len(c.Bridges) > 0 {
			return "", fmt.Errorf("none of BRIDGE_LIST (%s) is usable: %w", strings.Join(c.Bridges, " "), ErrNoNode)
		}
		return "", ErrNoNode
	}
	return name, opennebula.CheckHost(name)
}

func (c Choice) choose(hosts []opennebula.Host) string {
	for _, name := range c.Bridges {
		if h := FindHost(hosts, name); h == nil || h.Usable() {
			return name
		}
	}
	if len(c.Bridges) > 0 {
		return ""
	}
	if last := FindHost(hosts, c.Prefer); last != nil && last.Usable() {
		return last.Name
	}
	for _, h := range hosts {
		if h.Usable() && (len(c.Clusters) == 0 || slices.Contains(c.Clusters, h.ClusterID)) {
			return h.Name
		}
	}
	return ""
}

// FindHost is the host of that name, nil if oned has none.
func FindHost(hosts []opennebula.Host, name string) *opennebula.Host {
	i := slices.IndexFunc(hosts, func(h opennebula.Host) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return &hosts[i]
}

// IsDead says that oned cannot reach the host, or was told that it is off. A disabled host
// works.
func IsDead(h *opennebula.Host) bool {
	return h != nil && slices.Contains([]opennebula.HostState{opennebula.HostError, opennebula.HostMonitoringError, opennebula.HostOffline}, h.State)
}

// NodeOfDatastore is a node for what concerns a datastore; cfg is the configuration with
// the datastore's overrides.
func (d *Driver) NodeOfDatastore(ctx context.Context, cfg *cxmrc.Config, ds *opennebula.Datastore) (string, error) {
	hosts, err := d.Records.Hosts(ctx)
	if err != nil {
		return "", err
	}
	name, err := Choice{Bridges: cfg.List("BRIDGE_LIST"), Clusters: ds.ClusterIDs}.Choose(hosts)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ds.Origin(), err)
	}
	return name, nil
}

// IsFrontEnd says whether a host in oned's arguments is the front-end, which is not
// on the SAN: a parked disk is "there".
func (d *Driver) IsFrontEnd(host string) bool { return host == d.FrontEnd }
