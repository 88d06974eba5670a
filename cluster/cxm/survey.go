package cxm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"one-clvm/cluster"
)

// Survey implements cluster.Surveyor: the VMs whose autostart link this node has. Where one
// that does not run here is, cxm is asked: it may just move, or have ended by itself, and
// then it stays off.
func (p *Stack) Survey(ctx context.Context) (cluster.Survey, error) {
	survey, status, err := p.daemon(ctx)
	if err != nil {
		return survey, err
	}
	links, err := os.ReadDir(p.AutoDir)
	if err != nil {
		return survey, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	domains, err := p.Hypervisor.List(ctx)
	if err != nil {
		return survey, fmt.Errorf("%w: %w", cluster.ErrXen, err)
	}
	for _, link := range links {
		definition, err := os.Readlink(filepath.Join(p.AutoDir, link.Name()))
		if err != nil {
			continue // gone, or none of ours
		}
		vm := cluster.Surveyed{Name: link.Name(), Definition: definition, Condition: cluster.Condition{Defined: true, Running: []string{p.Self}}}
		if !domains[vm.Name].State.Alive() {
			found, err := p.search(ctx, vm.Name)
			if err != nil {
				return survey, err
			}
			vm.Condition.Running = found.running
			vm.Condition.Stopped = len(found.running) == 0 && status == normal
		}
		survey.VMs = append(survey.VMs, vm)
	}
	return survey, nil
}

// Whole tells of the VMs of all nodes: cxm is asked where each of them is, and asks the Xen of
// every node. It implements cluster.Surveyor.
type Whole struct {
	*Stack
	// Names are those of all VMs that have a file.
	Names func() ([]string, error)

	domains map[string][]string // by node, as the last survey found them
}

// Survey implements cluster.Surveyor. Where a VM is nowhere while a node is being fenced, it is
// about to be started; a VM on two nodes is told so.
func (w *Whole) Survey(ctx context.Context) (cluster.Survey, error) {
	survey, status, err := w.daemon(ctx)
	if err != nil {
		return survey, err
	}
	names, err := w.Names()
	if err != nil {
		return survey, fmt.Errorf("%w: %w", cluster.ErrDown, err)
	}
	slices.Sort(names)
	w.domains = map[string][]string{}
	for _, name := range names {
		found, err := w.search(ctx, name)
		if err != nil {
			return survey, err
		}
		vm := cluster.Surveyed{Name: name, Definition: filepath.Join(w.Files, name), Condition: cluster.Condition{Defined: len(found.links) > 0, Running: found.running}}
		if status == recovery && len(found.running) == 0 {
			vm.Condition.Pending = "recovering"
		}
		for _, node := range found.running {
			w.domains[node] = append(w.domains[node], name)
		}
		survey.VMs = append(survey.VMs, vm)
	}
	return survey, nil
}

// Active are the VMs that run on a node, "" for this one: what the last survey found, since
// cxm has asked the node for it.
func (w *Whole) Active(_ context.Context, node string) ([]string, error) {
	if node == "" {
		node = w.Self
	}
	return w.domains[node], nil
}
