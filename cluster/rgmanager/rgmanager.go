// Package rgmanager is the stack of RHEL 5 and 6: cman and rgmanager. It has all text of
// their tools: clustat and clusvcadm, cman_tool, and ccs or, on RHEL 5, ccs_tool.
//
// A VM is a vm element of cluster.conf and a failover domain of its own. The configuration
// is a file that each node has a copy of, and no tool keeps two writers apart: see change.
package rgmanager

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"one-clvm/cluster"
	"one-clvm/cluster/virsh"
	"one-clvm/internal/run"
)

// Name of the stack.
const Name = "rgmanager"

// ConfigFile is the cluster's configuration; each node has a copy.
const ConfigFile = "/etc/cluster/cluster.conf"

// Stack implements cluster.Stack and cluster.Performer.
type Stack struct {
	Runner   run.Runner
	Virsh    *virsh.Client
	Clock    cluster.Clock
	Document func() (string, error) // the order's domain, checked
	// Config reads this node's cluster.conf.
	Config func() ([]byte, error)
	// Lock excludes all other writers of cluster.conf, on all nodes, until release.
	Lock func(ctx context.Context) (release func(), err error)
	// Scratch is a directory that only root can write, for private copies of cluster.conf.
	Scratch string
	// RHEL5: the configuration is distributed by ccs_tool, there is no ccs.
	RHEL5 bool
}

// Name implements cluster.Stack.
func (*Stack) Name() string { return Name }

// Observe implements cluster.Stack: one report of clustat, this node's cluster.conf, and
// one question to libvirt.
func (p *Stack) Observe(ctx context.Context, s cluster.Service) (cluster.State, error) {
	seen, config, err := p.look(ctx, s.Name)
	for n := 1; err != nil && seen.manager && n < attempts; n++ { // it is busy, or taking note of a change
		if err := p.Clock.Sleep(ctx, interval); err != nil {
			return cluster.State{}, err
		}
		seen, config, err = p.look(ctx, s.Name)
	}
	if err != nil {
		return cluster.State{}, err
	}
	p.buryOwner(ctx, &seen)
	state := seen.State
	state.Manager = cluster.Manager{Enables: true, Moves: true, Waits: true}
	state.Fencing = config.fenced()
	state.Service.Defined = state.Service.Defined || config.vm(s.Name) != nil // not loaded yet
	state.Domain, _ = p.Virsh.State(ctx, s)
	return state, nil
}

// buryOwner: rgmanager does not touch a frozen service whose node is dead, also once that one is
// fenced: it runs nowhere then, and starting it is a verb's.
func (p *Stack) buryOwner(ctx context.Context, seen *report) {
	c := &seen.Service
	if !c.Frozen || len(c.Running) != 1 {
		return
	}
	i := slices.IndexFunc(seen.Nodes, func(n member) bool { return n.Name == c.Running[0] })
	if i < 0 || !seen.Nodes[i].Unclean {
		return
	}
	p.proveOff(ctx, seen.Nodes)
	if seen.Nodes[i].Fenced {
		seen.Nodes[i].Unclean, seen.State.Nodes[i].Unclean, c.Running = false, false, nil
	}
}

// look asks clustat.
func (p *Stack) look(ctx context.Context, name string) (report, *Config, error) {
	res, err := p.Runner.Run(ctx, run.Cmd{Path: "clustat", Args: []string{"-x"}})
	seen, parseErr := parseReport(bytes.NewReader(res.Stdout), name)
	if parseErr != nil && err != nil {
		parseErr = fmt.Errorf("%w: %w", parseErr, err)
	}
	if parseErr != nil {
		return seen, nil, parseErr
	}
	text, err := p.Config()
	if err != nil {
		return seen, nil, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	config, err := ReadConfig(bytes.NewReader(text))
	if err != nil {
		return seen, nil, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	if !seen.services && !p.none(ctx, seen, config, res.Stderr) {
		return seen, nil, fmt.Errorf("%w: clustat has no services%s: is rgmanager running on this node?", cluster.ErrDown, seen.complaint())
	}
	return seen, config, nil
}

// none: a report without services is right where rgmanager runs, has nothing to complain of,
// and no service is configured, or none of them loaded yet.
func (p *Stack) none(ctx context.Context, seen report, config *Config, stderr []byte) bool {
	if !seen.manager || seen.before != "" || len(stderr) > 0 {
		return false
	}
	if config.services() == 0 {
		return true
	}
	loaded, err := p.loaded(ctx)
	return err == nil && loaded < config.Version
}

// settled is a look that bears with a cluster that is just taking note of a change.
func (p *Stack) settled(ctx context.Context, s cluster.Service) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience.Settle)
	defer cancel()
	deadline := p.Clock.Now().Add(s.Patience.Settle)
	for {
		seen, _, err := p.look(ctx, s.Name)
		if err == nil || !p.Clock.Now().Before(deadline) {
			return seen, err
		}
		if err := p.Clock.Sleep(ctx, interval); err != nil {
			return seen, err
		}
	}
}

// Survey implements cluster.Surveyor: one report, the configuration, which says which
// services are VMs of OpenNebula, and, where a node is gone, what fenced says of it. It
// needs Runner and Config alone.
func (p *Stack) Survey(ctx context.Context) (cluster.Survey, error) {
	seen, config, err := p.look(ctx, "")
	if err != nil {
		return cluster.Survey{}, err
	}
	p.proveOff(ctx, seen.Nodes)
	survey := cluster.Survey{Self: seen.Self, Quorate: seen.Quorate}
	for _, n := range seen.Nodes {
		survey.Nodes = append(survey.Nodes, n.Node)
	}
	for _, e := range config.doc.Root().FindElements("rm/vm") {
		name := e.SelectAttrValue("name", "")
		c, loaded := seen.all[name]
		file := e.SelectAttrValue("xmlfile", "")
		if file == "" { // RHEL 5: a directory, with a file of the VM's name
			file = path.Join(e.SelectAttrValue("path", ""), name)
		}
		if loaded && oursPattern.MatchString(name) && path.IsAbs(file) {
			survey.VMs = append(survey.VMs, cluster.Surveyed{Name: name, Definition: file, Condition: c})
		}
	}
	return survey, nil
}

// Commands implements cluster.Stack: what is left to libvirt.
func (p *Stack) Commands(o cluster.Order, s cluster.Step) ([]cluster.Command, error) {
	return p.Virsh.Commands(o, s, p.Document)
}

// Perform implements cluster.Performer.
func (p *Stack) Perform(ctx context.Context, o cluster.Order, s cluster.Step) (bool, error) {
	switch s.Action {
	case cluster.Define:
		return true, p.change(ctx, o, func(c *Config) []edit { return definition(c, o.Service, s.Node, p.Virsh.MigrationURI, p.RHEL5) })
	case cluster.Prefer:
		return true, p.change(ctx, o, func(c *Config) []edit { return failoverDomain(c, o.Service.Name, s.Node) })
	case cluster.Remove:
		return true, p.remove(ctx, o)
	case cluster.Enable:
		return true, p.enable(ctx, o, s.Node)
	case cluster.Disable:
		return true, p.disable(ctx, o)
	case cluster.Move:
		return true, p.move(ctx, o, s.Node)
	case cluster.Freeze:
		_, err := p.admin(ctx, o.Service.Patience.Settle, "-Z", serviceID(o.Service.Name))
		return true, err
	case cluster.Thaw:
		return true, p.thaw(ctx, o)
	case cluster.Forget: // rgmanager remembers no failures; a failed service is dealt with by enable and disable
		return true, nil
	}
	return false, nil
}

// remove takes the service out of the configuration, once no live node has its domain:
// without the vm element nobody would look after a guest that is left.
func (p *Stack) remove(ctx context.Context, o cluster.Order) error {
	if err := p.absentEverywhere(ctx, o.Service); err != nil {
		return err
	}
	return p.change(ctx, o, func(c *Config) []edit { return removal(c, o.Service.Name) })
}

// absentEverywhere asks the libvirt of every live member. One that does not answer may run
// the VM.
func (p *Stack) absentEverywhere(ctx context.Context, s cluster.Service) error {
	seen, err := p.settled(ctx, s)
	if err != nil {
		return err
	}
	for _, n := range seen.Nodes {
		if !n.member {
			continue
		}
		there := s
		if n.Name != seen.Self {
			there.Hypervisor = strings.ReplaceAll(p.Virsh.MigrationURI, "%s", n.Name)
		}
		look, cancel := context.WithTimeout(ctx, s.Patience.Settle)
		state, why := p.Virsh.State(look, there)
		cancel()
		switch state {
		case cluster.Absent:
		case cluster.Unknown:
			return fmt.Errorf("%w on %s, where %s may run (%s): nothing was changed; start libvirtd there and run the verb again", cluster.ErrHypervisor, n.Name, s.Name, why)
		default:
			return fmt.Errorf("%w: %s is %s on %s; nothing was changed: see to it there (virsh destroy %s), then run the verb again", cluster.ErrRefused, s.Name, state, n.Name, s.Name)
		}
	}
	return nil
}

// members are the live nodes, by name, which hold the configuration that runs.
func (r *report) members() []string {
	var names []string
	for _, n := range r.Nodes {
		if n.member {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}
