package frontend

import (
	"fmt"
	"slices"
	"strings"
)

func (c *checker) fenceDaemon() {
	for _, e := range c.root.all("fence_daemon") {
		if e.attr("clean_start", "0") == "1" {
			c.report(e, "clean_start is 1", "at the start of the cluster, nodes that are not there count as off: two halves start the same service", "remove it")
		}
	}
}

func (c *checker) devices() map[string]*element {
	all := map[string]*element{}
	for _, e := range c.root.all("fencedevices", "fencedevice") {
		all[e.attr("name", "")] = e
	}
	return all
}

func (c *checker) fenceDevices() {
	devices := c.root.all("fencedevices", "fencedevice")
	c.once("fence device", "name", devices)
	used := map[string]bool{}
	for _, e := range c.root.all("clusternodes", "clusternode", "fence", "method", "device") {
		used[e.attr("name", "")] = true
	}
	for _, e := range devices {
		name, agent := e.attr("name", ""), e.attr("agent", "")
		switch {
		case agent == "":
			c.report(e, fmt.Sprintf("fence device %s has no agent", name), "no program fences", "agent=\"fence_…\"")
		case agent == "fence_manual":
			c.report(e, fmt.Sprintf("fence device %s is fence_manual", name), "it waits for a person, and a person who says yes too early has two copies of everything", "another device, as the second one too")
		case !strings.HasPrefix(agent, "fence_"):
			c.report(e, fmt.Sprintf("fence device %s has agent %q", name, agent), "agents are programs called fence_…", "the name of one in /usr/sbin")
		}
		if !used[name] {
			c.report(e, fmt.Sprintf("no node uses fence device %s", name), "it looks like protection and is none", "give it to nodes, or remove it")
		}
	}
}

// fencing: every node can be fenced, without a person.
func (c *checker) fencing() {
	devices := c.devices()
	for _, node := range c.root.all("clusternodes", "clusternode") {
		name := node.attr("name", "")
		automatic := false
		for _, method := range node.all("fence", "method") {
			automatic = c.method(name, method, devices) || automatic
		}
		c.once("method", "name", node.all("fence", "method"))
		if !automatic {
			c.report(node, fmt.Sprintf("node %s cannot be fenced", name), "when it fails, nothing is started elsewhere; or, without fenced, everything twice", "a fence method with a device")
		}
	}
}

// method judges one way to fence a node: all its devices have to work. false: it needs a
// person, or cannot work.
func (c *checker) method(node string, method *element, devices map[string]*element) bool {
	works := len(method.all("device")) > 0
	if !works {
		c.report(method, fmt.Sprintf("fence method %s of node %s has no device", method.attr("name", ""), node), "it does nothing", "add a device, or remove it")
	}
	for _, e := range method.all("device") {
		device, there := devices[e.attr("name", "")]
		switch {
		case !there:
			c.report(e, fmt.Sprintf("node %s is fenced by %s, which is no fencedevice", node, e.attr("name", "")), "fencing it fails", "add it to fencedevices, or correct the name")
		case device.attr("agent", "") == "fence_xvm" && e.attr("port", e.attr("domain", "")) == "":
			c.report(e, fmt.Sprintf("fence_xvm of node %s has neither port nor domain", node), "it does not know which machine to switch off", "port=\"NAME\", as libvirt calls it")
			there = false
		}
		if told := e.attr("nodename", node); told != node {
			c.report(e, fmt.Sprintf("node %s is fenced by the name of %s", node, told), "another node is fenced, or none", fmt.Sprintf("nodename=\"%s\"", node))
		}
		works = works && there && device.attr("agent", "") != "fence_manual"
	}
	return works
}

// Keys are the files with keys of fence_xvm that a cluster.conf needs on every node.
func Keys(text string) []string {
	root, _ := readTags(text)
	if root == nil {
		return nil
	}
	var all []string
	for _, e := range root.all("fencedevices", "fencedevice") {
		if e.attr("agent", "") == "fence_xvm" {
			all = append(all, e.attr("key_file", defaultKey))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

const defaultKey = "/etc/cluster/fence_xvm.key"
