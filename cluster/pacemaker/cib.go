package pacemaker

import (
	"fmt"
	"regexp"
	"time"

	"github.com/beevik/etree"

	"one-clvm/cluster"
)

// What a VM's service is to Pacemaker. Numbers are those of the original driver where it
// had them (three failures in two minutes).
const (
	provider   = "one-clvm"
	agentType  = "VirtualDomain"
	preference = "500"  // for the node that OpenNebula chose, below stickiness: no VM flows back after a failover
	stickiness = "1000" // to where it runs
	threshold  = "3"    // failures until it leaves a node
	forgotten  = "120s" // after which a failure does not count any more
	monitor    = 10 * time.Second
	slack      = 30 * time.Second // that an operation has beyond what it waits for itself
)

func locationID(name string) string   { return "loc-" + name }
func orderID(name string) string      { return "order-" + name }
func colocationID(name string) string { return "with-" + name }
func frozenID(name string) string     { return name + "-frozen" }
func metaID(name string) string       { return name + "-meta" }

// listing is the whole configuration of the cluster, with numbered lines: cibadmin prints it
// before it says that a change is refused.
var listing = regexp.MustCompile(`^ *[0-9]+ ( *<|\s*$)`)

// change is one atomic change: objects with the same ids are merged, with create others
// are made.
func change(section string, create bool, object *etree.Element) ([]cluster.Command, error) {
	doc := etree.NewDocument()
	doc.SetRoot(object)
	text, err := doc.WriteToString()
	if err != nil {
		return nil, err
	}
	args := []string{"-M"}
	if create {
		args = append(args, "-c")
	}
	return []cluster.Command{{Program: "cibadmin", Args: append(args, "-o", section, "-p"), Stdin: text + "\n", Noise: listing}}, nil
}

// drop deletes by id; what is not there is no error.
func drop(section, tag, id string) []cluster.Command {
	return []cluster.Command{{Program: "cibadmin", Args: []string{"-D", "-o", section, "-X", fmt.Sprintf(`<%s id="%s"/>`, tag, id)}, Noise: listing}}
}

func element(tag string, attributes ...string) *etree.Element {
	e := etree.NewElement(tag)
	for i := 0; i < len(attributes); i += 2 {
		e.CreateAttr(attributes[i], attributes[i+1])
	}
	return e
}

// pairs is a set of nvpairs, each with an id made of the set's and its name.
func pairs(tag, id string, values ...string) *etree.Element {
	e := element(tag, "id", id)
	for i := 0; i < len(values); i += 2 {
		e.AddChild(element("nvpair", "id", id+"-"+values[i], "name", values[i], "value", values[i+1]))
	}
	return e
}

// definition is the service and where it belongs, as one fragment.
func definition(s cluster.Service, node string) *etree.Element {
	configuration := element("configuration")
	configuration.CreateElement("resources").AddChild(primitive(s))
	constraints := configuration.CreateElement("constraints")
	constraints.AddChild(location(s.Name, node))
	if s.After != "" {
		constraints.AddChild(element("rsc_order", "id", orderID(s.Name), "first", s.After, "then", s.Name))
		constraints.AddChild(element("rsc_colocation", "id", colocationID(s.Name), "rsc", s.Name, "with-rsc", s.After, "score", "INFINITY"))
	}
	return configuration
}

func primitive(s cluster.Service) *etree.Element {
	e := element("primitive", "id", s.Name, "class", "ocf", "provider", provider, "type", agentType)
	e.AddChild(pairs("meta_attributes", metaID(s.Name),
		"target-role", "Started", "allow-migrate", "true", "resource-stickiness", stickiness,
		"migration-threshold", threshold, "failure-timeout", forgotten, "multiple-active", "block"))
	e.AddChild(pairs("instance_attributes", s.Name+"-params", "definition", s.Definition, "hypervisor", s.Hypervisor,
		"shutdown", seconds(s.Patience.Shutdown)))
	if known(s) {
		e.AddChild(utilization(s))
	}
	operations := e.CreateElement("operations")
	operation := func(name string, every, timeout time.Duration) {
		operations.AddChild(element("op", "id", s.Name+"-"+name, "name", name, "interval", seconds(every), "timeout", seconds(timeout)))
	}
	operation("monitor", monitor, slack)
	operation("start", 0, s.Patience.Start)
	operation("stop", 0, s.Patience.Stop)
	operation("migrate_to", 0, s.Patience.Migrate+slack)
	operation("migrate_from", 0, s.Patience.Settle+slack)
	return e
}

func known(s cluster.Service) bool { return s.MemoryMiB > 0 && s.CPUs > 0 }

// utilization has the names of the stock agent, which nodes have their capacity by, too.
func utilization(s cluster.Service) *etree.Element {
	return pairs("utilization", s.Name+"-use", "cpu", fmt.Sprint(s.CPUs), "hv_memory", fmt.Sprint(s.MemoryMiB))
}

// using changes what a primitive that is there uses.
func using(s cluster.Service) *etree.Element {
	e := element("primitive", "id", s.Name)
	e.AddChild(utilization(s))
	return e
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

func location(name, node string) *etree.Element {
	return element("rsc_location", "id", locationID(name), "rsc", name, "node", node, "score", preference)
}

// wanted changes one meta attribute of a primitive that is there.
func wanted(name, role string) *etree.Element {
	e := element("primitive", "id", name)
	e.AddChild(pairs("meta_attributes", metaID(name), "target-role", role))
	return e
}

// frozen is a set of meta attributes that holds until a time. The end is in Pacemaker's own
// configuration: whoever froze the service may die.
func frozen(name string, until time.Time) *etree.Element {
	id := frozenID(name)
	e := element("primitive", "id", name)
	set := pairs("meta_attributes", id, "is-managed", "false")
	set.CreateAttr("score", "1000") // before the set that is always there
	rule := element("rule", "id", id+"-rule", "score", "INFINITY")
	rule.AddChild(element("date_expression", "id", id+"-until", "operation", "lt", "end", until.UTC().Format("2006-01-02T15:04:05Z")))
	set.InsertChildAt(0, rule)
	e.AddChild(set)
	return e
}
