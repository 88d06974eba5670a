package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memoryBound is what each side may use at any image size.
const memoryBound = 96 << 20

// memory keeps the peaks of both sides.
type memory struct{ front, node int64 }

// watchMemory samples the suite's processes until the context ends, then sends the peaks.
// They are sampled because wait4 cannot tell: its maximum has the parent's memory in it,
// and the agent's parent is sshd. The kernel keeps each process's own peak, so that only
// what grows in the last milliseconds of a process is missed.
func watchMemory(ctx context.Context) <-chan memory {
	peaks := make(chan memory, 1)
	go func() {
		var peak memory
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				peaks <- peak
				return
			case <-tick.C:
				now := memoryNow()
				peak.front, peak.node = max(peak.front, now.front), max(peak.node, now.node)
			}
		}
	}()
	return peaks
}

func (b *bench) reportMemory(peak memory) {
	b.report.sizes("memory-front-end", memoryBound, peak.front, 1)
	b.report.sizes("memory-node", memoryBound, peak.node, 1)
}

// memoryNow adds up the peaks of the processes that run now, by side.
func memoryNow() memory {
	var sum memory
	processes, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, process := range processes {
		// The link to the executable leads nowhere in a confined process.
		arguments, err := os.ReadFile(process + "/cmdline")
		words := strings.Split(string(arguments), "\x00")
		switch {
		case err != nil || len(words) < 2 || words[0] != program:
			continue // another's, or ended
		case words[1] == "agent" || words[1] == "confined":
			sum.node += peakOf(process)
		default:
			sum.front += peakOf(process)
		}
	}
	return sum
}

// peakOf is VmHWM of /proc/PID/status; 0 if the process has ended.
func peakOf(process string) int64 {
	file, err := os.Open(process + "/status")
	if err != nil {
		return 0
	}
	defer file.Close() // only read
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
