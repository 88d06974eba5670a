package agent

import (
	"bytes"
	"context"
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// Domain is a VM that runs on the node, as the hypervisor tells.
type Domain struct {
	VM int `json:"vm"`
}

// Service is a machine that the cluster has to keep running.
type Service struct {
	VM      int    `json:"vm"`
	Node    string `json:"node,omitempty"` // where the cluster has it; "" nowhere
	Started bool   `json:"started"`
}

// askTime is how long a hypervisor or a cluster manager may take to answer.
const askTime = 20 * time.Second

// domainPattern is how OpenNebula's machines are called, with their ids.
var domainPattern = lazyregexp.New(`^(?:vm:)?one-(0|[1-9][0-9]{0,8})$`)

func vmOf(name string) (int, bool) {
	m := domainPattern.FindStringSubmatch(strings.TrimSpace(name))
	if m == nil {
		return 0, false
	}
	return number(m[1]), true
}

// number reads digits that a pattern has matched.
func number(digits string) int {
	n, _ := strconv.Atoi(digits) // at most nine of them
	return n
}

// ask runs a program that only reads. ok is false where it is not installed or does not
// answer; the latter is said.
func (c *session) ask(ctx context.Context, program string, args ...string) (text []byte, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := c.Runner.Run(ctx, run.Cmd{Path: program, Args: args})
	if err == nil {
		return res.Stdout, true
	}
	if run.Installed(program) {
		c.log("warn", "%v", err)
	}
	return nil, false
}

// domains asks libvirt for the machines that run.
func (c *session) domains(ctx context.Context) []Domain {
	text, ok := c.ask(ctx, "virsh", "-r", "-c", "qemu:///system", "list", "--name")
	if !ok {
		return nil
	}
	found := []Domain{}
	for line := range strings.Lines(string(text)) {
		if vm, ok := vmOf(line); ok {
			found = append(found, Domain{vm})
		}
	}
	return found
}

// services asks the cluster manager that is installed: Pacemaker or rgmanager.
func (c *session) services(ctx context.Context) []Service {
	if text, ok := c.ask(ctx, "crm_mon", "-1", "--output-as=xml"); ok {
		return readPacemaker(text)
	}
	if text, ok := c.ask(ctx, "clustat", "-x"); ok {
		return readRGManager(text)
	}
	return nil
}

// readPacemaker reads the resources of crm_mon's XML, those in groups, too.
func readPacemaker(text []byte) []Service {
	type resource struct {
		ID    string `xml:"id,attr"`
		Role  string `xml:"role,attr"`
		Nodes []struct {
			Name string `xml:"name,attr"`
		} `xml:"node"`
	}
	found := []Service{}
	eachElement(text, "resource", func(decode func(any) error) {
		var r resource
		if decode(&r) != nil {
			return
		}
		vm, ok := vmOf(r.ID)
		if !ok {
			return
		}
		s := Service{VM: vm, Started: r.Role == "Started" || r.Role == "Migrating"}
		if len(r.Nodes) > 0 {
			s.Node = r.Nodes[0].Name
		}
		found = append(found, s)
	})
	return found
}

// readRGManager reads the groups of clustat's XML.
func readRGManager(text []byte) []Service {
	type group struct {
		Name  string `xml:"name,attr"`
		State string `xml:"state_str,attr"`
		Owner string `xml:"owner,attr"`
	}
	found := []Service{}
	eachElement(text, "group", func(decode func(any) error) {
		var g group
		if decode(&g) != nil {
			return
		}
		vm, ok := vmOf(g.Name)
		if !ok {
			return
		}
		s := Service{VM: vm, Started: g.State == "started" || g.State == "migrating"}
		if g.Owner != "none" {
			s.Node = g.Owner
		}
		found = append(found, s)
	})
	return found
}

// eachElement finds the elements of a name, wherever they are in a document. One that is
// cut off gives what came before.
func eachElement(text []byte, name string, found func(decode func(any) error)) {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := decoder.Token()
		if err != nil {
			return
		}
		start, ok := token.(xml.StartElement)
		if ok && start.Name.Local == name {
			found(func(v any) error { return decoder.DecodeElement(v, &start) })
		}
	}
}
