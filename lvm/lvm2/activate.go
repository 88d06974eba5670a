package lvm2

import (
	"context"
	"fmt"

	"one-clvm/lvm"
)

// Activate implements lvm.Group. The command runs even when the volume seems to be in
// the mode already: it costs little and also mends a lock that is out of step with the
// device. In a group without a lock manager every active volume is exclusive: there is
// nobody to share it with.
func (g *Group) Activate(ctx context.Context, name string, mode lvm.Mode) (lvm.Volume, error) {
	return g.change(ctx, "activate "+mode.String(), name, func(before state) (lvm.Volume, error) {
		volume, err := before.find(name)
		if err != nil {
			return lvm.Volume{}, err
		}
		if mode == lvm.Off {
			if err := g.released(ctx, volume); err != nil {
				return lvm.Volume{}, err
			}
		}
		if err := g.checkActivation(ctx, before, volume, mode); err != nil {
			return lvm.Volume{}, err
		}
		if err := g.weaken(ctx, before, volume, mode); err != nil {
			return lvm.Volume{}, err
		}
		if err := g.setMode(ctx, before.info.LockManager, name, mode); err != nil {
			return lvm.Volume{}, err
		}
		return g.verified(ctx, name, func(v lvm.Volume) string {
			if v.Mode != reached(before.info.LockManager, mode) {
				return "it is active " + v.Mode.String()
			}
			return ""
		})
	}, func() error { return validateMode(mode) })
}

// weaken prepares a volume for a weaker lock where the lock manager does not give one to
// who has the stronger: clvmd says yes and keeps the exclusive lock. There the volume is
// let go first. A crash in between leaves it off; the same call again completes it.
func (g *Group) weaken(ctx context.Context, before state, volume lvm.Volume, mode lvm.Mode) error {
	if before.info.LockManager != managerCLVMD || volume.Mode != lvm.Exclusive || mode != lvm.Shared {
		return nil
	}
	if volume.Open {
		return fmt.Errorf("%w: clvmd does not weaken the lock of a volume in use; stop the VM, or migrate it cold", ErrNotShareable)
	}
	return g.setMode(ctx, managerCLVMD, volume.Name, lvm.Off)
}

func validateMode(mode lvm.Mode) error {
	switch mode {
	case lvm.Off, lvm.Exclusive, lvm.Shared:
		return nil
	}
	return fmt.Errorf("there is no activation %s", mode)
}

// activation is the option that brings a volume into a mode on this node, and on this
// node only: clvmd would do -an and -asy on all nodes.
func activation(manager string, mode lvm.Mode) string {
	if manager == managerNone && mode != lvm.Off {
		return "-ay"
	}
	switch mode {
	case lvm.Exclusive:
		return "-aey"
	case lvm.Shared:
		if manager == managerCLVMD {
			return "-aly"
		}
		return "-asy"
	}
	if manager == managerCLVMD {
		return "-aln"
	}
	return "-an"
}

// reached is the mode in which the report shows a volume that was brought into mode.
func reached(manager string, mode lvm.Mode) lvm.Mode {
	if manager == managerNone && mode == lvm.Shared {
		return lvm.Exclusive
	}
	return mode
}
