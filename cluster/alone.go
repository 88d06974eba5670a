package cluster

// decideAlone is Decide for a node outside any cluster: the domain is all there is.
func decideAlone(o Order, s State) (Plan, error) {
	if o.Verb.ChangesHardware() {
		return decideHardware(o, s)
	}
	if err := s.hypervisorAnswers(o); err != nil {
		return Plan{}, err
	}
	p := o.Service.Patience
	release := Step{Action: Release}
	destroy := Step{Action: Destroy, Enough: Off}
	activate := Step{Action: Activate, Undo: []Step{release}}
	running := await(Running, o.Node, p.Start)
	alive := s.Domain.Alive()
	switch o.Verb {
	case VerbStart:
		if alive && s.Domain != Crashed {
			return Plan{Note: "it runs already"}, nil
		}
		return Plan{Steps: append(anew(alive, destroy, await(Off, "", p.Settle)), stored(s), activate, Step{Action: Create, Undo: []Step{destroy, await(Off, "", p.Settle)}}, running)}, nil
	case VerbRestore:
		if alive {
			return Plan{Note: "it runs already", Steps: restored(o, s)}, nil
		}
		steps := append([]Step{activate, restore(o, s, await(Off, "", p.Settle))}, goOn(o, s, running)...)
		if s.Manager.Anew { // its file went with the save
			steps = append([]Step{stored(s)}, steps...)
		}
		return Plan{Steps: steps}, nil
	case VerbShutdown:
		if !alive {
			return Plan{Note: "it is off already", Steps: ended(s)}, nil
		}
		return Plan{Steps: append(ask(o, s, Off), ended(s)...)}, nil
	case VerbCancel:
		if !alive {
			return Plan{Note: "it is off already", Steps: ended(s)}, nil
		}
		return Plan{Steps: append([]Step{destroy, await(Off, "", p.Settle)}, ended(s)...)}, nil
	}
	if o.Verb == VerbReset && s.Manager.Anew {
		return Plan{Steps: append(anew(alive, destroy, await(Off, "", p.Settle)), activate, Step{Action: Create, Undo: []Step{destroy, await(Off, "", p.Settle)}}, running)}, nil
	}
	return aloneRunning(o, s)
}

// aloneRunning are the verbs that need the running domain.
func aloneRunning(o Order, s State) (Plan, error) {
	p := o.Service.Patience
	if o.Verb == VerbMigrate && s.There.Alive() {
		return Plan{Note: "it is there already"}, nil
	}
	if err := s.mustRun(o); err != nil {
		return Plan{}, err
	}
	switch o.Verb {
	case VerbReboot:
		return Plan{Steps: []Step{{Action: Reboot}}}, nil
	case VerbReset:
		return Plan{Steps: []Step{{Action: Reset}}}, nil
	case VerbSave:
		return Plan{Steps: append([]Step{discard(o), save(o, s), await(Off, "", p.Settle)}, ended(s)...)}, nil
	case VerbMigrate:
		move := Step{Action: Move, Node: o.To, Limit: p.Migrate}
		if !s.Manager.Anew {
			move.Late = aborted(o)
		}
		return Plan{Steps: []Step{move, await(Off, "", p.Settle)}}, nil
	}
	return Plan{}, refuse("no verb %s", o.Verb)
}

// ask is a shutdown by the guest itself, until a goal is reached. Where the manager insists,
// a guest that ignores it is destroyed.
func ask(o Order, s State, goal Goal) []Step {
	wait := await(goal, "", o.Service.Patience.Shutdown)
	if s.Manager.Insists {
		wait.Instead = []Step{{Action: Destroy, Enough: Off}, await(goal, "", o.Service.Patience.Settle)}
	}
	return []Step{{Action: Ask, Enough: Off}, wait}
}

// anew are the steps before a VM is started anew: none for one that is off.
func anew(alive bool, steps ...Step) []Step {
	if !alive {
		return nil
	}
	return steps
}

// stored is the step that makes the definition. Under Xen it is also a file in CFG_DIR, which
// a start that fails must not leave.
func stored(s State) Step {
	if s.Manager.Anew {
		return Step{Action: Store, Undo: []Step{{Action: Remove}}}
	}
	return Step{Action: Store}
}

// ended lets go of what a VM had. Its file in CFG_DIR would keep others from its name.
func ended(s State) []Step {
	steps := []Step{{Action: Release}}
	if s.Manager.Anew {
		steps = append(steps, Step{Action: Remove})
	}
	return steps
}
