package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"one-clvm/hook"
	"one-clvm/internal/failpoint"
	"one-clvm/opennebula"
)

// ErrOld says that what is known of the VM may not be true any more.
var ErrOld = errors.New("where it runs was seen too long ago, or the clocks do not agree")

// ErrChanged says that the VM is not in the state any more that was judged.
var ErrChanged = errors.New("its state has changed meanwhile")

// Recover carries a decision out, if the VM is still what was judged, and was seen just now. It
// returns when oned has begun.
//
// What is left if the process dies: before recover.decided nothing; after it the call was made
// or not, and the next look sees which.
func (r *Recoverer) Recover(ctx context.Context, s Stuck, d Decision) error {
	how, acts := recoveries[d.Action]
	if !acts {
		return fmt.Errorf("VM %d: %s is no call of oned", s.VM, d.Action)
	}
	call, err := opennebula.RecoverCall(s.Version, s.VM, how)
	if err != nil {
		return err
	}
	seen := s.Facts.Truth.Seen
	if age := r.Now().Sub(seen); age > hook.MaxAge || age < -hook.MaxAge {
		return fmt.Errorf("VM %d: %w (%s ago): look again", s.VM, ErrOld, age.Round(time.Second))
	}
	vm, err := r.OneD.VM(ctx, s.VM)
	if err != nil {
		return err
	}
	if last := vm.Last(); vm.State != s.State || vm.LCMState != s.LCM || last == nil || last.Hostname != s.Host {
		return fmt.Errorf("VM %d: %w: look again", s.VM, ErrChanged)
	}
	failpoint.Hit("recover.decided")
	if err := r.OneD.Do(ctx, call); err != nil {
		return fmt.Errorf("VM %d: %s: %w; see /var/log/one/oned.log", s.VM, d.Command, err)
	}
	return nil
}
