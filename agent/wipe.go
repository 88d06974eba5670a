package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// Wipe is what is done against the data of a volume's former owner.
type Wipe string

// The policies. All but WipeOff keep a new disk from showing old bytes.
const (
	WipeOff     Wipe = "off"     // nothing: a new disk may show old bytes
	WipeCreate  Wipe = "create"  // new disks are zeroed, deleted ones keep their data on the SAN
	WipeDiscard Wipe = "discard" // besides, deleted disks are discarded
	WipeDelete  Wipe = "delete"  // besides, deleted disks are zeroed, and verified
)

// policies in the order of what they do, the least first.
var policies = []Wipe{WipeOff, WipeCreate, WipeDiscard, WipeDelete}

// stricter is the one of two policies that does more.
func stricter(a, b Wipe) Wipe {
	return policies[max(slices.Index(policies, a), slices.Index(policies, b))]
}

// policy is what the front-end asks for, or what this node demands if that is more.
func (c *session) policy() Wipe {
	if c.req.Wipe == "" {
		return WipeDelete
	}
	return stricter(c.req.Wipe, c.Config.Wipe)
}

const (
	// What is wiped and verified at a time. Where a wipe stops, at most this is done again.
	wipeSlice = 1 << 30
	// How often a wipe notes in a tag how far it is, in bytes: a change of the metadata.
	wipeNoteEvery = 64 << 30
)

// wipedBytes is how much of a volume in quarantine is known to be wiped.
func wipedBytes(v lvm.Volume) int64 {
	n, err := strconv.ParseInt(v.Tags.Get(lvm.TagWiped), 10, 64)
	if err != nil || n < 0 || n > v.Size {
		return 0 // it is wiped from the beginning
	}
	return n
}

// wipe zeroes what of a volume in quarantine is not known to be wiped. How far it came is
// in the volume's tags: after a crash, a failure or the end of ctx another wipe goes on there.
func (c *session) wipe(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	if wipedBytes(v) == v.Size {
		return nil
	}
	slot, err := c.awaitWipeSlot(ctx)
	if err != nil {
		return err
	}
	done := c.begin("wipe " + v.Name)
	c.total.Store(v.Size)
	at, err := c.wipeSlices(ctx, g, &v)
	err = errors.Join(err, slot.unlock())
	done(err)
	if err == nil {
		return nil
	}
	var failed lvm.Tags
	if ctx.Err() == nil {
		failed = lvm.NewTags(lvm.TagWipeFailed)
	}
	return errors.Join(err, c.noteWiped(context.WithoutCancel(ctx), g, &v, at, failed))
}

// wipeSlices returns how far it came.
func (c *session) wipeSlices(ctx context.Context, g lvm.Group, v *lvm.Volume) (at int64, err error) {
	at = wipedBytes(*v)
	device, err := os.OpenFile(v.Path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return at, fmt.Errorf("wipe volume %s: %w", v.Name, err)
	}
	defer func() { err = joinClose(err, device) }()
	pace := newPace(c.Config.WipeRate)
	mode, noted := c.Config.Zeroing, at
	for at < v.Size {
		length := min(pace.slice(), v.Size-at)
		report, err := lvm.Zero(ctx, device, at, length, mode, func(n int64) { c.progress(at + n) })
		if err != nil {
			return at, fmt.Errorf("wipe volume %s: %w", v.Name, err)
		}
		if !report.Offloaded {
			mode = lvm.ZeroWrite // it would refuse the next slice, too
		}
		at += length
		if at-noted >= wipeNoteEvery && at < v.Size {
			if err := c.noteWiped(ctx, g, v, at, nil); err != nil {
				return at, err
			}
			noted = at
		}
		if err := pace.wait(ctx, length); err != nil {
			return at, err
		}
	}
	return at, nil
}

// noteWiped writes into the volume's tags how much of it is wiped.
func (c *session) noteWiped(ctx context.Context, g lvm.Group, v *lvm.Volume, at int64, add lvm.Tags) error {
	var del lvm.Tags
	if old := v.Tags.Get(lvm.TagWiped); old != "" {
		del = lvm.NewTags(lvm.TagWiped + "=" + old)
	}
	if at > 0 {
		tag := fmt.Sprintf("%s=%d", lvm.TagWiped, at)
		add, del = add.With(tag), del.Without(tag)
	}
	now, err := g.Tag(ctx, v.Name, add, del)
	if err != nil {
		return fmt.Errorf("note how far volume %s is wiped: %w", v.Name, err)
	}
	failpoint.Hit("wipe.noted")
	*v = now
	return nil
}

// pace keeps a wipe below its rate.
type pace struct {
	rate    int64 // bytes a second, 0 without a limit
	started time.Time
	done    int64
}

func newPace(rate int64) *pace { return &pace{rate: rate, started: time.Now()} }

// slice is how much to do at a time: about a second's worth, whole MiB.
func (p *pace) slice() int64 {
	if p.rate == 0 {
		return wipeSlice
	}
	return max(min(p.rate, wipeSlice)>>20<<20, 1<<20)
}

// wait lets the time pass that length bytes more may take.
func (p *pace) wait(ctx context.Context, length int64) error {
	p.done += length
	if p.rate == 0 {
		return nil
	}
	seconds := min(float64(p.done)/float64(p.rate), 1e9) // a time.Duration has room for nine of these
	due := p.started.Add(time.Duration(seconds * float64(time.Second)))
	return pause(ctx, time.Until(due))
}
