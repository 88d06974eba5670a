package opennebula

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// DaemonConfig is oned's own configuration: oned.conf as it runs (one.system.config, which
// only the group oneadmin is told), or the file as it would.
type DaemonConfig struct {
	sections []Section
}

// Section is one assignment in oned.conf: KIND = "value" or KIND = [ NAME = "value", … ].
type Section struct {
	Kind     string
	Value    string
	Settings map[string]string
}

// Attribute is a NAME = "VALUE" of a template.
type Attribute struct{ Name, Value string }

// NewDaemonConfig is the configuration of these sections.
func NewDaemonConfig(sections []Section) *DaemonConfig { return &DaemonConfig{sections} }

// ParseDaemonConfig reads the answer of one.system.config.
func ParseDaemonConfig(r io.Reader) (*DaemonConfig, error) {
	root, err := parseRoot(r, "OPENNEBULA_CONFIGURATION")
	if err != nil {
		return nil, err
	}
	c := &DaemonConfig{}
	for _, element := range root.ChildElements() {
		c.sections = append(c.sections, Section{element.Tag, strings.TrimSpace(element.Text()), attributes(element)})
	}
	return c, nil
}

// of are the sections of a kind.
func (c *DaemonConfig) of(kind string) (all []Section) {
	for _, s := range c.sections {
		if s.Kind == kind {
			all = append(all, s)
		}
	}
	return all
}

// Driver is the section of that kind (TM_MAD_CONF, DS_MAD_CONF, VM_MAD) with that NAME; ok
// is false where there is none.
func (c *DaemonConfig) Driver(kind, name string) (settings map[string]string, ok bool) {
	for _, s := range c.of(kind) {
		if strings.EqualFold(s.Settings["NAME"], name) {
			return s.Settings, true
		}
	}
	return nil, false
}

// Values are those of an attribute that may stand there several times.
func (c *DaemonConfig) Values(kind string) (all []string) {
	for _, s := range c.of(kind) {
		all = append(all, s.Value)
	}
	return all
}

// Argument is the value of an option (-d, -s) in the ARGUMENTS of a section (TM_MAD,
// DATASTORE_MAD), taken apart at its commas.
func (c *DaemonConfig) Argument(section, option string) []string {
	for _, s := range c.of(section) {
		words := strings.Fields(s.Settings["ARGUMENTS"])
		for i, word := range words {
			if word == option && i+1 < len(words) {
				return strings.Split(strings.Trim(words[i+1], `"'`), ",")
			}
		}
	}
	return nil
}

// HostHooks are the hooks on hosts that are written in oned.conf (up to 5.8). They have no
// ids.
func (c *DaemonConfig) HostHooks() []Hook {
	var hooks []Hook
	for _, s := range c.of("HOST_HOOK") {
		a := s.Settings
		hooks = append(hooks, Hook{ID: None, Name: a["NAME"], Resource: "HOST", State: a["ON"], Command: a["COMMAND"], Arguments: a["ARGUMENTS"]})
	}
	return hooks
}

// DaemonConfig asks for oned's configuration.
func (c *Client) DaemonConfig(ctx context.Context) (*DaemonConfig, error) {
	document, err := c.call(ctx, "one.system.config")
	if err != nil {
		return nil, fmt.Errorf("oned's configuration: %w", err)
	}
	return ParseDaemonConfig(strings.NewReader(document))
}

// Hook is something that OpenNebula does by itself when a state changes.
type Hook struct {
	ID        int // None for one in oned.conf
	Name      string
	Resource  string // HOST, VM, …; "" of one for an API call
	State     string // ERROR, …
	Command   string
	Arguments string
}

// OnHostError says whether the hook acts when a host is lost, as host_error.rb does.
func (h Hook) OnHostError() bool {
	return h.Resource == "HOST" && slices.Contains([]string{"ERROR", "MONITORING_ERROR"}, h.State)
}

// ParseHookPool reads the list of all hooks (one.hookpool.info, `onehook list -x`).
func ParseHookPool(r io.Reader) ([]Hook, error) {
	root, err := parseRoot(r, "HOOK_POOL")
	if err != nil {
		return nil, err
	}
	var hooks []Hook
	for _, element := range root.SelectElements("HOOK") {
		f := &fields{element: element, object: "HOOK"}
		a := attributes(element.SelectElement("TEMPLATE"))
		hooks = append(hooks, Hook{ID: f.id("ID"), Name: f.text("NAME"), Resource: a["RESOURCE"], State: a["STATE"], Command: a["COMMAND"], Arguments: a["ARGUMENTS"]})
		if f.err != nil {
			return nil, f.err
		}
	}
	return hooks, nil
}

// Hooks lists all hooks; none where oned has no such call (up to 5.8, see HostHooks).
func (c *Client) Hooks(ctx context.Context) ([]Hook, error) {
	all := []any{-2, -1, -1} // everybody's, from the first to the last
	hooks, err := get(ctx, c, query{"list of hooks", "one.hookpool.info", all, listCommand("onehook")}, ParseHookPool)
	var failed *APIError
	if errors.As(err, &failed) && failed.Code == codeNoMethod {
		return nil, nil
	}
	return hooks, err
}

// Datastores lists all datastores.
func (c *Client) Datastores(ctx context.Context) ([]Datastore, error) {
	return get(ctx, c, query{"list of datastores", "one.datastorepool.info", nil, listCommand("onedatastore")}, ParseDatastorePool)
}

// ParseDatastorePool reads the list of all datastores (one.datastorepool.info).
func ParseDatastorePool(r io.Reader) ([]Datastore, error) {
	root, err := parseRoot(r, "DATASTORE_POOL")
	if err != nil {
		return nil, err
	}
	var datastores []Datastore
	for _, element := range root.SelectElements("DATASTORE") {
		ds, err := readDatastore(element)
		if err != nil {
			return nil, err
		}
		datastores = append(datastores, *ds)
	}
	return datastores, nil
}
