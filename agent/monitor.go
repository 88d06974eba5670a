package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"one-clvm/lvm"
)

// monitor is the volume group in numbers, by one report. Volumes in quarantine that are
// wiped count as free; the others are spoken of, for nobody else would.
func (c *session) monitor(ctx context.Context, g lvm.Group) (Result, error) {
	info, volumes, err := g.Report(ctx)
	if err != nil {
		return Result{}, err
	}
	var left, running, kept []string
	var size int64
	for _, v := range volumes {
		switch {
		case !v.Tags.Has(lvm.TagOurs, lvm.TagQuarantine):
			continue
		case c.isKept(v):
			kept = append(kept, v.Name)
			continue
		case wipedBytes(v) == v.Size:
			info.Free += v.Size
			continue
		}
		busy, err := c.isBeingWiped(g.Name(), v.Name)
		if err != nil {
			return Result{}, err
		}
		if busy || wipedByAnother(v) {
			running = append(running, v.Name)
			continue
		}
		left, size = append(left, v.Name), size+v.Size
	}
	if len(kept) > 0 {
		c.log("info", "volume group %s: kept for RESTORE: %s; if none runs, restore again, or delete the VM", g.Name(), few(kept))
	}
	if len(running) > 0 {
		c.log("info", "volume group %s: being wiped: %s", g.Name(), few(running))
	}
	if len(left) > 0 {
		c.log("warn", "volume group %s: %d deleted volumes (%s) are in quarantine and nobody wipes them: %s; run tm-clvm reap %s", g.Name(), len(left), humanize.IBytes(uint64(size)), few(left), g.Name())
	}
	return Result{Info: &info}, nil
}

// wipedByAnother: another node may be at it, and has not said that it failed.
func wipedByAnother(v lvm.Volume) bool {
	wiper := v.Tags.Get(lvm.TagWiper)
	return wiper != "" && lvm.TagWiper+"="+wiper != wiperTag() && !v.Tags.Has(lvm.TagWipeFailed)
}

// few names the first of many.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
