package lvm

import (
	"context"
	"fmt"
	"time"
)

// Pauses until an open volume is looked at again; each is twice the one before.
const (
	openPause        = 50 * time.Millisecond
	longestOpenPause = 400 * time.Millisecond
)

// Released is ErrInUse while somebody has the volume open, and not just for a moment: when
// a program closes a device that it wrote, a VM's for example, udev opens it to look at
// it. look reads the volume again; its errors, and those of sleep, are Released's.
func Released(ctx context.Context, v Volume, sleep func(context.Context, time.Duration) error, look func(context.Context) (Volume, error)) (err error) {
	for pause := openPause; v.Open; pause *= 2 {
		if pause > longestOpenPause {
			return ErrInUse
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%w: %w", ErrInUse, err)
		}
		if v, err = look(ctx); err != nil {
			return err
		}
	}
	return nil
}
