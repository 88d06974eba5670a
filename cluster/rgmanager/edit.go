package rgmanager

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/cluster"
)

// What a VM's service is to rgmanager. Numbers are those of the original driver.
const (
	tolerated = "3"   // failed looks at a VM
	forgotten = "120" // seconds after which one does not count any more
	lowest    = 100   // priority in a failover domain
)

// edit is one change to a configuration, by the name and with the arguments of ccs.
type edit struct {
	action string
	name   string
	args   []string // of addvm name=value, of addfailoverdomain words, of addfailoverdomainnode NODE PRIORITY
}

func (e edit) argv() []string { return append([]string{"--" + e.action, e.name}, e.args...) }

// definition is the VM's failover domain and its vm element; nothing where both are there
// already. An element that differs is replaced: that is for services which do not run.
func definition(c *Config, s cluster.Service, node, migrationURI string, rhel5 bool) []edit {
	edits := failoverDomain(c, s.Name, node)
	wanted := attributes(s, migrationURI, rhel5)
	switch e := c.vm(s.Name); {
	case e == nil:
	case sameAttributes(e, wanted):
		return edits
	default:
		edits = append([]edit{{action: "rmvm", name: s.Name}}, edits...)
	}
	return append(edits, edit{"addvm", s.Name, wanted})
}

// attributes of the vm element. Xen of RHEL 5 looks for a file of the VM's name in a
// directory; everything else starts the domain of a file.
func attributes(s cluster.Service, migrationURI string, rhel5 bool) []string {
	common := []string{"domain=" + s.Name, "autostart=1", "recovery=restart"}
	if rhel5 && strings.HasPrefix(s.Hypervisor, "xen") {
		return append(common, "migrate=live", "path="+path.Dir(s.Definition))
	}
	hypervisor := "qemu"
	if strings.HasPrefix(s.Hypervisor, "xen") {
		hypervisor = "xen"
	}
	return append(common, "use_virsh=1", "hypervisor="+hypervisor, "xmlfile="+s.Definition, "migration_uri="+migrationURI,
		"__max_failures="+tolerated, "__failure_expire_time="+forgotten)
}

func sameAttributes(e *etree.Element, wanted []string) bool {
	for _, text := range wanted {
		name, value, _ := strings.Cut(text, "=")
		if e.SelectAttrValue(name, "") != value {
			return false
		}
	}
	return len(e.Attr) == len(wanted)+1 // and the name
}

// failoverDomain has all nodes of the cluster, the chosen one first: a VM may run anywhere,
// and one that was moved by a failure is not moved back.
func failoverDomain(c *Config, name, node string) []edit {
	nodes := append([]string{node}, slices.DeleteFunc(slices.Clone(c.Nodes), func(n string) bool { return n == node })...)
	wanted := make([]edit, 0, len(nodes)+2)
	have := c.domain(name)
	if have != nil {
		if slices.Equal(ordered(have), nodes) {
			return nil
		}
		wanted = append(wanted, edit{action: "rmfailoverdomain", name: name})
	}
	wanted = append(wanted, edit{"addfailoverdomain", name, []string{"ordered", "nofailback"}})
	for i, n := range nodes {
		wanted = append(wanted, edit{"addfailoverdomainnode", name, []string{n, strconv.Itoa(min(i+1, lowest))}})
	}
	return wanted
}

// ordered are the nodes of a failover domain as this package writes it; nil for any other.
func ordered(domain *etree.Element) []string {
	if !is(domain, "ordered") || !is(domain, "nofailback") || is(domain, "restricted") {
		return nil
	}
	var nodes []string
	for i, e := range domain.SelectElements("failoverdomainnode") {
		if e.SelectAttrValue("priority", "") != strconv.Itoa(min(i+1, lowest)) {
			return nil
		}
		nodes = append(nodes, e.SelectAttrValue("name", ""))
	}
	return nodes
}

func removal(c *Config, name string) []edit {
	var edits []edit
	if c.vm(name) != nil {
		edits = append(edits, edit{action: "rmvm", name: name})
	}
	if c.domain(name) != nil {
		edits = append(edits, edit{action: "rmfailoverdomain", name: name})
	}
	return edits
}

// apply is what ccs does with an edit, for the private copy on RHEL 5, which has no tool
// for these elements.
func (c *Config) apply(e edit) error {
	rm := c.doc.Root().SelectElement("rm")
	if rm == nil {
		rm = c.doc.Root().CreateElement("rm")
	}
	domains := rm.SelectElement("failoverdomains")
	switch e.action {
	case "addvm":
		vm := rm.CreateElement("vm")
		vm.CreateAttr("name", e.name)
		for _, text := range e.args {
			name, value, _ := strings.Cut(text, "=")
			vm.CreateAttr(name, value)
		}
	case "rmvm":
		rm.RemoveChild(c.vm(e.name))
	case "addfailoverdomain":
		if domains == nil {
			domains = etree.NewElement("failoverdomains")
			rm.InsertChildAt(0, domains)
		}
		domain := domains.CreateElement("failoverdomain")
		domain.CreateAttr("name", e.name)
		for _, word := range []string{"restricted", "ordered", "nofailback"} {
			value := "0"
			if slices.Contains(e.args, word) {
				value = "1"
			}
			domain.CreateAttr(word, value)
		}
	case "addfailoverdomainnode":
		node := c.domain(e.name).CreateElement("failoverdomainnode")
		node.CreateAttr("name", e.args[0])
		node.CreateAttr("priority", e.args[1])
	case "rmfailoverdomain":
		domains.RemoveChild(c.domain(e.name))
	default:
		return fmt.Errorf("no edit %s", e.action)
	}
	return nil
}

// setVersion raises config_version.
func (c *Config) setVersion(version int) {
	c.Version = version
	c.doc.Root().CreateAttr("config_version", strconv.Itoa(version))
}
