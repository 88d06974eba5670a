// Package membership asks the programs that keep a cluster together who belongs to it:
// corosync (its name, nodes and quorum; on RHEL 6 cman) and dlm_controld (the lock spaces).
// It only reads.
package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// ErrNoCluster means: neither corosync nor cman answers on this node.
var ErrNoCluster = errors.New("no cluster runs on this node")

// Node is a member of the cluster, there or not.
type Node struct {
	ID      int    `json:"id"`
	Name    string `json:"name"` // its address where the configuration has no name
	Present bool   `json:"present"`
}

// Cluster is what one node knows of its cluster.
type Cluster struct {
	Name    string `json:"name"`
	Nodes   []Node `json:"nodes"` // by their ids
	Quorate bool   `json:"quorate"`
	// Token is the time in milliseconds without a sign of life until a node is lost; 0 where
	// it is not told.
	Token int `json:"token,omitempty"`
}

// Present are the ids of the nodes that are there.
func (c Cluster) Present() []int {
	var ids []int
	for _, n := range c.Nodes {
		if n.Present {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// NodeName is the name of the node with that id.
func (c Cluster) NodeName(id int) string {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n.Name
		}
	}
	return "node id " + strconv.Itoa(id)
}

// Read asks corosync, or cman where there is no corosync-cmapctl. ErrNoCluster.
func Read(ctx context.Context, r run.Runner) (Cluster, error) {
	keys, err := output(ctx, r, "corosync-cmapctl")
	var failed *run.Error
	if errors.As(err, &failed) && failed.Status < 0 && run.Installed("cman_tool") {
		return readCman(ctx, r)
	}
	if err != nil {
		return Cluster{}, fmt.Errorf("%w: %w", ErrNoCluster, err)
	}
	c := parseMap(keys)
	quorum, err := output(ctx, r, "corosync-quorumtool", "-s")
	const statusNotQuorate = 2
	if errors.As(err, &failed) && failed.Status == statusNotQuorate {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("quorum: %w", err)
	}
	c.Quorate = quorateLine.MatchString(quorum)
	return c, nil
}

func output(ctx context.Context, r run.Runner, program string, args ...string) (string, error) {
	result, err := r.Run(ctx, run.Cmd{Path: program, Args: args})
	return string(result.Stdout), err
}

var (
	// mapLine is one key of corosync-cmapctl: nodelist.node.0.name (str) = node1
	mapLine     = lazyregexp.New(`^([a-z0-9_.]+) \(\w+\) = (.*)$`)
	nodeKey     = lazyregexp.New(`^nodelist\.node\.(\d{1,9})\.(name|nodeid|ring0_addr)$`)
	memberKey   = lazyregexp.New(`^runtime\.(?:totem\.pg\.mrp\.srp\.)?members\.(\d{1,10})\.status$`)
	quorateLine = lazyregexp.New(`(?m)^Quorate:\s+Yes\s*$`)
)

// parseMap reads the output of corosync-cmapctl.
func parseMap(text string) Cluster {
	type entry struct{ name, address, id string }
	entries := map[string]entry{}
	present := map[int]bool{}
	var c Cluster
	for line := range strings.Lines(text) {
		m := mapLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		key, value := m[1], m[2]
		switch {
		case key == "totem.cluster_name":
			c.Name = value
		case key == "runtime.config.totem.token":
			c.Token, _ = strconv.Atoi(value) // 0: not told
		case memberKey.MatchString(key):
			id, err := strconv.Atoi(memberKey.FindStringSubmatch(key)[1])
			present[id] = err == nil && value == "joined"
		case nodeKey.MatchString(key):
			k := nodeKey.FindStringSubmatch(key)
			e := entries[k[1]]
			*map[string]*string{"name": &e.name, "nodeid": &e.id, "ring0_addr": &e.address}[k[2]] = value
			entries[k[1]] = e
		}
	}
	for _, e := range entries {
		id, err := strconv.Atoi(e.id)
		if err != nil {
			continue
		}
		if e.name == "" {
			e.name = e.address
		}
		c.Nodes = append(c.Nodes, Node{ID: id, Name: e.name, Present: present[id]})
	}
	slices.SortFunc(c.Nodes, func(a, b Node) int { return a.ID - b.ID })
	return c
}

// readCman asks cman, of RHEL 5 and 6.
func readCman(ctx context.Context, r run.Runner) (Cluster, error) {
	status, err := output(ctx, r, "cman_tool", "status")
	if err != nil {
		return Cluster{}, fmt.Errorf("%w: %w", ErrNoCluster, err)
	}
	nodes, err := output(ctx, r, "cman_tool", "nodes", "-F", "id,type,name")
	if err != nil {
		return Cluster{}, fmt.Errorf("%w: %w", ErrNoCluster, err)
	}
	return parseCman(status, nodes), nil
}

// parseCman reads cman_tool status ("Cluster Name: sanone", "Quorum: 2 Activity blocked")
// and cman_tool nodes -F id,type,name ("1 M n1").
func parseCman(status, nodes string) Cluster {
	c := Cluster{Quorate: true}
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); key {
		case "Cluster Name":
			c.Name = value
		case "Quorum":
			c.Quorate = !strings.Contains(value, "blocked")
		}
	}
	for line := range strings.Lines(nodes) {
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		if id, err := strconv.Atoi(words[0]); err == nil && id > 0 { // 0 is the quorum disk
			c.Nodes = append(c.Nodes, Node{ID: id, Name: words[2], Present: words[1] == "M"})
		}
	}
	return c
}
