package agent

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// aliveInterval is how often each end says that it is there.
const aliveInterval = time.Second

// atIntervals calls do until ctx ends, or do says that it was the last time.
func atIntervals(ctx context.Context, do func() (last bool)) {
	tick := time.NewTicker(aliveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if do() {
			return
		}
	}
}

// watch gives up on a peer that is silent for too long; seen is when it was last heard of,
// in Unix nanoseconds. While this end is busy, silence means nothing.
func watch(ctx context.Context, cancel context.CancelCauseFunc, seen *atomic.Int64, busy *atomic.Bool, timeout time.Duration) {
	atIntervals(ctx, func() bool {
		silent := !busy.Load() && time.Since(time.Unix(0, seen.Load())) > timeout
		if silent {
			cancel(fmt.Errorf("%w for %s", ErrStalled, timeout))
		}
		return silent
	})
}
