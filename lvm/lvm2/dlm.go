package lvm2

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// dlmLookup asks the kernel's distributed lock manager. lvmlockd has a lockspace
// lvm_GROUP in it, and in that one resource a volume, named by the volume's UUID. Of each
// resource one node is the master; it alone knows everybody's locks. That is mostly the
// node that took the first lock, thus the one that has the volume.
type dlmLookup struct{ *Group }

func (l dlmLookup) holders(ctx context.Context, volume lvm.Volume) ([]holder, error) {
	lockspace := "lvm_" + l.name
	text, err := l.query(ctx, "dlm_tool", "lockdump", "-M", lockspace)
	if err != nil {
		return nil, err
	}
	locks := parseLockdump(text, volume.UUID)
	text, err = l.query(ctx, "corosync-cmapctl", "-b", "nodelist")
	nodes := parseNodelist(text)
	if len(locks.others) > 0 || locks.master == 0 {
		return nodes.named(locks.others), nil // also without names
	}
	if err == nil && len(nodes) == 2 {
		return nodes.named(map[int]lvm.Mode{locks.master: lvm.Off}), nil
	}
	return nil, fmt.Errorf("its lock is managed by %s: dlm_tool lockdump -M %s there shows it", nodes.name(locks.master), lockspace)
}

// dlmLocks are the locks on one resource, as one node sees them.
type dlmLocks struct {
	master int              // node id of the master; 0 if this node is
	others map[int]lvm.Mode // by node id; complete if this node is the master
}

// lockdumpLine is one lock in the output of dlm_tool lockdump -M:
//
//	id 00000004 gr EX rq IV pid 171 MSTCPY 2 "pfMFZ0-IrGb-…"     node 2's, this one is the master
//	id 00000002 gr NL rq IV pid 171 master 1 "pfMFZ0-IrGb-…"     this node's, node 1 is the master
//
// A lock that is not held any more is kept as NL.
var lockdumpLine = lazyregexp.New(`^id [0-9a-f]+ gr (\w+) rq \w+ pid \d+ (MSTCPY|master) (\d{1,9}) "([^"]*)"$`)

func parseLockdump(output, resource string) dlmLocks {
	locks := dlmLocks{others: map[int]lvm.Mode{}}
	for line := range strings.Lines(output) {
		m := lockdumpLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || m[4] != resource {
			continue
		}
		id, _ := strconv.Atoi(m[3]) // up to nine digits cannot fail
		mode := map[string]lvm.Mode{"EX": lvm.Exclusive, "PR": lvm.Shared}[m[1]]
		switch {
		case m[2] == "master":
			locks.master = id
		case mode != lvm.Off:
			locks.others[id] = stronger(locks.others[id], mode)
		}
	}
	return locks
}

// nodelist are the names of the cluster's nodes by their ids.
type nodelist map[int]string

// nodelistLine is one in the output of corosync-cmapctl -b nodelist:
// nodelist.node.0.name (str) = node1, nodelist.node.0.nodeid (u32) = 1.
var nodelistLine = lazyregexp.New(`^nodelist\.node\.(\d{1,9})\.(name|nodeid|ring0_addr) \(\w+\) = (\S+)$`)

// parseNodelist: a node without a name is known by its address.
func parseNodelist(output string) nodelist {
	type node struct{ name, address, id string }
	byPlace := map[string]node{}
	for line := range strings.Lines(output) {
		m := nodelistLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		n := byPlace[m[1]]
		*map[string]*string{"name": &n.name, "nodeid": &n.id, "ring0_addr": &n.address}[m[2]] = m[3]
		byPlace[m[1]] = n
	}
	names := nodelist{}
	for _, n := range byPlace {
		if n.name == "" {
			n.name = n.address
		}
		if id, err := strconv.Atoi(n.id); err == nil && n.name != "" {
			names[id] = n.name
		}
	}
	return names
}

func (n nodelist) name(id int) string {
	if name, ok := n[id]; ok {
		return name
	}
	return "node id " + strconv.Itoa(id)
}

func (n nodelist) named(locks map[int]lvm.Mode) []holder {
	var found []holder
	for id, mode := range locks {
		found = append(found, holder{Node: n.name(id), Mode: mode})
	}
	return found
}
