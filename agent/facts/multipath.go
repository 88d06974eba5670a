package facts

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/run"
)

// queueing asks device-mapper which multipath devices keep requests when no path is left,
// and multipathd for how long.
func (w *collecting) queueing(ctx context.Context, disks []Disk) error {
	var waiting []*Disk
	for i := range disks {
		if disks[i].Multipath == "" {
			continue
		}
		result, err := w.Runner.Run(ctx, run.Cmd{Path: "dmsetup", Args: []string{"table", disks[i].Multipath}})
		if err != nil {
			return fmt.Errorf("multipath: %w", err)
		}
		if disks[i].QueueWithoutPath = strings.Contains(string(result.Stdout), "queue_if_no_path"); disks[i].QueueWithoutPath {
			waiting = append(waiting, &disks[i])
		}
	}
	if len(waiting) > 0 {
		w.endOfQueueing(ctx, waiting)
	}
	return nil
}

// endOfQueueing: the kernel waits for ever, until multipathd tells it not to. Where that
// does not run or does not answer, nobody does.
func (w *collecting) endOfQueueing(ctx context.Context, disks []*Disk) {
	maps, err := w.Runner.Run(ctx, run.Cmd{Path: "multipathd", Args: []string{"show", "maps", "format", "%n %Q"}})
	if err != nil {
		return
	}
	config, err := w.Runner.Run(ctx, run.Cmd{Path: "multipathd", Args: []string{"show", "config"}})
	if err != nil {
		return
	}
	interval := pollingInterval(string(config.Stdout))
	for _, d := range disks {
		retries, ends := retriesOf(string(maps.Stdout), d.Multipath)
		if ends && interval > 0 {
			d.QueueWithoutPath, d.QueueRetries, d.QueueTime = false, retries, retries*interval
		}
	}
}

var intervalPattern = lazyregexp.New(`(?m)^\s*polling_interval\s+"?([0-9]{1,5})"?\s*$`)

// pollingInterval is how often multipathd looks at a lost path, seconds; 0: not told.
func pollingInterval(config string) int {
	m := intervalPattern.FindStringSubmatch(config)
	if m == nil {
		return 0
	}
	seconds, _ := strconv.Atoi(m[1]) // five digits at most
	return seconds
}

// retriesOf reads no_path_retry of a map in lines of its name and its state of queueing, as
// snprint_queueing of multipath-tools writes it: on, off, - (as the kernel has it), or
// "12 chk" while there are paths; "60 sec" is what is left when there are none.
func retriesOf(maps, name string) (retries int, ends bool) {
	for line := range strings.Lines(maps) {
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != name {
			continue
		}
		if words[2] == "sec" {
			return 0, true
		}
		n, err := strconv.Atoi(words[1])
		return n, err == nil && words[2] == "chk"
	}
	return 0, false
}
