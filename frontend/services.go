package frontend

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

func (c *checker) domains() {
	domains := c.root.all("rm", "failoverdomains", "failoverdomain")
	c.once("failover domain", "name", domains)
	for _, d := range domains {
		name := d.attr("name", "")
		members := d.all("failoverdomainnode")
		c.once("node of failover domain "+name, "name", members)
		if len(members) == 0 {
			c.report(d, fmt.Sprintf("failover domain %s has no nodes", name), "nothing that is bound to it starts", "add failoverdomainnode")
		}
		for _, e := range members {
			c.domainNode(d, e)
		}
	}
}

func (c *checker) domainNode(d, e *element) {
	node := e.attr("name", "")
	if !c.nodes[node] {
		c.report(e, fmt.Sprintf("failover domain %s has %s, which is no clusternode", d.attr("name", ""), node), "services never run there", "write it exactly as clusternode does")
	}
	priority, err := strconv.Atoi(e.attr("priority", ""))
	switch {
	case err == nil && priority >= 1 && priority <= 100:
	case d.attr("ordered", "0") == "1" || e.attr("priority", "") != "":
		c.report(e, fmt.Sprintf("priority %q of %s", e.attr("priority", ""), node), "an ordered domain needs one of 1 to 100 for each node", "priority=\"1\" for the best")
	}
}

// domainOf reports a domain that is not there.
func (c *checker) domainOf(what string, e *element) *element {
	name := e.attr("domain", "")
	if name == "" {
		return nil
	}
	for _, d := range c.root.all("rm", "failoverdomains", "failoverdomain") {
		if d.attr("name", "") == name {
			return d
		}
	}
	c.report(e, fmt.Sprintf("%s is bound to failover domain %s, which is not there", what, name), "rgmanager takes every node as good, and says so in its log alone", "add the domain, or correct the name")
	return nil
}

var recoveryPolicies = []string{"restart", "relocate", "disable", "restart-disable"}

func (c *checker) policy(what string, e *element) {
	if policy := e.attr("recovery", "restart"); !slices.Contains(recoveryPolicies, policy) {
		c.report(e, fmt.Sprintf("%s has recovery %q", what, policy), "ccs refuses it", "one of "+strings.Join(recoveryPolicies, ", "))
	}
}

// services: the front-end is one with an address and scripts.
func (c *checker) services() {
	rm := c.root.first("rm")
	if rm == nil {
		c.report(c.root, "there is no <rm>", "rgmanager has no service, and nothing takes over", "<rm> with a failover domain and the service of OpenNebula")
		return
	}
	all := rm.all("service")
	c.once("service", "name", all)
	for _, resources := range rm.all("resources") {
		for _, e := range resources.children {
			c.resource(rm, e)
		}
	}
	if len(all) == 0 && len(rm.all("vm")) == 0 {
		c.report(rm, "there is no service", "nothing takes over", "a service with an ip and the scripts of OpenNebula")
	}
	for _, s := range all {
		c.service(rm, s)
	}
}

func (c *checker) service(rm, s *element) {
	what := "service " + s.attr("name", "")
	c.policy(what, s)
	c.placement(what, s)
	if s.attr("autostart", "1") == "0" {
		c.report(s, what+" has autostart 0", "after a cold start of the cluster there is no OpenNebula", "autostart=\"1\"")
	}
	var ips, scripts int
	var walk func(e *element)
	walk = func(e *element) {
		for _, child := range e.children {
			switch child.tag {
			case "ip":
				ips++
			case "script":
				scripts++
			case "vm":
				c.report(child, fmt.Sprintf("VM %s is in %s", child.attr("name", ""), what), "it cannot be migrated", "put it directly into rm")
			}
			c.resource(rm, child)
			walk(child)
		}
	}
	walk(s)
	if ips == 0 {
		c.report(s, what+" has no ip", "hosts and users do not find OpenNebula on the other node", "<ip address=\"…\"/>")
	}
	if scripts == 0 {
		c.report(s, what+" has no script", "it starts no OpenNebula", "<script name=\"opennebula\" file=\"/etc/init.d/opennebula\"/>")
	}
}

// placement: on which node a service is, and that it stays there.
func (c *checker) placement(what string, s *element) {
	if s.attr("domain", "") == "" {
		c.report(s, what+" is bound to no failover domain", "it starts on any node of the cluster, also on one without OpenNebula", "domain=\"…\", an ordered failover domain of the front-ends")
		return
	}
	switch d := c.domainOf(what, s); {
	case d == nil:
	case d.attr("ordered", "0") != "1":
		c.report(d, fmt.Sprintf("failover domain %s of %s is not ordered", d.attr("name", ""), what), "on which of its nodes OpenNebula starts is chance", "ordered=\"1\", and a priority for each node")
	case d.attr("nofailback", "0") != "1":
		c.report(d, fmt.Sprintf("%s goes back when its first node returns (nofailback=\"0\")", what), "OpenNebula is stopped a second time for nothing, and VMs get stuck again", "nofailback=\"1\"")
	}
}

// keys are the attributes by which a resource is referred to.
var keys = map[string]string{"ip": "address"}

// resource follows a reference, and judges what it leads to.
func (c *checker) resource(rm, e *element) {
	if ref := e.attr("ref", ""); ref != "" {
		key := keys[e.tag]
		if key == "" {
			key = "name"
		}
		for _, r := range rm.all("resources", e.tag) {
			if r.attr(key, "") == ref {
				return // judged below resources
			}
		}
		c.report(e, fmt.Sprintf("<%s> refers to %s, which is not in resources", e.tag, ref), "the service does not start", "add it to resources, or correct the name")
		return
	}
	if file := e.attr("file", ""); e.tag == "script" && !path.IsAbs(file) {
		c.report(e, fmt.Sprintf("script %s has file %q", e.attr("name", ""), file), "it is not found", "an absolute path")
	}
}

// vmAttributes are those of the schema: ccs refuses a file with any other.
var vmAttributes = strings.Fields("name ref domain autostart exclusive recovery migrate migrate_options migration_mapping migration_uri " +
	"hypervisor hypervisor_uri use_virsh xmlfile path snapshot depend depend_mode max_restarts restart_expire_time status_program tunnelled no_kill " +
	"__max_failures __failure_expire_time __max_restarts __restart_expire_time __independent_subtree __enforce_timeouts")

const maxService = 63 - len("vm:") // bytes; the status tools have buffers of 64

func (c *checker) machines() {
	all := c.root.all("rm", "vm")
	c.once("VM", "name", all)
	for _, e := range all {
		what := "VM " + e.attr("name", e.attr("ref", ""))
		c.domainOf(what, e)
		c.policy(what, e)
		switch name := e.attr("name", e.attr("ref", "")); {
		case name == "":
			c.report(e, "a VM without a name", "it cannot be started", "name=\"…\", as libvirt calls it")
		case len(name) > maxService:
			c.report(e, what+" has a name that is too long", fmt.Sprintf("clustat and clusvcadm cut it: at most %d bytes", maxService), "a shorter one")
		}
		for _, name := range slices.Sorted(maps.Keys(e.attrs)) {
			if !slices.Contains(vmAttributes, name) {
				c.report(e, fmt.Sprintf("%s has attribute %s", what, name), "ccs refuses the file", "remove it")
			}
		}
		if e.attr("migrate", "live") != "live" && e.attr("migrate", "") != "pause" {
			c.report(e, fmt.Sprintf("%s has migrate %q", what, e.attr("migrate", "")), "rgmanager knows live and pause", "migrate=\"live\"")
		}
	}
}
