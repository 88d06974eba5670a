package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// quarantined is a volume that was taken into quarantine, perhaps not in the request's
// group: an image can be in another one.
type quarantined struct {
	group lvm.Group
	name  string
}

// discard takes a volume away for good: at once out of reach (quarantine), and, when
// nobody waits for it any more, wiped and removed (reap). What a crash leaves after each
// step carries the tag quarantine and the tags of its VM:
//
//	released  a volume in quarantine that RESTORE does not need any more
//	activated the volume, exclusively on this node
//	tagged    the volume under its old name
//	renamed   the volume under a name of its own: the VM's disk is gone
//	wiped     the same
//	removed   nothing
//
// The same disk's removal or creation goes on with it, and so does tm-clvm reap.
func (c *session) discard(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	if c.inQuarantine(v) {
		if c.isKept(v) { // after this anybody may wipe it
			if _, err := g.Tag(ctx, v.Name, nil, lvm.NewTags(lvm.TagBuilding, tagReplacement)); err != nil {
				return err
			}
			failpoint.Hit("discard.released")
		}
		c.quarantined = append(c.quarantined, quarantined{g, v.Name})
		return nil
	}
	if err := released(ctx, g, v, "remove", "end what has it open on this node first"); err != nil {
		return err
	}
	name, err := c.quarantine(ctx, g, v)
	if err == nil {
		c.quarantined = append(c.quarantined, quarantined{g, name})
	}
	return err
}

// quarantine proves that no other node has the volume, marks it, and takes its name.
func (c *session) quarantine(ctx context.Context, g lvm.Group, v lvm.Volume) (string, error) {
	v, err := g.Activate(ctx, v.Name, lvm.Exclusive)
	if err != nil {
		return "", err
	}
	failpoint.Hit("discard.activated")
	if err := c.take(v); err != nil {
		return "", err
	}
	if _, err := g.Tag(ctx, v.Name, lvm.NewTags(lvm.TagQuarantine, wiperTag()), lvm.NewTags(lvm.TagBuilding, lvm.TagParked, tagReplacement)); err != nil {
		return "", err
	}
	failpoint.Hit("discard.tagged")
	to := c.quarantineName()
	if err := g.Rename(ctx, v.Name, to); err != nil {
		return "", err
	}
	failpoint.Hit("discard.renamed")
	c.log("info", "volume %s is in quarantine as %s", v.Name, to)
	return to, nil
}

func (c *session) quarantineName() string {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	return lvm.QuarantineName(c.Config.Prefix, hex.EncodeToString(id)).String()
}

// wiperTag says which node has the volume: where there is no lock manager, nothing else
// keeps a second node from wiping it, and from going on after the first has removed it.
func wiperTag() string {
	host, err := os.Hostname()
	if err != nil || lvm.NewTags(lvm.TagWiper+"="+host).Validate() != nil {
		host = "unknown"
	}
	return lvm.TagWiper + "=" + host
}

// reapQuarantined wipes and removes what this request took into quarantine. It is past
// the VM's lock, and goes on when the caller has gone; a signal stops it.
func (c *session) reapQuarantined(ctx context.Context) error {
	if len(c.quarantined) == 0 {
		return nil
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	var errs []error
	for _, v := range c.quarantined {
		if c.req.Op.makes() { // whoever makes a disk does not wait until a former one is wiped
			busy, err := c.isBeingWiped(v.group.Name(), v.name)
			errs = append(errs, err)
			if busy {
				continue
			}
		}
		errs = append(errs, c.reap(ctx, v.group, v.name, c.policy()))
	}
	return errors.Join(errs...)
}

// reap ends a volume in quarantine: wiped as the policy says, and removed. One that is
// gone is fine, and one that somebody else wipes here is waited for.
func (c *session) reap(ctx context.Context, g lvm.Group, name string, policy Wipe) error {
	lock, err := c.awaitWipeLock(ctx, "the wipe of volume "+name, lockByte(g.Name(), name))
	if err != nil {
		return stays(name, err)
	}
	defer func() { _ = lock.unlock() }() // it was never written to
	info, volumes, err := g.Report(ctx)
	if err != nil {
		return stays(name, err)
	}
	i := slices.IndexFunc(volumes, func(v lvm.Volume) bool { return v.Name == name })
	if i < 0 {
		return nil
	}
	v := volumes[i]
	if c.isKept(v) {
		c.log("info", "volume %s is kept for RESTORE of VM %s", name, v.Tags.Get(lvm.TagVM))
		return nil
	}
	if err := c.refuseWipedElsewhere(info, v); err != nil {
		return stays(name, err)
	}
	if v.Mode != lvm.Exclusive && wipedBytes(v) < v.Size {
		if v, err = g.Activate(ctx, name, lvm.Exclusive); err != nil {
			return stays(name, err)
		}
		failpoint.Hit("reap.activated")
	}
	clean, err := c.wipeAs(ctx, g, v, policy)
	if err != nil {
		return stays(name, err)
	}
	return c.removeWiped(ctx, g, name, clean)
}

// stays says what a failure to reap means.
func stays(name string, err error) error {
	return fmt.Errorf("volume %s stays in quarantine, its blocks are not handed out again: %w; tm-clvm reap goes on with it", name, err)
}

// refuseWipedElsewhere: without a lock manager only the node that has the volume can know
// that nobody writes to it.
func (c *session) refuseWipedElsewhere(info lvm.GroupInfo, v lvm.Volume) error {
	wiper := v.Tags.Get(lvm.TagWiper)
	if info.LockManager != lvm.NoLockManager || wiper == "" || lvm.TagWiper+"="+wiper == wiperTag() || c.req.Force {
		return nil
	}
	return fmt.Errorf("%w: %s has taken it into quarantine, and no lock manager tells whether it is at work: run tm-clvm reap there, or with --force here when that node is down", lvm.ErrLocked, wiper)
}

// wipeAs says whether the blocks are known to be zero afterwards.
func (c *session) wipeAs(ctx context.Context, g lvm.Group, v lvm.Volume, policy Wipe) (clean bool, err error) {
	switch {
	case policy == WipeDelete, wipedBytes(v) == v.Size:
		return true, c.wipe(ctx, g, v)
	case policy == WipeDiscard:
		return false, c.discardBlocks(ctx, v)
	case policy == WipeOff:
		c.log("warn", "WIPE=off: the data of volume %s stays on the SAN, and the next disk may show it", v.Name)
	}
	return false, nil
}

func (c *session) discardBlocks(ctx context.Context, v lvm.Volume) error {
	device, err := os.OpenFile(v.Path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("discard volume %s: %w", v.Name, err)
	}
	err = joinClose(lvm.Discard(ctx, device, 0, v.Size), device)
	if errors.Is(err, lvm.ErrNoDiscard) {
		c.log("warn", "WIPE=discard: the data of volume %s stays on the SAN: %v", v.Name, err)
		return nil
	}
	return err
}

// removeWiped removes a volume. Unless its blocks are clean, the group's free space is
// not any more: the tag goes first, and once more if it came back in between.
func (c *session) removeWiped(ctx context.Context, g lvm.Group, name string, clean bool) error {
	failpoint.Hit("discard.wiped")
	if !clean {
		if err := c.soil(ctx, g); err != nil {
			return stays(name, err)
		}
	}
	done := c.begin("remove volume " + name)
	err := whenUnused(ctx, func() error { return g.Remove(ctx, name) })
	done(err)
	if err != nil {
		return stays(name, err)
	}
	failpoint.Hit("discard.removed")
	if !clean {
		return c.soil(ctx, g)
	}
	return nil
}

// udev has a look at each device that was written to, just after the writer has closed it.
const (
	udevTime  = 10 * time.Second
	udevPause = 100 * time.Millisecond
)

// whenUnused changes a volume that no VM can have open any more. What has it open all the
// same is udev, and gone soon.
func whenUnused(ctx context.Context, change func() error) error {
	for deadline := time.Now().Add(udevTime); ; {
		err := change()
		if !errors.Is(err, lvm.ErrInUse) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(udevPause):
		}
	}
}

// soil takes back what the group's tag says of its free space.
func (c *session) soil(ctx context.Context, g lvm.Group) error {
	_, err := g.TagGroup(ctx, nil, lvm.NewTags(lvm.TagClean))
	failpoint.Hit("space.soiled")
	return err
}

// reapAll is tm-clvm reap: everything in quarantine, but for free space that somebody is
// just wiping.
func (c *session) reapAll(ctx context.Context, g lvm.Group) (Result, error) {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return Result{}, err
	}
	wipingFree, err := c.isBeingWiped(g.Name(), "")
	if err != nil {
		return Result{}, err
	}
	var res Result
	var errs []error
	for _, v := range volumes {
		meant := c.req.Volume == "" || c.req.Volume == v.Name
		if !meant || !c.inQuarantine(v) || c.isKept(v) || wipingFree && v.Tags.Has(lvm.TagFreeSpace) {
			continue
		}
		if err := c.reap(ctx, g, v.Name, WipeDelete); err != nil {
			errs = append(errs, err)
			continue
		}
		res.Wiped += v.Size
	}
	return res, errors.Join(errs...)
}

// inQuarantine is a volume of ours that reap may remove, unless it is kept.
func (c *session) inQuarantine(v lvm.Volume) bool {
	name, err := lvm.ParseName(c.Config.Prefix, v.Name)
	return err == nil && name.Kind == lvm.KindQuarantine && v.Tags.Has(lvm.TagOurs, lvm.TagQuarantine)
}

// isKept: a RESTORE fills the volume in quarantine, or is about to put it into its disk's
// place. Only verbs on that disk, which exclude each other, decide when it may go.
func (c *session) isKept(v lvm.Volume) bool {
	return c.inQuarantine(v) && (v.Tags.Has(lvm.TagBuilding) || v.Tags.Has(tagReplacement))
}

// makeRoom removes volumes in quarantine until size bytes are free, those first that are
// wiped already. One that cannot be wiped does not keep it from the others.
func (c *session) makeRoom(ctx context.Context, g lvm.Group, size int64) error {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return err
	}
	volumes = slices.DeleteFunc(volumes, func(v lvm.Volume) bool { return !c.inQuarantine(v) || c.isKept(v) })
	slices.SortStableFunc(volumes, func(a, b lvm.Volume) int { return int((a.Size-wipedBytes(a))>>20 - (b.Size-wipedBytes(b))>>20) })
	var errs []error
	for _, v := range volumes {
		if size <= 0 {
			return nil
		}
		c.log("info", "too little space: reaping %s (%s)", v.Name, humanize.IBytes(uint64(v.Size)))
		if err := c.reap(ctx, g, v.Name, WipeDelete); err != nil {
			errs = append(errs, err)
			continue
		}
		size -= v.Size
	}
	return errors.Join(errs...)
}
