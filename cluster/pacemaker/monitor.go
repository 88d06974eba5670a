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

// parseMonitor reads a report of crm_mon and picks the service of that name.
func parseMonitor(r io.Reader, name string) (cluster.State, error) {
	root, err := parseReport(r)
	if err != nil {
		return cluster.State{}, err
	}
	state := cluster.State{Clustered: true, Manager: cluster.Manager{Places: true}}
	readSummary(&state, root.SelectElement("summary"))
	state.Nodes = readNodes(root, state.Fencing)
	for _, e := range root.FindElements("./resources//resource") {
		if e.SelectAttrValue("id", "") == name {
			readService(&state.Service, e)
		}
	}
	readFailures(&state, root.SelectElement("failures"), name)
	if state.Service.Pending == "" && recovering(state) {
		state.Service.Pending = "recovering"
	}
	return state, nil
}

// parseReport reads a report of crm_mon, in the forms of 1.1 (root crm_mon) to 3.x. One that
// is cut off, or that says it could not ask the cluster, is cluster.ErrDown.
func parseReport(r io.Reader) (*etree.Element, error) {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if _, err := doc.ReadFrom(io.LimitReader(r, maxReport)); err != nil {
		return nil, fmt.Errorf("%w: report of crm_mon: %w", cluster.ErrDown, err)
	}
	root := doc.Root()
	if root == nil || root.Tag != "pacemaker-result" && root.Tag != "crm_mon" {
		return nil, fmt.Errorf("%w: crm_mon gave no report", cluster.ErrDown)
	}
	if status := root.SelectElement("status"); status != nil && status.SelectAttrValue("code", "0") != "0" {
		return nil, fmt.Errorf("%w on this node: %s: start pacemaker", cluster.ErrDown, status.SelectAttrValue("message", ""))
	}
	for _, section := range []string{"summary", "nodes", "resources"} {
		if root.SelectElement(section) == nil {
			return nil, fmt.Errorf("%w: the report of crm_mon is not whole: no %s", cluster.ErrDown, section)
		}
	}
	return root, nil
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

// readNodes: where nodes are not fenced, one that fails is not unclean either, and an earlier
// fencing proves nothing.
func readNodes(root *etree.Element, fencing bool) []cluster.Node {
	fenced := lastFencings(root)
	var nodes []cluster.Node
	for _, e := range root.SelectElement("nodes").SelectElements("node") {
		n := cluster.Node{
			Name: e.SelectAttrValue("name", ""), Online: yes(e, "online") && !yes(e, "pending"), Unclean: yes(e, "unclean"),
			Standby: yes(e, "standby") || yes(e, "standby_onfail") || yes(e, "maintenance") || yes(e, "shutdown"),
		}
		n.Fenced = fencing && !yes(e, "online") && !n.Unclean && fenced[n.Name]
		nodes = append(nodes, n)
	}
	return nodes
}

// lastFencings are the nodes whose last fencing succeeded. The history has the newest event
// first; 1.1 has none in its report, and then nothing is proved.
func lastFencings(root *etree.Element) map[string]bool {
	succeeded := map[string]bool{}
	for _, e := range root.FindElements("./fence_history/fence_event") {
		node := e.SelectAttrValue("target", "")
		if _, newer := succeeded[node]; newer {
			continue
		}
		outcome := e.SelectAttrValue("status", e.SelectAttrValue("state", "")) // state up to 2.0
		action := e.SelectAttrValue("action", "")
		succeeded[node] = outcome == "success" && (action == "off" || action == "reboot")
	}
	return succeeded
}

// readService reads what the cluster says of one resource. One that was removed from the
// configuration and still runs is not defined.
func readService(c *cluster.Condition, e *etree.Element) {
	c.Defined = !yes(e, "orphaned") && !yes(e, "removed")
	c.Stopped = e.SelectAttrValue("target_role", "") == "Stopped"
	c.Frozen = !yes(e, "managed")
	c.Failed, c.Blocked = yes(e, "failed"), yes(e, "blocked")
	c.Pending = pending(e)
	for _, node := range e.SelectElements("node") {
		c.Running = append(c.Running, node.SelectAttrValue("name", ""))
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
