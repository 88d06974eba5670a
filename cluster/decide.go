package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// Decide says what to do for an order in a state. It is a pure function: nothing is asked
// and nothing is changed here. Errors mean that nothing is to be done: ErrRefused,
// ErrFencing, ErrElsewhere, ErrHypervisor.
func Decide(o Order, s State) (Plan, error) {
	if !s.Clustered {
		return decideAlone(o, s)
	}
	if err := s.usable(o); err != nil {
		return Plan{}, err
	}
	if o.Verb.ChangesHardware() {
		return decideHardware(o, s)
	}
	if s.Manager.Leaves {
		return decideLeft(o, s)
	}
	switch o.Verb {
	case VerbStart:
		return decideStart(o, s)
	case VerbShutdown:
		return decideShutdown(o, s)
	case VerbCancel:
		return decideCancel(o, s)
	case VerbReboot, VerbReset:
		return decideReboot(o, s)
	case VerbSave:
		return decideSave(o, s)
	case VerbRestore:
		return decideRestore(o, s)
	case VerbMigrate:
		return decideMigrate(o, s)
	}
	return Plan{}, fmt.Errorf("%s: %w: no such verb", o.Verb, ErrRefused)
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s; nothing was changed", ErrRefused, fmt.Sprintf(format, args...))
}

// usable: a cluster that may act.
func (s State) usable(o Order) error {
	switch {
	case !s.Quorate:
		return refuse("the cluster has no quorum as %s sees it: bring back enough of its nodes (%s)", s.Self, s.names())
	case s.Maintenance:
		return refuse("the cluster is in maintenance mode, or all its resources are stopped: end that first")
	case s.Self != o.Node && o.Verb != VerbCancel:
		return refuse("this node is %s in the cluster, and OpenNebula calls it %s: give both the same name", s.Self, o.Node)
	}
	if holder := s.uncleanHolder(); holder != "" {
		return fmt.Errorf("%w: %s, which has %s, failed and is not yet known to be off; nothing was changed: run the verb again once it is fenced", ErrFencing, holder, o.Service.Name)
	}
	return nil
}

// mayRun: the conditions for running a VM here that did not.
func (s State) mayRun(o Order, where string) error {
	n, ok := s.node(where)
	switch {
	case !ok:
		return refuse("%s is no node of the cluster, which has %s: hosts of OpenNebula must have the names of the cluster's nodes", where, s.names())
	case n.Unclean || !n.Online:
		return refuse("node %s is not online in the cluster", where)
	case n.Standby:
		return refuse("node %s is in standby, and takes no VM", where)
	case !s.Fencing:
		return refuse("fencing is off in the cluster: after a failure %s could run twice and destroy its disks; configure fencing", o.Service.Name)
	}
	return nil
}

// busy: the cluster is in the middle of something else.
func busy(o Order, c Condition) error {
	return refuse("the cluster is %s %s just now: run %s again when that is over", c.Pending, o.Service.Name, o.Verb)
}

func elsewhere(o Order, c Condition) error {
	return fmt.Errorf("%w: %s runs on %s, and OpenNebula has it on %s; nothing was changed: correct the host in OpenNebula", ErrElsewhere, o.Service.Name, strings.Join(c.Running, " and "), o.Node)
}

func (s State) hypervisorAnswers(o Order) error {
	if s.Domain != Unknown {
		return nil
	}
	if s.Manager.Anew {
		return fmt.Errorf("%w on %s: whether %s runs there is not known, and nothing was changed: see why xl list, or xm list, fails", ErrXen, o.Node, o.Service.Name)
	}
	return fmt.Errorf("%w on %s: whether %s runs there is not known, and nothing was changed: start libvirtd", ErrHypervisor, o.Node, o.Service.Name)
}

// removal takes a service that is wanted stopped out of the cluster.
func removal(o Order) []Step {
	p := o.Service.Patience
	return []Step{await(Stopped, "", p.Stop+p.Settle), {Action: Forget}, {Action: Remove}}
}

// decideStart: define, and wait for the hypervisor's word. A start that fails leaves no
// service.
func decideStart(o Order, s State) (Plan, error) {
	c := s.Service
	if err := s.mayRun(o, o.Node); err != nil {
		return Plan{}, err
	}
	if err := s.hypervisorAnswers(o); err != nil {
		return Plan{}, err
	}
	running := await(Running, o.Node, o.Service.Patience.Start+o.Service.Patience.Settle) // the cluster gives up first, and says why
	switch {
	case c.Pending == "starting" && c.Defined && !c.Stopped:
		return Plan{Note: "it is being started already", Steps: []Step{running}}, nil
	case c.Pending != "" && c.Pending != "recovering":
		return Plan{}, busy(o, c)
	case len(c.Running) > 0 && !c.On(o.Node):
		return Plan{}, elsewhere(o, c)
	case c.On(o.Node) && !c.Stopped && !c.Failed && s.Domain.Alive():
		return thawed(c, Plan{Note: "it runs already"}), nil
	}
	plan := Plan{}
	if s.Domain.Alive() && !c.On(o.Node) {
		plan.Note = "the domain runs here outside of the cluster, which takes it over"
	}
	undo := append([]Step{{Action: Disable}}, removal(o)...)
	plan.Steps = append(plan.Steps, Step{Action: Store}, Step{Action: Define, Node: o.Node, Undo: undo})
	plan = thawed(c, plan)
	if c.Failed || c.Blocked || len(c.Failures) > 0 || c.Defined && s.Domain.Alive() {
		plan.Steps = append(plan.Steps, Step{Action: Forget})
	}
	plan.Steps = append(append(plan.Steps, enabled(o, s)...), running)
	return plan, nil
}

// enabled starts a service that its definition alone does not.
func enabled(o Order, s State) []Step {
	if !s.Manager.Enables {
		return nil
	}
	return []Step{{Action: Enable, Node: o.Node}}
}

// thawed ends a freeze that an interrupted verb has left.
func thawed(c Condition, p Plan) Plan {
	if c.Frozen && c.Defined {
		p.Steps = append(p.Steps, Step{Action: Thaw})
	}
	return p
}

// thawedFirst has a cluster do something with a service that an interrupted verb has frozen.
func thawedFirst(c Condition, steps []Step) Plan {
	plan := thawed(c, Plan{})
	plan.Steps = append(plan.Steps, steps...)
	return plan
}

// freeze keeps the cluster from acting on what the next steps do to the domain. It has an
// end of its own: if this node dies meanwhile, the cluster manages the service again.
func freeze(o Order, s State, longest Step) []Step {
	p := o.Service.Patience
	until := o.Now.Add(longest.Limit + 4*p.Settle)   // enough for the steps around the longest one
	back := []Step{{Action: Forget}, {Action: Thaw}} // what it saw meanwhile is no failure
	steps := []Step{{Action: Freeze, Until: until, Undo: back}}
	if s.Service.Frozen {
		return steps // again, with a new end
	}
	return append(steps, await(Frozen, "", p.Settle))
}

// decideShutdown asks the guest while the cluster looks on: a guest that does not shut down
// goes on running, and the verb fails.
func decideShutdown(o Order, s State) (Plan, error) {
	c, p := s.Service, o.Service.Patience
	if err := s.hypervisorAnswers(o); err != nil {
		return Plan{}, err
	}
	off := await(Off, "", p.Shutdown)
	ask := Step{Action: Ask, Enough: Off}
	switch {
	case !c.Defined && len(c.Running) == 0 && !s.Domain.Alive():
		return Plan{Note: "it is off already, and no service"}, nil
	case !c.Defined && len(c.Running) == 0:
		return Plan{Note: "the domain runs here outside of the cluster", Steps: []Step{ask, off, {Action: Release}}}, nil
	case c.Blocked:
		return Plan{}, blocked(o, c)
	case c.Pending != "":
		return Plan{}, busy(o, c)
	case len(c.Running) == 0 && !s.Domain.Alive():
		return Plan{Note: "it is off already", Steps: append([]Step{{Action: Disable}}, removal(o)...)}, nil
	case len(c.Running) > 0 && !c.On(o.Node):
		return Plan{}, elsewhere(o, c)
	}
	steps := append(freeze(o, s, off), ask, off, Step{Action: Disable}, Step{Action: Thaw})
	return Plan{Steps: append(steps, removal(o)...)}, nil
}

func blocked(o Order, c Condition) error {
	return refuse("the cluster has given %s up (%s): cancel it (onevm poweroff --hard), which clears that", o.Service.Name, reasons(c.Failures))
}

func reasons(failures []Failure) string {
	if len(failures) == 0 {
		return "it gives no reason"
	}
	texts := make([]string, 0, len(failures))
	for _, f := range failures {
		texts = append(texts, f.String())
	}
	return strings.Join(texts, "; ")
}

// decideCancel: wanted stopped first, then the domain is gone at once, and what the
// cluster's own stop finds is already off.
func decideCancel(o Order, s State) (Plan, error) {
	c := s.Service
	here := s.Domain.Alive()
	if c.On(s.Self) || len(c.Running) == 0 {
		if err := s.hypervisorAnswers(o); err != nil {
			return Plan{}, err
		}
	}
	destroy := Step{Action: Destroy, Enough: Off}
	switch {
	case !c.Defined && len(c.Running) == 0 && !here:
		return Plan{Note: "it is off already, and no service"}, nil
	case !c.Defined && len(c.Running) == 0:
		return Plan{Note: "the domain runs here outside of the cluster", Steps: []Step{destroy, await(Off, "", o.Service.Patience.Settle), {Action: Release}}}, nil
	case !c.Defined:
		return Plan{Note: "the cluster has no definition of it, and is stopping it", Steps: []Step{await(Stopped, "", o.Service.Patience.Stop)}}, nil
	}
	steps := []Step{{Action: Disable}}
	switch {
	case here && s.Manager.Waits: // a guest that is gone is not asked
		steps = []Step{destroy, {Action: Disable}}
	case here:
		steps = append(steps, destroy)
	}
	plan := Plan{}
	if len(c.Running) > 0 && !slices.Contains(c.Running, s.Self) {
		plan.Note = "it runs on " + strings.Join(c.Running, " and ") + ", where the cluster asks the guest first"
	}
	plan.Steps = steps
	plan = thawed(c, plan)
	if c.Blocked || c.Failed {
		plan.Steps = append(plan.Steps, Step{Action: Forget})
	}
	plan.Steps = append(plan.Steps, removal(o)...)
	return plan, nil
}

func decideReboot(o Order, s State) (Plan, error) {
	if err := s.mustRunHere(o); err != nil {
		return Plan{}, err
	}
	action := Reboot
	if o.Verb == VerbReset {
		action = Reset
	}
	return thawed(s.Service, Plan{Steps: []Step{{Action: action}}}), nil
}

// mustRunHere: the verb needs the running domain, on this node.
func (s State) mustRunHere(o Order) error {
	c := s.Service
	if err := s.hypervisorAnswers(o); err != nil {
		return err
	}
	switch {
	case c.Blocked:
		return blocked(o, c)
	case c.Pending != "":
		return busy(o, c)
	case len(c.Running) > 0 && !c.On(o.Node):
		return elsewhere(o, c)
	case !c.Defined && s.Domain.Alive():
		return refuse("%s runs on %s outside of the cluster: power it off and on again", o.Service.Name, o.Node)
	case len(c.Running) == 0 || !s.Domain.Alive():
		return refuse("%s does not run on %s (the hypervisor says: %s)", o.Service.Name, o.Node, s.Domain)
	}
	return nil
}

// decideSave: once the memory is in the file there is no going on; before, the service is
// as it was, without a checkpoint.
func decideSave(o Order, s State) (Plan, error) {
	if err := s.mustRunHere(o); err != nil {
		return Plan{}, err
	}
	p := o.Service.Patience
	steps := append(freeze(o, s, await(Off, "", p.Migrate)), discard(o), save(o, s), await(Off, "", p.Settle),
		Step{Action: Disable, Commit: true}, Step{Action: Thaw})
	return Plan{Steps: append(steps, removal(o)...)}, nil
}

// decideRestore: the domain first, paused, then the service, which finds it there; only then
// the guest goes on, and last the checkpoint goes.
func decideRestore(o Order, s State) (Plan, error) {
	c, p := s.Service, o.Service.Patience
	if err := s.mayRun(o, o.Node); err != nil {
		return Plan{}, err
	}
	if err := s.hypervisorAnswers(o); err != nil {
		return Plan{}, err
	}
	define := Step{Action: Define, Node: o.Node, Undo: append([]Step{{Action: Disable}, {Action: Destroy, Enough: Off}}, removal(o)...)}
	running := await(Running, o.Node, p.Start+p.Settle)
	switch {
	case len(c.Running) > 0 && !c.On(o.Node):
		return Plan{}, elsewhere(o, c)
	case c.On(o.Node) && s.Domain.Alive() && !c.Stopped:
		return thawed(c, Plan{Note: "it runs already", Steps: restored(o, s)}), nil
	case c.Pending != "":
		return Plan{}, busy(o, c)
	case s.Domain.Alive():
		if s.Domain != Paused { // it has run: its checkpoint is of no use any more
			define.Undo = nil
		}
		steps := append([]Step{define, {Action: Forget}}, append(enabled(o, s), running)...)
		return thawed(c, Plan{Note: "it was restored already, and the cluster does not know it yet", Steps: append(steps, restored(o, s)...)}), nil
	case c.Defined && !c.Stopped:
		return Plan{}, refuse("the cluster wants to start %s anew: cancel it first", o.Service.Name)
	}
	plan := thawed(c, Plan{Steps: []Step{
		{Action: Activate, Undo: []Step{{Action: Release}}},
		restore(o, s, await(Off, "", p.Settle)),
		define,
	}})
	plan.Steps = append(append(plan.Steps, Step{Action: Forget}), append(enabled(o, s), goOn(o, s, running)...)...)
	return plan, nil
}

// decideMigrate moves the domain while the cluster looks on: a migration that fails leaves
// it where it was, and never becomes a stop.
func decideMigrate(o Order, s State) (Plan, error) {
	c, p := s.Service, o.Service.Patience
	if c.On(o.To) && c.Pending == "" && s.Domain.Alive() == (s.Self == o.To) {
		return thawed(c, Plan{Note: "it is there already"}), nil
	}
	if len(s.Nodes) == 1 {
		return Plan{}, refuse("the cluster has no other node than %s", o.Node)
	}
	if err := s.mayRun(o, o.To); err != nil {
		return Plan{}, err
	}
	if err := s.mustRunHere(o); err != nil {
		return Plan{}, err
	}
	if s.Domain != Active && s.Domain != Paused {
		return Plan{}, refuse("%s is %s, and cannot be moved", o.Service.Name, s.Domain)
	}
	if s.Manager.Moves { // where it belongs comes first: else it would be moved back
		back := []Step{{Action: Prefer, Node: o.Node}}
		return thawedFirst(c, []Step{{Action: Prefer, Node: o.To, Undo: back}, {Action: Move, Node: o.To, Limit: p.Migrate, Commit: true}, await(Running, o.To, p.Settle)}), nil
	}
	steps := freeze(o, s, await(Running, "", p.Migrate))
	steps = append(steps,
		Step{Action: Move, Node: o.To, Limit: p.Migrate, Late: aborted(o), Commit: true},
		Step{Action: Prefer, Node: o.To}, Step{Action: Forget},
		await(Running, o.To, p.Settle), Step{Action: Thaw})
	return Plan{Steps: steps}, nil
}
