package rgmanager

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"one-clvm/internal/run"
)

// proveOff marks the nodes that are no members and were fenced, as fenced remembers. Without
// its answer nothing is proved: RHEL 5's fence_tool has no such list.
func (p *Stack) proveOff(ctx context.Context, nodes []member) {
	gone := func(n member) bool { return !n.member }
	if !slices.ContainsFunc(nodes, gone) {
		return
	}
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "fence_tool", Args: []string{"ls", "-n"}, Reads: true})
	if err != nil {
		return
	}
	off := parseFenceDomain(string(res.Stdout))
	for i := range nodes {
		nodes[i].Fenced = gone(nodes[i]) && nodes[i].id != 0 && off[nodes[i].id]
	}
}

// parseFenceDomain reads fence_tool ls -n (cluster 3.0 and 3.1, fence_tool.c): the ids of the
// nodes that left and whose last fencing an agent, or a person, said to have succeeded.
//
//	wait state    none
//	nodeid 2 member 0 victim 0 last fence master 1 how agent
//
// While fenced works on a change of the domain it knows nothing for certain.
func parseFenceDomain(text string) map[int]bool {
	off := map[int]bool{}
	settled := false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "wait" && words[1] == "state" {
			settled = words[2] == "none"
		}
		if len(words) != 12 || words[0] != "nodeid" || strings.Join(words[2:9], " ") != "member 0 victim 0 last fence master" || words[10] != "how" {
			continue
		}
		id, err := strconv.Atoi(words[1])
		switch how := words[11]; how {
		case "agent", "override", "external": // not "member": that one had only come back
			off[id] = err == nil
		}
	}
	if !settled {
		return nil
	}
	return off
}
