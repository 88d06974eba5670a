// Package profile names the kinds of cluster that the lab knows. The nodes and the
// program that starts them agree on it.
package profile

import "fmt"

// Profile is a kind of cluster.
type Profile struct {
	// Name is what people type.
	Name string
	// About is one line for people.
	About string
	// Nodes is the number of nodes: node1, node2, …
	Nodes int
	// LockManager is that of the volume group: LockDLM, LockSanlock or LockNone.
	LockManager string
	// SharedHome: the system datastore is a GFS2 that all nodes have mounted. Without,
	// it is a directory of each node.
	SharedHome bool
	// Pacemaker: VMs are services of it, and libvirt runs them.
	Pacemaker bool
}

// Trees are the directories of lab/image/files that a node of the profile gets, the later
// over the earlier ones.
func (p Profile) Trees() []string {
	trees := []string{"common"}
	if p.LockManager == LockDLM {
		trees = append(trees, "dlm")
	}
	if p.Pacemaker {
		trees = append(trees, "pacemaker")
	}
	return append(trees, p.Name)
}

// Lock managers of volume groups, as LVM calls them.
const (
	LockNone    = "none"
	LockDLM     = "dlm"
	LockSanlock = "sanlock"
)

// The profiles.
var (
	// Single is one node with a local volume group: the fastest.
	Single = Profile{Name: "single", Nodes: 1, LockManager: LockNone,
		About: "one node, plain LVM"}
	// Cluster is the usual installation.
	Cluster = Profile{Name: "cluster", Nodes: 2, LockManager: LockDLM, SharedHome: true,
		About: "two nodes, corosync, dlm with fencing, lvmlockd, GFS2 system datastore"}
	// Sanlock locks through leases on the SAN. GFS2 needs dlm, so there is none.
	Sanlock = Profile{Name: "sanlock", Nodes: 2, LockManager: LockSanlock,
		About: "two nodes, lvmlockd with sanlock and a watchdog, local homes"}
	// Legacy has no lock manager: one front-end is the only writer.
	Legacy = Profile{Name: "legacy", Nodes: 2, LockManager: LockNone,
		About: "two nodes, one volume group without a lock manager, local homes"}
	// HA has VMs.
	HA = Profile{Name: "ha", Nodes: 2, LockManager: LockDLM, SharedHome: true, Pacemaker: true,
		About: "as cluster, with Pacemaker, fencing, and libvirt with nested VMs"}
	// HASingle is the cluster of one node: its VMs are started again in place.
	HASingle = Profile{Name: "ha-single", Nodes: 1, LockManager: LockDLM, SharedHome: true, Pacemaker: true,
		About: "the same with one node"}
)

// All are the profiles in the order of the manual.
func All() []Profile { return []Profile{Single, Cluster, Sanlock, Legacy, HA, HASingle} }

// Named is the profile of that name.
func Named(name string) (Profile, error) {
	var names []string
	for _, p := range All() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("no profile %q; there are %v", name, names)
}
