package cluster

// save writes the memory into the checkpoint. A program that is cut off leaves libvirt at it:
// that is ended before anybody takes the VM for one that runs. The clients of Xen are not cut off.
func save(o Order, s State) Step {
	limit := o.Service.Patience.Migrate
	back := append([]Step{{Action: Restore, File: o.File, Limit: limit}}, resumed(s)...)
	step := Step{Action: Save, File: o.File, Limit: limit, Undo: append(back, discard(o))}
	if !s.Manager.Anew {
		step.Late = aborted(o)
	}
	return step
}

// aborted ends what libvirt still does with a domain.
func aborted(o Order) []Step {
	return []Step{{Action: Abort, Enough: Off}, await(Ended, "", o.Service.Patience.Settle)}
}

// restore has the domain paused, until nothing can fail any more: once its guest has written
// to the disks, the checkpoint, which stays, would destroy them. What runs at once is taken back
// by a new checkpoint. off waits until the domain is gone.
func restore(o Order, s State, off Step) Step {
	limit := o.Service.Patience.Migrate
	undo := Step{Action: Destroy, Enough: Off}
	if s.Manager.Wakes {
		undo = Step{Action: Save, File: o.File, Limit: limit, Enough: Off}
	}
	return Step{Action: Restore, File: o.File, Limit: limit, Undo: []Step{undo, off}}
}

// resumed has the guest go on. From then on nothing is taken back.
func resumed(s State) []Step {
	if s.Manager.Wakes {
		return nil
	}
	return []Step{{Action: Resume, Enough: Resumed, Commit: true}}
}

// discard removes the checkpoint of a VM that runs. Its disks have changed since: with it a VM
// that was lost would come back with an old memory on newer disks.
func discard(o Order) Step { return Step{Action: Discard, File: o.File} }

// goOn is the end of a restore: running is awaited, the guest goes on, and last the checkpoint
// goes.
func goOn(o Order, s State, running Step) []Step {
	running.Commit = s.Manager.Wakes
	return append(append([]Step{running}, resumed(s)...), discard(o))
}

// restored is the same for a VM that an earlier restore has brought back. What is paused where
// nothing can be kept so may still be read from the file.
func restored(o Order, s State) []Step {
	switch {
	case s.Domain == Active:
		return []Step{discard(o)}
	case s.Domain == Paused && !s.Manager.Wakes:
		return append(resumed(s), discard(o))
	}
	return nil
}
