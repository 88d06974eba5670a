package recovery

import (
	"fmt"

	"one-clvm/hook"
	"one-clvm/opennebula"
)

func failedState(lcm opennebula.LCMState) bool {
	switch lcm {
	case 36, 37, 38, 39, 40, 41, 42, 44, 46, 47, 48, 49, 50, 61:
		return true
	}
	return false
}

// boot: the domain was to be started on volumes that are there.
func boot(s Stuck) Decision {
	on := s.Facts.Truth.On
	switch {
	case on == s.Host && on != "":
		return s.act(Success, "it runs on %s", on)
	case on != "":
		return s.elsewhere(Success)
	}
	if d, stops := s.disks(); stops {
		return d
	}
	if s.Facts.Truth.Nodes[s.Host] != hook.Alive {
		return s.hostIsOff()
	}
	return s.act(Retry, "it runs nowhere, its volumes are whole, and %s is alive", s.Host)
}

// hostIsOff: oned starts it nowhere else out of this state.
func (s Stuck) hostIsOff() Decision {
	why := fmt.Sprintf("%s is off, and it runs nowhere", s.Host)
	if failedState(s.LCM) {
		return s.person(why+": once that node is back", "onevm recover --retry %d", s.VM)
	}
	return s.person(why+": out of the state that a failure leads to it can be migrated, or started once that node is back", "onevm recover --failure %d", s.VM)
}

// bootOfUndeployed: in BOOT_UNDEPLOY oned's retry restores from a checkpoint that an undeployed
// VM does not have; only its failed state deploys.
func bootOfUndeployed(s Stuck) Decision {
	d := boot(s)
	if d.Action == Retry && !failedState(s.LCM) {
		return s.act(Failure, "%s; a retry of %s would restore a checkpoint: it fails first, and BOOT_UNDEPLOY_FAILURE is then retried", d.Why, s.LCM)
	}
	return d
}

// bootFromCheckpoint: the memory was saved, and was to be restored.
func bootFromCheckpoint(s Stuck) Decision {
	d := boot(s)
	if d.Action != Retry {
		return d
	}
	switch s.Facts.Checkpoint {
	case Saved:
		return s.act(Retry, "%s, and so is its checkpoint", d.Why)
	case "":
		return s.person("whether its checkpoint is whole is not known", "onevm recover --retry %d", s.VM)
	}
	return s.person(fmt.Sprintf("its checkpoint is %s: its memory is lost, and it can only start anew", s.Facts.Checkpoint), "onevm recover --failure %d", s.VM)
}

// prolog: the disks of a VM that has never run. What is a volume of the suite shows; disks of
// other drivers, kernels and the context do not, so that nothing but the transfer itself can
// say that all is there.
func prolog(s Stuck) Decision {
	switch on := s.Facts.Truth.On; {
	case on != "":
		return s.person(fmt.Sprintf("it runs on %s before its disks were made: find out what started it", on), "virsh -c qemu+ssh://%s/system dominfo %s", on, opennebula.ServiceName(s.VM))
	case s.Facts.Truth.Nodes[s.Host] != hook.Alive:
		return s.person(fmt.Sprintf("%s is off; it has never run, and nothing is lost by making it anew elsewhere", s.Host), "onevm recover --recreate %d", s.VM)
	}
	return s.act(Retry, "it runs nowhere, and %s is alive: the transfer finds out itself what is done already", s.Host)
}

// prologElsewhere: volumes on the SAN do not move; links and activation do, and can be done
// again.
func prologElsewhere(s Stuck) Decision {
	t := s.Facts.Truth
	afterUnknown := s.LCM == opennebula.LCMPrologMigrateUnknown || s.LCM == opennebula.LCMPrologMigrateUnknownFailure
	switch {
	case t.On != "" && (t.On != s.Host || !afterUnknown):
		return s.person(fmt.Sprintf("it runs on %s while its disks are taken to %s: find out what started it", t.On, s.Host), "virsh -c qemu+ssh://%s/system dominfo %s", t.On, opennebula.ServiceName(s.VM))
	case t.Nodes[s.Host] != hook.Alive:
		return s.person(fmt.Sprintf("%s, where it was to go, is off", s.Host), "onevm recover --failure %d", s.VM)
	case s.Facts.Disks != Whole:
		if d, stops := s.disks(); stops {
			return d
		}
	}
	return s.act(Retry, "its volumes are whole, and %s is alive: links and activation can be done again", s.Host)
}

// migrate: alive, from Previous to Host. Success runs no POSTMIGRATE, and would leave its disks
// shared by both nodes; the migration that is asked for again finds it there, and ends as it
// should.
func migrate(s Stuck) Decision {
	switch on := s.Facts.Truth.On; on {
	case "":
		return s.person("it runs on neither end of its migration; when the cluster has started it again", "vmm-rhcs recover --dry-run")
	case s.Host:
		if s.Facts.Truth.Nodes[s.Previous] == hook.Alive && s.Version.AtLeast(4, 14, 0) {
			return s.act(Retry, "it has arrived on %s: the same migration finds that, and takes its disks from %s", on, s.Previous)
		}
		return s.act(Success, "it has arrived on %s", on)
	case s.Previous:
		return s.act(Failure, "it still runs on %s", on)
	}
	return s.elsewhere(Success)
}

// save: its memory was to be written, and the domain to end.
func save(s Stuck) Decision {
	source := s.Host
	if s.LCM == 7 && s.Previous != "" { // SAVE_MIGRATE: the last record is the target already
		source = s.Previous
	}
	switch on := s.Facts.Truth.On; {
	case on == source && on != "":
		return s.act(Failure, "it still runs on %s", on)
	case on != "":
		return s.elsewhere(Failure)
	}
	switch s.Facts.Checkpoint {
	case Saved:
		return s.act(Success, "it runs no more, and its checkpoint is whole")
	case "":
		return s.person("it runs no more, and whether its checkpoint is whole is not known", "onevm recover --success %d", s.VM)
	}
	return s.person(fmt.Sprintf("it runs no more, and its checkpoint is %s: its memory is lost", s.Facts.Checkpoint), "onevm recover --failure %d", s.VM)
}

// shutdown: the guest was to end.
func shutdown(s Stuck) Decision {
	switch on := s.Facts.Truth.On; on {
	case "":
		return s.act(Success, "it runs no more")
	case s.Host:
		return s.act(Failure, "it still runs on %s: the user may ask again", on)
	}
	return s.elsewhere(Failure)
}

// epilog: its volumes are written back and removed. Both verbs find out what is done already,
// and a volume goes only after its image is durable.
func epilog(s Stuck) Decision {
	t := s.Facts.Truth
	switch {
	case t.On != "":
		return s.person(fmt.Sprintf("it runs on %s, and its disks were to go: find out what started it", t.On), "virsh -c qemu+ssh://%s/system dominfo %s", t.On, opennebula.ServiceName(s.VM))
	case s.Facts.Disks == "":
		return s.person("its volumes could not be looked at", "tm-clvm audit")
	case s.Facts.Disks == Half:
		return s.person("an operation on one of its disks has not ended", "tm-clvm audit")
	}
	return s.act(Retry, "it runs nowhere, and its volumes are %s: what is left to save or to remove is found again", s.Facts.Disks)
}

// cleanup: everything of it was to go, and oned hides what fails there.
func cleanup(s Stuck) Decision {
	again := "onevm recover --delete %d"
	if s.LCM == 15 { // CLEANUP_RESUBMIT: it was to be made anew
		again = "onevm recover --recreate %d"
	}
	switch {
	case s.Facts.Truth.On != "":
		return s.person(fmt.Sprintf("it runs on %s, and was to be removed", s.Facts.Truth.On), again, s.VM)
	case s.Facts.Disks == Gone:
		return s.act(Success, "nothing of it is left")
	case s.Facts.Disks == "":
		return s.person("its volumes could not be looked at", "tm-clvm audit")
	}
	return s.person("volumes of it are left, and success would leave them for ever", again, s.VM)
}

// unknown: oned lost sight of it.
func unknown(s Stuck) Decision {
	switch on := s.Facts.Truth.On; {
	case on == "" && s.Facts.Truth.Nodes[s.Host] == hook.Alive:
		return s.person("it runs nowhere: the cluster does not start it, or has no service of it", "onevm resume %d", s.VM)
	case on == "":
		return s.person(fmt.Sprintf("it runs nowhere, and %s is off", s.Host), "onevm migrate %d OTHER-HOST", s.VM)
	case on == s.Host:
		return s.act(Success, "it runs on %s, where oned lost sight of it", on)
	}
	return s.person(fmt.Sprintf("it runs on %s, and oned lost it on %s", s.Facts.Truth.On, s.Host), "one-migrate-hook reconcile")
}

// failing: up to 4.12 oned was about to give the VM up, with no driver at work; it goes on with
// that, whatever it is told.
func failing(s Stuck) Decision {
	switch {
	case !s.Version.AtLeast(4, 0, 0) || s.Version.AtLeast(4, 14, 0):
		return s.nothing()
	case s.Facts.Truth.On != "":
		return s.person(fmt.Sprintf("oned gives it up, and it runs on %s: stop its service in the cluster first", s.Facts.Truth.On), "onevm recover --failure %d", s.VM)
	}
	return s.person("oned gives it up, and it becomes FAILED; its disks stay until it is deleted", "onevm recover --failure %d", s.VM)
}

// still says whether the VM is what it was before an operation that was not to change that:
// running on its host, or off.
func (s Stuck) still() bool {
	off := map[opennebula.LCMState]bool{
		27: true, 28: true, 33: true, 34: true, 51: true, 52: true, 53: true, 54: true, 55: true, 56: true, 63: true, 64: true, 65: true, 67: true, 68: true, 70: true, 71: true,
	}
	if off[s.LCM] {
		return s.Facts.Truth.On == ""
	}
	return s.Facts.Truth.On == s.Host
}

func (s Stuck) notStill() Decision {
	where := "runs on " + s.Facts.Truth.On
	if s.Facts.Truth.On == "" {
		where = "runs nowhere"
	}
	return s.person(fmt.Sprintf("it %s, which is not what it was during %s (%s)", where, s.LCM, s.Host), "onevm recover --failure %d", s.VM)
}

// onDisks: copies, backups and resizes leave the VM as it was when they fail.
func onDisks(s Stuck) Decision {
	switch {
	case !s.still():
		return s.notStill()
	case s.Facts.Disks != Whole:
		d, _ := s.disks()
		d.Why = fmt.Sprintf("its volumes are not whole (%s) in the middle of %s", s.Facts.Disks, s.LCM)
		return d
	}
	return s.act(Failure, "its volumes are whole; the user may ask for %s again", s.LCM)
}

// onSnapshots: a snapshot that was made or removed, or not, is not seen from outside.
func onSnapshots(s Stuck) Decision {
	switch {
	case !s.still():
		return s.notStill()
	case s.Facts.Disks == Half:
		return s.person("a disk is being reverted, and has not arrived: ask for the same again once the VM is out of this state", "onevm recover --failure %d", s.VM)
	case s.Facts.Disks != Whole:
		d, _ := s.disks()
		return d
	case s.LCM == 51 || s.LCM == 54 || s.LCM == 57:
		return s.act(Failure, "its disks are whole; a snapshot that was made though is found by tm-clvm audit")
	}
	return s.person("whether the snapshot is gone, or the disk reverted, has to be looked at: tm-clvm volumes", "onevm recover --success %d", s.VM)
}

// onDevices: whether the guest has the device already is not seen by the volumes.
func onDevices(s Stuck) Decision {
	if !s.still() {
		return s.notStill()
	}
	return s.person(fmt.Sprintf("whether the guest has the device has to be looked at: virsh domblklist %s, virsh domiflist %[1]s", opennebula.ServiceName(s.VM)), "onevm recover --failure %d", s.VM)
}
