package rhcs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

type element = etree.Element

func parse(text string) (*etree.Document, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		return nil, err
	}
	if doc.Root() == nil || doc.Root().Tag != "cluster" {
		return nil, fmt.Errorf("no cluster")
	}
	return doc, nil
}

// render is how ccs writes a file.
func render(doc *etree.Document) string {
	doc.Indent(2)
	text, err := doc.WriteToString()
	if err != nil {
		panic(err)
	}
	return text
}

func version(doc *etree.Document) int {
	n, _ := strconv.Atoi(doc.Root().SelectAttrValue("config_version", "0"))
	return n
}

func raise(doc *etree.Document, by int) {
	doc.Root().CreateAttr("config_version", strconv.Itoa(version(doc)+by))
}

func named(doc *etree.Document, path, name string) *element {
	for _, e := range doc.Root().FindElements(path) {
		if e.SelectAttrValue("name", "") == name {
			return e
		}
	}
	return nil
}

// Configuration is what runs, written as ccs does, with version 0: for a comparison of
// before and after.
func (c *Cluster) Configuration() string {
	doc, err := parse(c.Loaded)
	if err != nil {
		return err.Error()
	}
	doc.Root().CreateAttr("config_version", "0")
	return render(doc)
}

// vmAttributes are those of the schema.
var vmAttributes = strings.Fields("name ref domain autostart exclusive recovery migrate migrate_options migration_mapping migration_uri hypervisor hypervisor_uri use_virsh xmlfile path snapshot depend depend_mode max_restarts restart_expire_time status_program tunnelled no_kill __max_failures __failure_expire_time __max_restarts __restart_expire_time __independent_subtree __enforce_timeouts")

func refusal(format string, args ...any) Reply {
	return Reply{Stdout: fmt.Sprintf(format, args...) + "\n", Status: 1}
}

// ccs edits one file: that of -f, or that of the node of -h.
func (c *Cluster) ccs(local *Node, args []string, stdin string) Reply {
	if c.RHEL5 {
		return Reply{Stderr: "ccs: command not found\n", Status: 127}
	}
	host, file := local.Name, ""
	for len(args) > 1 && (args[0] == "-h" || args[0] == "-f") {
		if args[0] == "-h" {
			host = args[1]
		} else {
			file = args[1]
		}
		args = args[2:]
	}
	if len(args) == 0 || !strings.HasPrefix(args[0], "--") {
		return Reply{Stdout: "Usage: ccs [OPTION]...\n", Status: 2}
	}
	action, args := args[0], args[1:]
	var node *Node
	if file == "" || action == "--setconf" {
		var refused *Reply
		if node, refused = c.ricci(local, host, stdin); refused != nil {
			return *refused
		}
	}
	text, readable := source(node, file)
	if !readable {
		return refusal("Unable to open file: %s", file)
	}
	doc, err := parse(text)
	if err != nil {
		return refusal("Cluster configuration file specified is not in a valid xml format.")
	}
	switch action {
	case "--getconf":
		return Reply{Stdout: render(doc)}
	case "--getversion":
		return Reply{Stdout: strconv.Itoa(version(doc)) + "\n"}
	case "--setconf":
		node.Config = text // ricci's answer is not looked at
		return Reply{}
	case "--setversion":
		doc.Root().CreateAttr("config_version", args[0])
	default:
		if r := change(doc, action, args); r.Status != 0 {
			return r
		}
		raise(doc, 1)
	}
	if file != "" {
		if err := os.WriteFile(file, []byte(render(doc)), 0o600); err != nil {
			return refusal("Unable to open file: %s", file)
		}
		return Reply{}
	}
	node.Config = render(doc)
	return Reply{}
}

// ricci is the node that a call of ccs goes to, or what it is refused with.
func (c *Cluster) ricci(local *Node, host, stdin string) (*Node, *Reply) {
	node := c.Node(host)
	if host == "localhost" {
		node = local
	}
	refuse := func(format string, args ...any) (*Node, *Reply) {
		r := refusal(format, args...)
		return nil, &r
	}
	switch {
	case node == nil:
		return refuse("Unable to resolve %s, does that host exist?", host)
	case !node.Up || node.NoRicci:
		return refuse("Unable to connect to %s, make sure the ricci server is started.", host)
	case node.Unauthorised:
		if stdin != "" {
			c.violation("a password was given to ccs")
		}
		return refuse("%s password: Error: Not yet authenticated with %s (try -p option)", host, host)
	}
	return node, nil
}

// source is the text that is edited: a file's, or a node's.
func source(node *Node, file string) (text string, ok bool) {
	if file == "" {
		return node.Config, true
	}
	data, err := os.ReadFile(file)
	return string(data), err == nil
}

func change(doc *etree.Document, action string, args []string) Reply {
	rm := doc.Root().SelectElement("rm")
	if rm == nil && strings.HasPrefix(action, "--rm") {
		return refusal("No <rm> section in cluster.conf")
	}
	if rm == nil {
		rm = doc.Root().CreateElement("rm")
	}
	domains := rm.SelectElement("failoverdomains")
	domain := named(doc, "rm/failoverdomains/failoverdomain", args[0])
	switch action {
	case "--addvm":
		return addVM(rm, args)
	case "--rmvm":
		vm := named(doc, "rm/vm", args[0])
		if vm == nil {
			return refusal("Unable to find virtual machine: %s", args[0])
		}
		rm.RemoveChild(vm)
	case "--addfailoverdomain":
		if domain != nil {
			return refusal("Failover domain '%s' already exists.", args[0])
		}
		addDomain(rm, args)
	case "--addfailoverdomainnode":
		if domain == nil {
			return refusal("Unable to find failoverdomain '%s'", args[0])
		}
		node := domain.CreateElement("failoverdomainnode")
		node.CreateAttr("name", args[1])
		if n, err := strconv.Atoi(args[2]); err != nil || n < 1 || n > 100 {
			return Reply{Stdout: "Priority must be between 1 and 100\n", Status: 2}
		}
		node.CreateAttr("priority", args[2])
	case "--rmfailoverdomain":
		if domain == nil {
			return refusal("Unable to find failover domain '%s' in cluster.conf file.", args[0])
		}
		domains.RemoveChild(domain)
	default:
		return Reply{Stdout: "Usage: ccs [OPTION]...\n", Status: 2}
	}
	return Reply{}
}

func addVM(rm *element, args []string) Reply {
	for _, e := range rm.ChildElements() {
		if e.SelectAttrValue("name", "") == args[0] {
			return refusal("Duplicate name: %s", args[0])
		}
	}
	vm := rm.CreateElement("vm")
	vm.CreateAttr("name", args[0])
	for _, text := range args[1:] {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return refusal("Invalid option: %s", text)
		}
		if !slices.Contains(vmAttributes, name) {
			return refusal("Validation Failure, unable to modify configuration file (use -i to ignore this error).")
		}
		vm.CreateAttr(name, value)
	}
	return Reply{}
}

func addDomain(rm *element, args []string) {
	domains := rm.SelectElement("failoverdomains")
	if domains == nil {
		domains = etree.NewElement("failoverdomains")
		rm.InsertChildAt(0, domains)
	}
	domain := domains.CreateElement("failoverdomain")
	domain.CreateAttr("name", args[0])
	for _, word := range []string{"restricted", "ordered", "nofailback"} {
		domain.CreateAttr(word, strconv.Itoa(bit(slices.Contains(args[1:], word))))
	}
}

// ccsTool is RHEL 5's: ccsd gives the file to all members, and the cluster loads it.
func (c *Cluster) ccsTool(n *Node, args []string) Reply {
	failure := func(format string, a ...any) Reply {
		return Reply{Stderr: fmt.Sprintf(format, a...) + "\nFailed to update config file.\n", Status: 1}
	}
	if !c.RHEL5 || len(args) != 2 || args[0] != "update" {
		return Reply{Stderr: "usage\n", Status: 1}
	}
	data, err := os.ReadFile(args[1])
	doc, parseErr := parse(string(data))
	old, oldErr := parse(n.Config)
	switch {
	case err != nil || parseErr != nil || oldErr != nil:
		return failure("Unable to read %s", args[1])
	case !c.Quorum:
		return failure("Unable to honor update request.  Cluster is not quorate.")
	case version(doc) <= version(old):
		return failure("Proposed updated config file does not have greater version number.\n  Current config_version :: %d\n  Proposed config_version:: %d", version(old), version(doc))
	}
	for _, m := range c.Nodes {
		if m.Up {
			m.Config = string(data)
		}
	}
	c.load(n)
	return Reply{Stdout: fmt.Sprintf("Config file updated from version %d to %d\nUpdate complete.\n", version(old), version(doc))}
}

func (c *Cluster) cmanTool(n *Node, args []string) Reply {
	failure := func(text string) Reply { return Reply{Stderr: "cman_tool: " + text + "\n", Status: 1} }
	if !n.Up {
		return failure("Cannot open connection to cman, is it running ?")
	}
	running, err := parse(c.Loaded)
	if err != nil {
		panic(err)
	}
	own, err := parse(n.Config)
	switch {
	case slices.Equal(args, []string{"version"}):
		release := "6.2.0"
		if c.RHEL5 {
			release = "6.1.0"
		}
		return Reply{Stdout: fmt.Sprintf("%s config %d\n", release, version(running))}
	case len(args) == 3 && args[0] == "version" && args[1] == "-r":
		switch {
		case err != nil:
			return failure("Not reloading, configuration is not valid")
		case version(own) <= version(running) && !c.RHEL5:
			return failure("Not reloading, config version older or equal the running config")
		}
		c.load(n)
		return Reply{}
	case len(args) > 0 && args[0] == "status":
		return Reply{Stdout: fmt.Sprintf("Version: 6.2.0\nConfig Version: %d\nCluster Name: sanone\nCluster Member: Yes\nNodes: %d\nQuorum: 1  \nNode name: %s\nNode ID: 1\n", version(running), len(c.Nodes), n.Name)}
	}
	return failure("unknown option")
}

// load makes a node's file the running configuration. Each other live member reads its own
// file: one that is not the same version takes the node out of the quorum, and its VMs with it.
func (c *Cluster) load(n *Node) {
	doc, err := parse(n.Config)
	if err != nil {
		return
	}
	before, _ := parse(c.Loaded)
	c.Loaded = n.Config
	for _, m := range c.Nodes {
		own, err := parse(m.Config)
		if m.Error = m.Up && (err != nil || version(own) != version(doc)); m.Error {
			c.violation("%s lost its quorum: it had not the version %d that was activated", m.Name, version(doc))
		}
	}
	for _, vm := range doc.Root().FindElements("rm/vm") {
		name := vm.SelectAttrValue("name", "")
		s := c.Services[name]
		if s == nil {
			s = &Service{State: disabled}
			c.Services[name] = s
			if vm.SelectAttrValue("autostart", "1") == "1" {
				c.begin(name, s, starting, "")
				s.Due = s.Due.Add(c.Delays.Load)
			}
			continue
		}
		if old := named(before, "rm/vm", name); old != nil && s.State == started && old.SelectAttrValue("xmlfile", "") != vm.SelectAttrValue("xmlfile", "") {
			c.violation("vm:%s was changed while it runs: rgmanager stops and starts it", name)
		}
	}
	for name, s := range c.Services {
		if named(doc, "rm/vm", name) == nil {
			if s.State == started {
				c.violation("vm:%s was removed while it runs: the guest is on its own", name)
			}
			delete(c.Services, name)
		}
	}
}

func (c *Cluster) fenceTool(n *Node, args []string) Reply {
	if !n.Up || c.RHEL5 && len(args) > 1 || !slices.Equal(args[:min(1, len(args))], []string{"ls"}) {
		return Reply{Stderr: "fence_tool: cannot connect to fenced\n", Status: 1}
	}
	victims, wait := 0, "none"
	for _, m := range c.Nodes {
		if !m.Fencing.IsZero() {
			victims, wait = victims+1, "fencing"
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "fence domain\nmember count  %d\nvictim count  %d\nvictim now    0\nmaster nodeid 1\nwait state    %s\nmembers       ", len(c.Nodes)-victims, victims, wait)
	for i, m := range c.Nodes {
		if m.Up {
			fmt.Fprintf(&out, "%d ", i+1)
		}
	}
	out.WriteString("\n")
	if slices.Contains(args, "-n") {
		out.WriteString("all nodes\n")
		for i, m := range c.Nodes {
			how := "none"
			if m.Fenced {
				how = "agent"
			}
			fmt.Fprintf(&out, "nodeid %d member %d victim %d last fence master %d how %s\n", i+1, bit(m.Up), bit(!m.Fencing.IsZero()), bit(m.Fenced), how)
		}
	}
	out.WriteString("\n")
	return Reply{Stdout: out.String()}
}
