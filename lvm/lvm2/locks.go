package lvm2

import (
	"context"
	"fmt"
	"strings"

	"one-clvm/internal/run"
	"one-clvm/lvm"
)

// Lock managers as lvm.GroupInfo names them.
const (
	managerNone    = lvm.NoLockManager
	managerCLVMD   = "clvmd"
	managerDLM     = "dlm"
	managerSanlock = "sanlock"
)

// attributeClustered is the place of the letter in vg_attr that is c for clvmd, s for
// lvmlockd.
const attributeClustered = 5

// lockManager tells who locks the group. A lock type that is not known is refused:
// taking it for a local group would be two writers.
func lockManager(attr, lockType string) (string, error) {
	if len(attr) <= attributeClustered {
		return "", &ReportError{Field: "vg_attr", Value: attr, Cause: "too short"}
	}
	if attr[attributeClustered] == 'c' {
		return managerCLVMD, nil
	}
	switch lockType {
	case "", managerNone:
		if attr[attributeClustered] == 's' {
			return "", &ReportError{Field: "vg_lock_type", Value: lockType, Cause: "a shared group without a lock type"}
		}
		return managerNone, nil
	case managerDLM, managerSanlock:
		return lockType, nil
	}
	return "", &ReportError{Field: "vg_lock_type", Value: lockType, Cause: "a lock manager that is not supported"}
}

// byLVMLockd says whether lvmlockd serves the group.
func byLVMLockd(manager string) bool { return manager == managerDLM || manager == managerSanlock }

// lockctl is lvmlockd's control program.
const lockctl = "lvmlockctl"

// lockTable is the lock that this node holds on each volume, by the volume's UUID.
type lockTable map[string]lvm.Mode

// locks asks lvmlockd which locks this node holds. The report cannot tell: its field
// lv_active_exclusively says yes for a volume held shared.
func (g *Group) locks(ctx context.Context, info lvm.GroupInfo) (lockTable, error) {
	if !byLVMLockd(info.LockManager) {
		return nil, nil
	}
	result, err := g.retry(ctx, run.Cmd{Path: lockctl, Args: []string{"-i"}})
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w; start lvmlockd on this node, then run vgchange --lockstart %s", ErrNoLockManager, err, g.name)
	}
	held, err := parseLocks(result.Stdout, g.name)
	if err != nil {
		return nil, fmt.Errorf("%w; run vgchange --lockstart %s", err, g.name)
	}
	return held, nil
}

// parseLocks reads the output of lvmlockctl -i, sections of one volume group each:
//
//	VG vg-one lock_type=dlm 1zJsen-6QjO-…
//	LS dlm lvm_vg-one
//	LK VG un ver 12
//	LK LV ex lZjUQq-eDw0-…
//
// Lines that it does not know are left alone: operations, waiting locks, clients.
// Without a section for the group the result is ErrNoLockManager: its lockspace is not
// started.
func parseLocks(output []byte, group string) (lockTable, error) {
	var held lockTable
	inside := false
	for line := range strings.Lines(string(output)) {
		words := strings.Fields(line)
		switch {
		case len(words) >= 2 && words[0] == "VG":
			if inside = words[1] == group; inside && held == nil {
				held = lockTable{}
			}
		case inside && len(words) >= 4 && words[0] == "LK" && words[1] == "LV":
			held[words[3]] = stronger(held[words[3]], lockMode(words[2]))
		}
	}
	if held == nil {
		return nil, fmt.Errorf("%w: lvmlockd has no lockspace for %s", ErrNoLockManager, group)
	}
	return held, nil
}

// lockMode is what a lock's mode allows this node: ex, sh, or un and all others nothing.
func lockMode(word string) lvm.Mode {
	switch word {
	case "ex":
		return lvm.Exclusive
	case "sh":
		return lvm.Shared
	}
	return lvm.Off
}

// stronger of two locks on one volume; a running command may hold one besides the
// persistent one.
func stronger(a, b lvm.Mode) lvm.Mode {
	switch {
	case a == lvm.Exclusive || b == lvm.Exclusive:
		return lvm.Exclusive
	case a == lvm.Shared || b == lvm.Shared:
		return lvm.Shared
	}
	return lvm.Off
}

// modeOf is a volume's mode on this node.
//
// Without a lock manager an active volume is the node's own. Under lvmlockd the lock
// held decides; a volume that is active without one (a thin volume is locked through
// its pool, a volume activated while locking was off not at all) counts as shared,
// because nobody keeps others out. Under clvmd lv_active tells, which reports the whole
// cluster there.
func modeOf(active bool, manager, lvActive string, held lvm.Mode) (lvm.Mode, error) {
	switch {
	case manager == managerCLVMD:
		return clvmdMode(lvActive)
	case !active:
		return lvm.Off, nil
	case manager == managerNone || held == lvm.Exclusive:
		return lvm.Exclusive, nil
	}
	return lvm.Shared, nil
}

// clvmdMode reads lv_active of a clustered group.
func clvmdMode(lvActive string) (lvm.Mode, error) {
	switch lvActive {
	case "", "remotely", "remote exclusive":
		return lvm.Off, nil
	case "local exclusive":
		return lvm.Exclusive, nil
	case "locally", "active":
		return lvm.Shared, nil
	}
	return lvm.Off, &ReportError{Field: "lv_active", Value: lvActive, Cause: "unknown whether active; check that clvmd runs on this node"}
}

// clvmdElsewhere is how other nodes alone have a volume active; Off when this one has it,
// too, or none.
func clvmdElsewhere(lvActive string) lvm.Mode {
	switch lvActive {
	case "remote exclusive":
		return lvm.Exclusive
	case "remotely":
		return lvm.Shared
	}
	return lvm.Off
}
