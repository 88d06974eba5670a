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
		if alive {
			return Plan{Note: "it runs already"}, nil
		}
		return Plan{Steps: []Step{{Action: Store}, activate, {Action: Create, Undo: []Step{destroy, await(Off, "", p.Settle)}}, running}}, nil
	case VerbRestore:
		if alive {
			return Plan{Note: "it runs already"}, nil
		}
		return Plan{Steps: []Step{activate, {Action: Restore, File: o.File, Limit: p.Migrate, Undo: []Step{destroy, await(Off, "", p.Settle)}}, running}}, nil
	case VerbShutdown:
		if !alive {
			return Plan{Note: "it is off already", Steps: []Step{release}}, nil
		}
		return Plan{Steps: []Step{{Action: Ask, Enough: Off}, await(Off, "", p.Shutdown), release}}, nil
	case VerbCancel:
		if !alive {
			return Plan{Note: "it is off already", Steps: []Step{release}}, nil
		}
		return Plan{Steps: []Step{destroy, await(Off, "", p.Settle), release}}, nil
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
		return Plan{Steps: []Step{{Action: Save, File: o.File, Limit: p.Migrate, Undo: []Step{{Action: Restore, File: o.File, Limit: p.Migrate}}}, await(Off, "", p.Settle), release}}, nil
	case VerbMigrate:
		return Plan{Steps: []Step{{Action: Move, Node: o.To, Limit: p.Migrate}, await(Off, "", p.Settle)}}, nil
	}
	return Plan{}, refuse("no verb %s", o.Verb)
}
