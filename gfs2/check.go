package gfs2

import (
	"fmt"
	"slices"

	"one-clvm/internal/membership"
)

// Problem is one thing wrong with a file system on a node.
type Problem struct {
	Kind Kind
	Text string
}

// Kind of a problem.
type Kind string

// The kinds.
const (
	Withdrawn   Kind = "withdrawn"
	Frozen      Kind = "frozen"
	WrongLocks  Kind = "protocol"  // not lock_dlm: others would write without locks
	WrongTable  Kind = "table"     // of another cluster
	Waiting     Kind = "waiting"   // for a member that is lost
	NotMounted  Kind = "unmounted" // on a node that is there
	FewJournals Kind = "journals"
)

// Peers is what a file system is compared with.
type Peers struct {
	Cluster string         // the running cluster's name
	Nodes   map[int]string // names of all its nodes by their ids
	Present []int          // ids of those that are there
}

// PeersOf a cluster.
func PeersOf(c membership.Cluster) Peers {
	p := Peers{Cluster: c.Name, Nodes: map[int]string{}, Present: c.Present()}
	for _, n := range c.Nodes {
		p.Nodes[n.ID] = n.Name
	}
	return p
}

// Check compares a mounted file system with the cluster. Not everything is known always:
// what is not known is not judged.
func (s State) Check(p Peers) []Problem {
	var found []Problem
	add := func(kind Kind, format string, args ...any) {
		found = append(found, Problem{kind, fmt.Sprintf(format, args...)})
	}
	if s.Withdrawn {
		add(Withdrawn, "this node has withdrawn from %s after an error: nothing on it can be read or written here; the node has to be started anew, at once and without unmounting", s.Table)
		return found // it is in no lock space any more
	}
	if s.Frozen {
		add(Frozen, "%s is frozen: every write waits", s.Table)
	}
	if s.Protocol != "" && s.Protocol != LockDLM {
		add(WrongLocks, "%s is mounted with %s: other nodes write to it without locks", s.Table, s.Protocol)
		return found
	}
	if p.Cluster != "" && s.Table.Cluster != p.Cluster {
		add(WrongTable, "its lock table is %s, and the cluster's name is %s: after the next boot no node can mount it", s.Table, p.Cluster)
	}
	if s.Changing {
		add(Waiting, "its lock space waits for the cluster, probably for the fencing of a lost node")
	}
	for _, id := range p.Present {
		if len(s.Members) > 0 && !slices.Contains(s.Members, id) {
			add(NotMounted, "%s has not mounted it", p.name(id))
		}
	}
	if s.Journals > 0 && s.Journals < len(p.Nodes) {
		add(FewJournals, "it has %d journals for %d nodes: the last one cannot mount it", s.Journals, len(p.Nodes))
	}
	return found
}

func (p Peers) name(id int) string {
	if name, ok := p.Nodes[id]; ok {
		return name
	}
	return fmt.Sprintf("node id %d", id)
}
