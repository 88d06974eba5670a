// Package cxm is the stack of that name: a cluster of Xen nodes whose daemon, cxmd, starts
// the VMs of nodes that failed. It has all text of cxm and cxmd_ctl.
//
// A VM is a file in CFG_DIR, which the nodes share, and a link to it in AUTO_DIR of the node
// that it belongs to. cxm activates the VM's volumes by itself.
package cxm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/cluster"
	"one-clvm/cluster/xen"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// Name of the stack.
const Name = "cxm"

// Stack implements cluster.Stack and cluster.Performer.
type Stack struct {
	Runner     run.Runner
	Hypervisor *xen.Client
	Self       string // this node, by the name that cxm knows it under
	AutoDir    string // where autostart links are
	Files      string // where the VMs' files are; "" is not compared with what cxm has
	// Config reads cxm.conf.
	Config func() ([]byte, error)
}

// Name implements cluster.Stack.
func (*Stack) Name() string { return Name }

// noFencing is a line of cxm.conf, which is Python.
var noFencing = lazyregexp.New(`(?m)^\s*DISABLE_FENCING\s*=\s*(True|1)\b`)

// vmconfDir is the line that says where cxm has the VMs' files.
var vmconfDir = lazyregexp.New(`(?m)^\s*VMCONF_DIR\s*=\s*['"]([^'"]*)['"]`)

// defaultFiles is VMCONF_DIR of a file without one.
const defaultFiles = "/etc/xen/vm"

// checkFiles: cxm looks for a VM in a directory of its own.
func (p *Stack) checkFiles(config []byte) error {
	dir := defaultFiles
	if match := vmconfDir.FindSubmatch(config); match != nil {
		dir = filepath.Clean(string(match[1]))
	}
	if p.Files != "" && filepath.Clean(p.Files) != dir {
		return fmt.Errorf("%w: cxm has the VMs' files in %s (VMCONF_DIR in cxm.conf), and agent.conf in %s (CFG_DIR): make them the same; nothing was changed", cluster.ErrRefused, dir, p.Files)
	}
	return nil
}

// manager is how cxm differs.
var manager = cluster.Manager{Enables: true, Moves: true, Leaves: true, Anew: true, Insists: true}

// Observe implements cluster.Stack: the daemon's nodes and state, where cxm finds the VM and
// its link, and one question to the hypervisor.
func (p *Stack) Observe(ctx context.Context, s cluster.Service) (cluster.State, error) {
	survey, status, err := p.daemon(ctx)
	if err != nil {
		return cluster.State{}, err
	}
	survey.Manager.Wakes = p.Hypervisor.Program == xen.XM
	state := survey.Of(cluster.Condition{}, cluster.Unknown)
	config, err := p.Config()
	if err != nil {
		return state, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	if err := p.checkFiles(config); err != nil {
		return state, err
	}
	state.Fencing = noFencing.FindSubmatch(config) == nil
	found, err := p.search(ctx, s.Name)
	if err != nil {
		return state, err
	}
	state.Service.Defined, state.Service.Running = len(found.links) > 0, found.running
	if status == recovery && len(state.Service.Running) == 0 { // a dead node's link is not seen
		state.Service.Pending = "recovering"
	}
	state.Domain, _ = p.Hypervisor.State(ctx, s)
	return state, nil
}

// The states of cxmd. In recovery it fences a node and starts that one's VMs elsewhere; in
// panic it does nothing at all.
const (
	normal   = "normal"
	recovery = "recovery"
)

// daemon asks cxmd for its nodes, and how it is.
func (p *Stack) daemon(ctx context.Context) (survey cluster.Survey, status string, err error) {
	text, err := p.ask(ctx, "cxmd_ctl", "--ping")
	if err == nil && text != "OK" {
		err = fmt.Errorf("it says %q", text)
	}
	if err != nil {
		return survey, "", fmt.Errorf("%w: start cxmd on this node: %w", cluster.ErrDown, err)
	}
	survey = cluster.Survey{Self: p.Self, Quorate: true, Manager: manager}
	members, err := p.ask(ctx, "cxmd_ctl", "-l")
	if err != nil {
		return survey, "", fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	for _, name := range strings.Fields(members) {
		survey.Nodes = append(survey.Nodes, cluster.Node{Name: name, Online: true})
	}
	text, err = p.ask(ctx, "cxmd_ctl", "-s")
	if err != nil {
		return survey, "", fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	_, status, ok := strings.Cut(text, "State:")
	if status = strings.TrimSpace(status); !ok {
		return survey, "", fmt.Errorf("%w: cxmd_ctl tells no state: %q", cluster.ErrDown, text)
	}
	survey.Maintenance = status != normal && status != recovery
	return survey, status, nil
}

// found is what cxm search says.
type found struct{ running, links []string }

// search asks all nodes. An answer without both of its lines is none: the name may have
// matched several VMs, or none of the files.
func (p *Stack) search(ctx context.Context, name string) (found, error) {
	text, err := p.ask(ctx, "cxm", "search", "--quiet", name)
	if err != nil {
		return found{}, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	var f found
	seen := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "-> VM is not started." || line == "-> Autostart link not found." {
			seen++
		} else if rest, ok := strings.CutPrefix(line, "-> Instance found on: "); ok {
			f.running, seen = strings.Split(rest, ", "), seen+1
		} else if rest, ok := strings.CutPrefix(line, "-> Autostart link found on: "); ok {
			f.links, seen = strings.Split(rest, ", "), seen+1
		}
	}
	if seen != 2 {
		return f, fmt.Errorf("%w: cxm search does not say where %s is: %s", cluster.ErrDown, name, strings.Join(strings.Fields(text), " "))
	}
	return f, nil
}

// ask is a call that only looks. Failures are told on standard output, too.
func (p *Stack) ask(ctx context.Context, program string, args ...string) (string, error) {
	res, err := p.Runner.Run(ctx, run.Cmd{Path: program, Args: args, Reads: true})
	text := strings.TrimSpace(string(res.Stdout))
	if err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(text), " "))
	}
	return text, err
}

// Commands implements cluster.Stack. Everything is said to be quiet: cxm would ask for
// consent on standard input.
func (p *Stack) Commands(o cluster.Order, s cluster.Step) ([]cluster.Command, error) {
	name := o.Service.Name
	one := func(words ...string) ([]cluster.Command, error) {
		return []cluster.Command{{Program: "cxm", Args: append([]string{"--quiet"}, words...)}}, nil
	}
	switch s.Action {
	case cluster.Enable: // by itself cxm would take another node where memory is short, and not tell
		return one("--force-node", s.Node, "create", name)
	case cluster.Ask:
		return p.Hypervisor.Commands(o, s, nil) // cxm shutdown has a deadline of its own
	case cluster.Destroy:
		return one("destroy", name)
	case cluster.Move:
		return one("migrate", name, s.Node)
	}
	return p.Hypervisor.Commands(o, s, nil)
}

// Perform implements cluster.Performer: the autostart link of this node.
func (p *Stack) Perform(ctx context.Context, o cluster.Order, s cluster.Step) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Service.Patience.Settle)
	defer cancel()
	link := filepath.Join(p.AutoDir, o.Service.Name)
	switch s.Action {
	case cluster.Define:
		return true, p.link(ctx, o, link)
	case cluster.Disable:
		return true, p.unlink(ctx, o, link)
	case cluster.Remove:
		return true, p.remove(ctx, o, link)
	}
	return false, nil
}

// remove takes the link away, then the definition: without a link no node starts the VM.
func (p *Stack) remove(ctx context.Context, o cluster.Order, link string) error {
	if err := p.unlink(ctx, o, link); err != nil {
		return err
	}
	if err := os.Remove(o.Service.Definition); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// link makes the link. One on another node would have the VM started there, too.
func (p *Stack) link(ctx context.Context, o cluster.Order, link string) error {
	if err := p.linkedElsewhere(ctx, o.Service.Name); err != nil {
		return err
	}
	err := os.Symlink(o.Service.Definition, link)
	if errors.Is(err, os.ErrExist) {
		target, readErr := os.Readlink(link)
		if readErr == nil && target == o.Service.Definition {
			return nil
		}
		return fmt.Errorf("%w: %s is there, and not the link of VM %d: remove it", cluster.ErrRefused, link, o.Service.VM)
	}
	failpoint.Hit("cxm.linked")
	return err
}

// unlink removes the link of this node, and nothing else of that name.
func (p *Stack) unlink(ctx context.Context, o cluster.Order, link string) error {
	if err := p.linkedElsewhere(ctx, o.Service.Name); err != nil {
		return err
	}
	target, err := os.Readlink(link)
	if errors.Is(err, os.ErrNotExist) || err == nil && target != o.Service.Definition {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(link); err != nil {
		return err
	}
	failpoint.Hit("cxm.unlinked")
	return nil
}

func (p *Stack) linkedElsewhere(ctx context.Context, name string) error {
	f, err := p.search(ctx, name)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(f.links, func(node string) bool { return node == p.Self })
	if len(others) > 0 {
		return fmt.Errorf("%w: the autostart link of %s is on %s, and would have it started there: remove %s on that node, then run the verb again",
			cluster.ErrElsewhere, name, strings.Join(others, " and "), filepath.Join(p.AutoDir, name))
	}
	return nil
}
