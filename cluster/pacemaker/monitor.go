package pacemaker

import (
	"fmt"
	"io"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/cluster"
)

const (
	maxReport = 64 << 20 // bytes
	maxDepth  = 32
)

// parseMonitor reads a report of crm_mon, in the forms of 1.1 (root crm_mon) to 3.x, and
// picks the service of that name. A report that is cut off, or that says it could not ask
// the cluster, is cluster.ErrDown.
func parseMonitor(r io.Reader, name string) (cluster.State, error) {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if _, err := doc.ReadFrom(io.LimitReader(r, maxReport)); err != nil {
		return cluster.State{}, fmt.Errorf("%w: report of crm_mon: %w", cluster.ErrDown, err)
	}
	root := doc.Root()
	if root == nil || root.Tag != "pacemaker-result" && root.Tag != "crm_mon" {
		return cluster.State{}, fmt.Errorf("%w: crm_mon gave no report", cluster.ErrDown)
	}
	if status := root.SelectElement("status"); status != nil && status.SelectAttrValue("code", "0") != "0" {
		return cluster.State{}, fmt.Errorf("%w on this node: %s: start pacemaker", cluster.ErrDown, status.SelectAttrValue("message", ""))
	}
	summary, nodes, resources := root.SelectElement("summary"), root.SelectElement("nodes"), root.SelectElement("resources")
	if summary == nil || nodes == nil || resources == nil {
		return cluster.State{}, fmt.Errorf("%w: the report of crm_mon is not whole", cluster.ErrDown)
	}
	state := cluster.State{Clustered: true}
	readSummary(&state, summary)
	readNodes(&state, nodes)
	readService(&state, resources, name)
	readFailures(&state, root.SelectElement("failures"), name)
	if state.Service.Pending == "" && recovering(state) {
		state.Service.Pending = "recovering"
	}
	return state, nil
}

func yes(e *etree.Element, name string) bool {
	return e != nil && e.SelectAttrValue(name, "") == "true"
}

func readSummary(state *cluster.State, summary *etree.Element) {
	state.Quorate = yes(summary.SelectElement("current_dc"), "with_quorum")
	options := summary.SelectElement("cluster_options")
	state.Fencing = yes(options, "stonith-enabled") || yes(options, "fencing-enabled") // since 3.0
	state.Maintenance = yes(options, "maintenance-mode") || yes(options, "stop-all-resources")
}

func readNodes(state *cluster.State, nodes *etree.Element) {
	for _, e := range nodes.SelectElements("node") {
		state.Nodes = append(state.Nodes, cluster.Node{
			Name: e.SelectAttrValue("name", ""), Online: yes(e, "online") && !yes(e, "pending"), Unclean: yes(e, "unclean"),
			Standby: yes(e, "standby") || yes(e, "standby_onfail") || yes(e, "maintenance") || yes(e, "shutdown"),
		})
	}
}

// readService finds the resource at any depth. One that was removed from the configuration
// and still runs is not defined.
func readService(state *cluster.State, resources *etree.Element, name string) {
	c := &state.Service
	for _, e := range resources.FindElements(".//resource") {
		if e.SelectAttrValue("id", "") != name {
			continue
		}
		c.Defined = !yes(e, "orphaned") && !yes(e, "removed")
		c.Stopped = e.SelectAttrValue("target_role", "") == "Stopped"
		c.Frozen = !yes(e, "managed")
		c.Failed, c.Blocked = yes(e, "failed"), yes(e, "blocked")
		c.Pending = pending(e)
		for _, node := range e.SelectElements("node") {
			c.Running = append(c.Running, node.SelectAttrValue("name", ""))
		}
	}
}

// pending is what the cluster does with a resource. Looking after it is not doing anything.
func pending(e *etree.Element) string {
	for _, word := range []string{e.SelectAttrValue("pending", ""), e.SelectAttrValue("role", "")} {
		switch word {
		case "Starting", "Stopping", "Migrating":
			return strings.ToLower(word)
		}
	}
	return ""
}

// recovering: the cluster is about to start the service, and has not begun.
func recovering(s cluster.State) bool {
	c := s.Service
	return c.Defined && !c.Stopped && !c.Frozen && !c.Blocked && !s.Maintenance && len(c.Running) == 0 && len(c.Failures) == 0
}

func readFailures(state *cluster.State, failures *etree.Element, name string) {
	if failures == nil {
		return
	}
	for _, e := range failures.SelectElements("failure") {
		operation, ok := operationOf(e.SelectAttrValue("op_key", ""), name)
		if !ok {
			continue
		}
		reason := e.SelectAttrValue("exitreason", "")
		if reason == "" {
			reason = e.SelectAttrValue("exitstatus", "no reason given")
		}
		state.Service.Failures = append(state.Service.Failures, cluster.Failure{Node: e.SelectAttrValue("node", ""), Operation: operation, Reason: reason})
	}
}

// operationOf takes RESOURCE_OPERATION_INTERVAL apart, if it is the resource's.
func operationOf(key, name string) (string, bool) {
	rest, ok := strings.CutPrefix(key, name+"_")
	if !ok {
		return "", false
	}
	i := strings.LastIndexByte(rest, '_')
	if i < 0 {
		return "", false
	}
	return rest[:i], true
}
