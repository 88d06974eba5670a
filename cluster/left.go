package cluster

import "strings"

// decideLeft is Decide for a manager that starts the VMs of nodes that failed and leaves
// alone those that run, like cxm: a guest that ends stays off, so nothing has to be frozen.
// A service is defined on the node that it belongs to.
func decideLeft(o Order, s State) (Plan, error) {
	if err := s.hypervisorAnswers(o); err != nil {
		return Plan{}, err
	}
	c := s.Service
	switch {
	case len(c.Running) > 1:
		return Plan{}, refuse("%s runs on %s at the same time: its disks are being destroyed; destroy it on all but one of them at once", o.Service.Name, strings.Join(c.Running, " and "))
	case c.Pending != "":
		return Plan{}, busy(o, c)
	case len(c.Running) == 1 && !c.On(o.Node) && o.Verb != VerbCancel && o.Verb != VerbMigrate:
		return Plan{}, elsewhere(o, c)
	}
	switch o.Verb {
	case VerbStart:
		return leftStart(o, s)
	case VerbShutdown:
		return leftOff(s, ask(o, s, Stopped)), nil
	case VerbCancel:
		return leftOff(s, []Step{{Action: Destroy, Enough: Off}, await(Stopped, "", o.Service.Patience.Stop)}), nil
	case VerbReset:
		return leftReset(o, s)
	case VerbRestore:
		return leftRestore(o, s)
	}
	return leftRunning(o, s)
}

func gone(o Order) []Step {
	return []Step{{Action: Destroy, Enough: Off}, await(Stopped, "", o.Service.Patience.Settle)}
}

func leftStart(o Order, s State) (Plan, error) {
	if err := s.mayRun(o, o.Node); err != nil {
		return Plan{}, err
	}
	running := await(Running, o.Node, o.Service.Patience.Start)
	define := Step{Action: Define, Node: o.Node, Undo: []Step{{Action: Remove}}}
	steps := []Step{{Action: Store}, define, {Action: Enable, Node: o.Node, Limit: o.Service.Patience.Start, Undo: gone(o)}, running}
	switch {
	case s.Domain == Crashed:
		return Plan{Note: "what crashed is still there", Steps: append(gone(o), steps...)}, nil
	case s.Service.On(o.Node) && s.Service.Defined:
		return Plan{Note: "it runs already", Steps: []Step{running}}, nil
	case s.Service.On(o.Node):
		return Plan{Note: "it runs without a service, which is made", Steps: []Step{{Action: Define, Node: o.Node}, running}}, nil
	}
	return Plan{Steps: steps}, nil
}

// leftOff ends in no service, whether or not there was anything to end.
func leftOff(s State, off []Step) Plan {
	remove := Step{Action: Remove}
	switch {
	case len(s.Service.Running) == 0 && !s.Domain.Alive() && !s.Service.Defined:
		return Plan{Note: "it is off already, and no service", Steps: []Step{remove}}
	case len(s.Service.Running) == 0 && !s.Domain.Alive():
		return Plan{Note: "it is off already", Steps: []Step{remove}}
	}
	return Plan{Steps: append(off, Step{Action: Release}, remove)}
}

// leftReset starts a VM anew, also a dead one.
func leftReset(o Order, s State) (Plan, error) {
	if !s.Service.Defined {
		return Plan{}, refuse("%s is no service of the cluster: deploy it", o.Service.Name)
	}
	if err := s.mayRun(o, o.Node); err != nil {
		return Plan{}, err
	}
	steps := anew(s.Domain.Alive() || len(s.Service.Running) > 0, gone(o)...)
	return Plan{Steps: append(steps, Step{Action: Enable, Node: o.Node, Limit: o.Service.Patience.Start}, await(Running, o.Node, o.Service.Patience.Start))}, nil
}

func leftRestore(o Order, s State) (Plan, error) {
	if err := s.mayRun(o, o.Node); err != nil {
		return Plan{}, err
	}
	running := await(Running, o.Node, o.Service.Patience.Start)
	define := Step{Action: Define, Node: o.Node, Undo: []Step{{Action: Remove}}}
	if s.Service.On(o.Node) {
		return Plan{Note: "it runs already", Steps: append([]Step{{Action: Define, Node: o.Node}, running}, restored(o, s)...)}, nil
	}
	return Plan{Steps: append([]Step{
		{Action: Store}, // its file went with the save
		{Action: Activate, Undo: []Step{{Action: Release}}},
		restore(o, s, await(Stopped, "", o.Service.Patience.Settle)), define,
	}, goOn(o, s, running)...)}, nil
}

// leftRunning are the verbs that need the running domain.
func leftRunning(o Order, s State) (Plan, error) {
	c, p := s.Service, o.Service.Patience
	if o.Verb == VerbMigrate && c.On(o.To) {
		return Plan{Note: "it is there already"}, nil
	}
	if len(c.Running) == 1 && !c.On(o.Node) {
		return Plan{}, elsewhere(o, c)
	}
	if !c.On(o.Node) || !s.Domain.Alive() {
		return Plan{}, refuse("%s does not run on %s (the hypervisor says: %s)", o.Service.Name, o.Node, s.Domain)
	}
	switch o.Verb {
	case VerbReboot:
		return Plan{Steps: []Step{{Action: Reboot}}}, nil
	case VerbSave: // the node may fail meanwhile: then it is started anew, without what was saved
		return Plan{Steps: []Step{discard(o), save(o, s), await(Stopped, "", p.Settle), {Action: Disable, Commit: true}, {Action: Release}, {Action: Remove}}}, nil
	case VerbMigrate:
		if _, live := s.node(o.To); !live {
			return Plan{}, refuse("%s is no live node of the cluster, which has %s", o.To, s.names())
		}
		if err := s.mayRun(o, o.To); err != nil {
			return Plan{}, err
		}
		return Plan{Steps: []Step{{Action: Move, Node: o.To, Limit: p.Migrate}, await(Running, o.To, p.Settle)}}, nil
	}
	return Plan{}, refuse("no verb %s", o.Verb)
}
