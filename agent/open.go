package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"one-clvm/lvm"
)

// released refuses a volume that somebody has open on this node; what says who. A device
// that was closed a moment ago is waited for: udev looks at it.
func released(ctx context.Context, g lvm.Group, v lvm.Volume, op, what string) error {
	err := lvm.Released(ctx, v, pause, func(ctx context.Context) (lvm.Volume, error) { return g.Volume(ctx, v.Name) })
	if errors.Is(err, lvm.ErrInUse) {
		return &lvm.Error{Op: op, Group: g.Name(), Volume: v.Name, Err: fmt.Errorf("%w: %s", err, what)}
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
