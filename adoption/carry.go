package adoption

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/agent/facts"
	"one-clvm/audit"
	"one-clvm/internal/failpoint"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// Adopter asks nodes and oned, and has nodes do what was decided.
type Adopter struct {
	*audit.Auditor
	Datastores Datastores
}

// Datastores are oned's own, as far as they are told of the group; *opennebula.Client has them.
type Datastores interface {
	Datastores(ctx context.Context) ([]opennebula.Datastore, error)
	UpdateDatastore(ctx context.Context, id int, attributes []opennebula.Attribute) error
}

// Look collects all that is known of a group; nothing is changed.
func (a *Adopter) Look(ctx context.Context, group string) (*audit.State, error) {
	s, err := a.Collect(ctx, audit.Target{Datastore: opennebula.None, Group: group})
	if err != nil {
		return nil, err
	}
	if len(s.Bases) == 0 {
		return nil, fmt.Errorf("volume group %s: no system datastore of oned has its disks there: one with TM fs_lvm is named vg-one-ID, another says VG_NAME in its template", group)
	}
	return s, nil
}

// Unnamed are the system datastores of the group that do not say so (VG_NAME), which the suite's
// transfer manager goes by, and fs_lvm does not look at.
func (a *Adopter) Unnamed(ctx context.Context, s *audit.State) ([]int, error) {
	all, err := a.Datastores.Datastores(ctx)
	if err != nil {
		return nil, err
	}
	var unnamed []int
	for _, ds := range all {
		if _, here := s.Bases[ds.ID]; here && ds.Template["VG_NAME"] == "" && ds.TMMAD != "clvm" {
			unnamed = append(unnamed, ds.ID)
		}
	}
	return unnamed, nil
}

// Name says in a datastore's template where its disks are. A crash behind it leaves a datastore
// that fs_lvm works with as before.
func (a *Adopter) Name(ctx context.Context, ds int, group string) error {
	if err := a.Datastores.UpdateDatastore(ctx, ds, []opennebula.Attribute{{Name: "VG_NAME", Value: group}}); err != nil {
		return err
	}
	failpoint.Hit("adopt.named")
	return nil
}

// Carry has a node adopt or release a disk. The node looks again: what has changed meanwhile is
// refused there.
func (a *Adopter) Carry(ctx context.Context, op agent.Op, group string, d Disk) error {
	q := d.Request(op, group)
	q.Operation = plan.NewOperation()
	if _, err := a.Ask(ctx, d.Node(), q); err != nil {
		return fmt.Errorf("%s disk %d of VM %d: %w", op, d.Disk, d.VM, err)
	}
	return nil
}

// Facts are what the nodes say of themselves, by name; one that does not answer is left out.
func (a *Adopter) Facts(ctx context.Context, s *audit.State) map[string]*facts.Facts {
	all := map[string]*facts.Facts{}
	for _, n := range s.Nodes {
		res, err := a.Ask(ctx, n.Names[0], agent.Request{Op: agent.OpFacts, Operation: plan.NewOperation()})
		if err == nil && res.Facts != nil {
			all[n.Names[0]] = res.Facts
		}
	}
	return all
}
