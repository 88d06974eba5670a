package rgmanager

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// Config is a cluster.conf. It is only read: every change goes through the tools.
type Config struct {
	Cluster string
	Version int
	Nodes   []string // as clusternode has them, in order

	doc *etree.Document
}

// ErrConfig means: this is no cluster.conf. Test with errors.Is.
var ErrConfig = errors.New("not a cluster.conf")

// ReadConfig reads a cluster.conf, as the file has it or as ccs --getconf prints it.
func ReadConfig(r io.Reader) (*Config, error) {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if _, err := doc.ReadFrom(io.LimitReader(r, maxReport)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	root := doc.Root()
	if root == nil || root.Tag != "cluster" {
		return nil, fmt.Errorf("%w: its root is not cluster", ErrConfig)
	}
	version, err := strconv.Atoi(root.SelectAttrValue("config_version", ""))
	if err != nil || version < 1 {
		return nil, fmt.Errorf("%w: config_version is %q", ErrConfig, root.SelectAttrValue("config_version", ""))
	}
	c := &Config{Cluster: root.SelectAttrValue("name", ""), Version: version, doc: doc}
	for _, e := range root.FindElements("clusternodes/clusternode") {
		c.Nodes = append(c.Nodes, e.SelectAttrValue("name", ""))
	}
	return c, nil
}

// vm is the element of a VM's service, nil without one. Only one directly below rm is a
// service of its own.
func (c *Config) vm(name string) *etree.Element { return c.named("rm/vm", name) }

func (c *Config) domain(name string) *etree.Element {
	return c.named("rm/failoverdomains/failoverdomain", name)
}

func (c *Config) named(path, name string) *etree.Element {
	for _, e := range c.doc.Root().FindElements(path) {
		if e.SelectAttrValue("name", "") == name {
			return e
		}
	}
	return nil
}

// services counts what rgmanager manages.
func (c *Config) services() int {
	return len(c.doc.Root().FindElements("rm/vm")) + len(c.doc.Root().FindElements("rm/service"))
}

// fenced says that every node has a way to be fenced in which no person has to help.
func (c *Config) fenced() bool {
	agents := map[string]string{}
	for _, e := range c.doc.Root().FindElements("fencedevices/fencedevice") {
		agents[e.SelectAttrValue("name", "")] = e.SelectAttrValue("agent", "")
	}
	for _, node := range c.doc.Root().FindElements("clusternodes/clusternode") {
		if !slices.ContainsFunc(node.FindElements("fence/method"), func(method *etree.Element) bool { return automatic(method, agents) }) {
			return false
		}
	}
	return len(c.Nodes) > 0
}

// automatic: all devices of a method have to work.
func automatic(method *etree.Element, agents map[string]string) bool {
	devices := method.SelectElements("device")
	for _, device := range devices {
		agent := agents[device.SelectAttrValue("name", "")]
		if agent == "" || agent == "fence_manual" {
			return false
		}
	}
	return len(devices) > 0
}

// same compares two configurations but for their versions and the way they are written.
// Without ours the services of OpenNebula's VMs do not count either.
func (c *Config) same(other *Config, ours bool) bool {
	return canonical(c.doc.Root(), ours) == canonical(other.doc.Root(), ours)
}

// oursPattern are the names that this driver gives.
var oursPattern = regexp.MustCompile(`^one-[0-9]+$`)

// canonical is an element without its version, its attributes in order. Without ours also
// what our elements leave empty does not count.
func canonical(e *etree.Element, ours bool) string {
	var attributes []string
	for _, a := range e.Attr {
		if a.Key != "config_version" {
			attributes = append(attributes, fmt.Sprintf("%s=%q", a.Key, a.Value))
		}
	}
	slices.Sort(attributes)
	var inner strings.Builder
	inner.WriteString(strings.TrimSpace(e.Text()))
	for _, child := range e.ChildElements() {
		inner.WriteString(canonical(child, ours))
	}
	vm := e.Tag == "vm" || e.Tag == "failoverdomain"
	room := e.Tag == "rm" || e.Tag == "failoverdomains"
	if !ours && (vm && oursPattern.MatchString(e.SelectAttrValue("name", "")) || room && inner.Len() == 0 && len(attributes) == 0) {
		return ""
	}
	return fmt.Sprintf("<%s %s>%s</%s>", e.Tag, strings.Join(attributes, " "), inner.String(), e.Tag)
}

// text is the document as the tools are given it.
func (c *Config) text() (string, error) { return c.doc.WriteToString() }
