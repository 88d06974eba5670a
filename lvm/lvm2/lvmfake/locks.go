package lvmfake

import "one-clvm/lvm"

// activate does what -a MODE does: ay, aey, asy, an, aly, aln (given without the a).
func (h *Host) activate(out *reply, g *group, v *volume, mode string) {
	if v.origin != nil {
		out.fail(5, "lvmfake: activating a snapshot by itself is not implemented")
		return
	}
	switch mode {
	case "y", "":
		mode = "ey"
		if g.LockType == LockCLVMD {
			mode = "sy"
		}
	case "n":
		h.deactivate(out, g, v, g.LockType == LockCLVMD)
		return
	case "ln":
		h.deactivate(out, g, v, false)
		return
	}
	if snapshots := g.snapshots(v); g.LockType != LockNone && mode != "ey" && len(snapshots) > 0 {
		out.fail(5, "Shared activation not compatible with LV type %s of %s/%s", "snapshot", g.Name, v.name)
		return
	}
	wanted, ok := map[string]lvm.Mode{"ey": lvm.Exclusive, "sy": lvm.Shared, "ly": lvm.Shared}[mode]
	if !ok {
		out.fail(3, "Invalid argument for --activate: %s", mode)
		return
	}
	switch {
	case g.shared():
		h.activateByLVMLockd(out, g, v, wanted)
	case g.LockType == LockCLVMD:
		h.activateByCLVMD(out, v, wanted, mode == "sy")
	default:
		v.at(h).active = true
	}
}

// activateByLVMLockd takes the lock and keeps it; a lock of this host is converted.
func (h *Host) activateByLVMLockd(out *reply, g *group, v *volume, wanted lvm.Mode) {
	if conflict(wanted, v.heldElsewhere(h)) {
		out.fail(5, "LV locked by other host: %s/%s", g.Name, v.name)
		out.complain("Failed to lock logical volume %s/%s.", g.Name, v.name)
		return
	}
	*v.at(h) = presence{active: true, open: v.at(h).open, lock: wanted}
}

// activateByCLVMD goes through the clvmd of every node. Its traps, as in 2.02.187:
//
//   - Asked for exclusive activation while another node has it exclusively, it is
//     content: the volume is active exclusively, on some node.
//   - A lock that is held is strengthened, but never weakened: asking for shared
//     activation of what this node has exclusively succeeds and changes nothing.
//   - Shared means on all nodes, unless asked for this one only.
func (h *Host) activateByCLVMD(out *reply, v *volume, wanted lvm.Mode, everywhere bool) {
	elsewhere := v.heldElsewhere(h)
	if wanted == lvm.Exclusive && elsewhere == lvm.Exclusive {
		return
	}
	if conflict(wanted, elsewhere) {
		out.fail(5, "Error locking on node %s: Volume is busy on another node", h.name)
		return
	}
	here := v.at(h)
	here.active = true
	if here.lock == lvm.Off || wanted == lvm.Exclusive {
		here.lock = wanted
	}
	if everywhere && here.lock == lvm.Shared {
		for _, host := range h.store.hosts {
			v.at(host).active, v.at(host).lock = true, lvm.Shared
		}
	}
}

func conflict(wanted, elsewhere lvm.Mode) bool {
	return elsewhere == lvm.Exclusive || wanted == lvm.Exclusive && elsewhere != lvm.Off
}

// deactivate on this host or, as clvmd does it unless asked for this host only, on all:
// where the device is in use it stays, with an error.
func (h *Host) deactivate(out *reply, g *group, v *volume, everywhere bool) {
	for _, s := range g.snapshots(v) {
		if s.at(h).open {
			out.fail(5, "LV %s/%s has open 1 snapshot(s), not deactivating.", g.Name, v.name)
			return
		}
	}
	for _, host := range h.store.hosts {
		if host != h && !everywhere {
			continue
		}
		if !v.at(host).open {
			*v.at(host) = presence{}
			continue
		}
		if host == h {
			out.fail(5, "Logical volume %s/%s in use.", g.Name, v.name)
		} else {
			out.fail(5, "Error locking on node %s: LV %s/%s in use: not deactivating", host.name, g.Name, v.name)
		}
	}
}

// lockForChange takes the transient exclusive lock that removing, renaming and
// extending need, as the manager of the group gives it.
func (h *Host) lockForChange(out *reply, g *group, v *volume) bool {
	if v.origin != nil {
		return true // as seen with LVM 2.03.16: a snapshot has no lock, and its origin's is not asked
	}
	switch {
	case g.LockType == LockNone:
		return true
	case v.heldElsewhere(h) != lvm.Off && g.LockType == LockCLVMD:
		out.fail(5, "Error locking on node %s: Volume is busy on another node", h.name)
		return false
	case v.heldElsewhere(h) != lvm.Off:
		out.fail(5, "LV locked by other host: %s/%s", g.Name, v.name)
		return false
	case g.shared() && v.at(h).lock == lvm.Shared:
		out.fail(5, "LV is already locked with incompatible mode: %s/%s", g.Name, v.name)
		return false
	}
	return true
}
