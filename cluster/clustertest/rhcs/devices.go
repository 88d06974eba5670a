package rhcs

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/beevik/etree"
)

// document is that of a running domain: the file that rgmanager started it from, and what
// came and went since.
func (c *Cluster) document(name string) (*etree.Document, error) {
	doc := etree.NewDocument()
	if text := c.Running[name]; text != "" {
		return doc, doc.ReadFromString(text)
	}
	config, err := parse(c.Loaded)
	if err != nil {
		return nil, err
	}
	vm := config.FindElement("cluster/rm/vm[@name='" + name + "']")
	if vm == nil {
		return nil, fmt.Errorf("no service %s", name)
	}
	text, err := os.ReadFile(vm.SelectAttrValue("xmlfile", ""))
	if err != nil {
		return nil, err
	}
	return doc, doc.ReadFromBytes(text)
}

// devices are the words about what a running domain has.
func (c *Cluster) devices(verb, name string, args []string, stdin string) Reply {
	doc, err := c.document(name)
	if err != nil {
		return Reply{Stderr: "error: " + err.Error() + "\n", Status: 1}
	}
	all := doc.Root().SelectElement("devices")
	switch verb {
	case "dumpxml":
		text, _ := doc.WriteToString() // it was just read
		return Reply{Stdout: text}
	case "attach-device":
		added := etree.NewDocument()
		if err := added.ReadFromString(stdin); err != nil {
			return Reply{Stderr: "error: Failed to attach device\n", Status: 1}
		}
		all.AddChild(added.Root())
	case "detach-disk":
		if disk := all.FindElement("disk/target[@dev='" + args[0] + "']/.."); disk != nil {
			all.RemoveChild(disk)
		}
	case "detach-interface":
		if nic := all.FindElement("interface/mac[@address='" + args[2] + "']/.."); nic != nil {
			all.RemoveChild(nic)
		}
	}
	if c.Running == nil {
		c.Running = map[string]string{}
	}
	c.Running[name], _ = doc.WriteToString() // it was just read
	return Reply{}
}

func (n *Node) domstats() Reply {
	if n.NoLibvirt {
		return Reply{Stderr: "error: failed to connect to the hypervisor\n", Status: 1}
	}
	out := ""
	for _, name := range slices.Sorted(maps.Keys(n.Domains)) {
		state := map[string]int{"running": 1, "paused": 3}[n.Domains[name]]
		out += fmt.Sprintf("Domain: '%s'\n  state.state=%d\n  state.reason=1\n  cpu.time=12000000000\n  balloon.current=524288\n\n", name, state)
	}
	return Reply{Stdout: out}
}
