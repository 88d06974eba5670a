package hook

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"one-clvm/cluster"
	"one-clvm/hook/entrance"
	"one-clvm/hook/spool"
	"one-clvm/internal/failpoint"
)

// nowhere is no node, in rgmanager's words.
const nowhere = "(none)"

// watch compares the status of the cluster with the last one, for a manager that calls nobody
// when it starts, moves or stops a VM: what concerns this node becomes an event like those of
// the managers that do. What is not settled yet is looked at again.
//
// What is left if the process dies at deliver.watched: events that are not remembered, and are
// taken once more.
func (d *Delivery) watch(ctx context.Context, state *State) error {
	s, err := d.Status.Survey(ctx)
	if err == nil && !s.Quorate {
		err = fmt.Errorf("no quorum on %s", s.Self)
	}
	before := state.copy()
	if err == nil {
		state.Blind, state.Places = "", d.places(ctx, s, before.Places)
	} else {
		state.Blind = err.Error()
		if state.Blind != before.Blind { // the timer comes often
			d.Journal.Alarm("the cluster's status: %v; what it does to VMs is not seen until it has one", err)
		}
	}
	if state.Blind == before.Blind && maps.Equal(state.Places, before.Places) {
		return nil
	}
	failpoint.Hit("deliver.watched")
	return writeJSON(d.StateFile, *state)
}

// places are where the cluster's VMs are now, with an event for each that came to this node or
// left it. Without its event, or while it is being moved, a VM is where it was.
func (d *Delivery) places(ctx context.Context, s cluster.Survey, before map[string]string) map[string]string {
	places := map[string]string{}
	for _, v := range s.VMs {
		last, known := before[v.Name]
		place, settled := placeOf(s, v.Condition)
		if !settled && !known {
			continue
		}
		concerns := place != last && (place == s.Self || last == s.Self)
		if !settled || concerns && !d.changed(ctx, v.Name, place, last) {
			place = last
		}
		places[v.Name] = place
	}
	return places
}

// placeOf is the node that a VM runs on, or nowhere; false while the cluster is at it.
func placeOf(s cluster.Survey, c cluster.Condition) (string, bool) {
	switch {
	case c.Pending != "" || len(c.Running) > 1:
		return "", false
	case len(c.Running) == 0:
		return nowhere, true
	}
	alive := func(n cluster.Node) bool { return n.Name == c.Running[0] && n.Online && !n.Unclean }
	return c.Running[0], slices.ContainsFunc(s.Nodes, alive)
}

// changed puts an event into the spool; the journal has what it does not take.
func (d *Delivery) changed(ctx context.Context, service, place, last string) bool {
	what := "started"
	if place == nowhere {
		what = "stopped"
	}
	if last == "" {
		last = nowhere
	}
	words := []string{"vm:" + service, what, nowhere, place, last}
	return entrance.Accept(ctx, entrance.Rgmanager, entrance.Called{Args: words, Now: d.Now()}, func() spool.Spool { return d.Spool }, d.Journal) == nil
}
