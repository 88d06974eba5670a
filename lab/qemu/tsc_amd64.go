package qemu

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// timestamp is this machine's time stamp counter, which the emulated processor shows as its own.
func timestamp() uint64

// clockOption tells the kernel how fast that counter is. A kernel that has to find out, while
// others keep the machine busy, is wrong by factors ("PIT calibration deviates from HPET: 461101
// 2299262"), and so is its clock. To ten MHz, which it refines: the same in each snapshot.
var clockOption = sync.OnceValue(func() string {
	began, first := time.Now(), timestamp()
	time.Sleep(100 * time.Millisecond) // there is nothing to wait for but time
	ticks, took := timestamp()-first, time.Since(began)
	megahertz := float64(ticks) / float64(took.Microseconds())
	return fmt.Sprintf(" tsc_early_khz=%d", int(math.Round(megahertz/10))*10_000)
})
