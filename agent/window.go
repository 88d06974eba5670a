package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// Window is the time of a live migration, in which both nodes have the VM's disks active
// shared. It is recorded in the volumes' tags before the first lock is weakened, so that
// a window that nobody closes is known, and closed by the next verb on the VM:
//
//	died after                      left                              closed by
//	the tag is set                  exclusive on the source, tagged   any verb, after the deadline
//	shared on the source            shared on the source              FAILMIGRATE; any verb there, after the deadline
//	shared on the target            shared on both                    POST- or FAILMIGRATE; any verb, after the deadline
//	off on one end                  shared on the other               the same
//	exclusive on the other          exclusive, tagged                 any verb, after the deadline
//
// Closing never takes a volume from a VM: where it is open it becomes exclusive, which the
// lock manager refuses while the other end has it; elsewhere it is switched off.
type Window struct {
	Source  string `json:"source"` // names of the nodes, as oned has them
	Target  string `json:"target"`
	Seconds int    `json:"seconds"` // how long it may last, by the node's own clock
}

const maxWindow = 24 * 60 * 60

// windowHost is what a tag can hold of a host's name; a colon separates.
var windowHost = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$`)

func (q *Request) validateWindow() error {
	w := q.Window
	switch {
	case w == nil && q.Op == OpActivate && q.Activate == lvm.Shared:
		return errors.New("shared activation is for a migration only: no window is given")
	case w == nil:
		return nil
	case !windowHost.MatchString(w.Source) || !windowHost.MatchString(w.Target):
		return fmt.Errorf("window between hosts %q and %q", w.Source, w.Target)
	case w.Seconds <= 0 || w.Seconds > maxWindow:
		return fmt.Errorf("window of %d seconds", w.Seconds)
	}
	return nil
}

// recorded is a window as a volume's tag has it.
type recorded struct {
	source, target string
	until          time.Time
}

func (r recorded) String() string {
	return fmt.Sprintf("migration from %s to %s, which was to end until %s", r.source, r.target, r.until.Format(time.DateTime))
}

// windowOf reads a volume's window; ok is false without one. A tag that cannot be read
// counts as a window that is over.
func windowOf(v lvm.Volume) (r recorded, ok bool) {
	value := v.Tags.Get(lvm.TagMigrating)
	if value == "" {
		return recorded{}, false
	}
	r.source, value, _ = strings.Cut(value, ":")
	r.target, value, _ = strings.Cut(value, ":")
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		seconds = 0
	}
	r.until = time.Unix(seconds, 0)
	return r, true
}

// windowTags are all tags of a volume that record a window.
func windowTags(v lvm.Volume) lvm.Tags {
	var tags lvm.Tags
	for _, tag := range v.Tags {
		if strings.HasPrefix(tag, lvm.TagMigrating+"=") {
			tags = append(tags, tag)
		}
	}
	return tags
}

// openWindow records the window of the request. The other end of the same migration may
// have done that; a window of another one is replaced.
func (c *session) openWindow(ctx context.Context, g lvm.Group, v lvm.Volume) error {
	w := c.req.Window
	now := time.Now()
	r, ok := windowOf(v)
	if ok && r.source == w.Source && r.target == w.Target && r.until.After(now) {
		return nil
	}
	until := now.Add(time.Duration(w.Seconds) * time.Second).Unix()
	tag := fmt.Sprintf("%s=%s:%s:%d", lvm.TagMigrating, w.Source, w.Target, until)
	if _, err := g.Tag(ctx, v.Name, lvm.NewTags(tag), windowTags(v).Without(tag)); err != nil {
		return err
	}
	failpoint.Hit("window.opened")
	return nil
}

// forgetWindow drops the record of a volume that is to be this node's alone.
func (c *session) forgetWindow(ctx context.Context, g lvm.Group, v lvm.Volume) (lvm.Volume, error) {
	tags := windowTags(v)
	if len(tags) == 0 {
		return v, nil
	}
	failpoint.Hit("window.closing")
	return g.Tag(ctx, v.Name, nil, tags)
}

// closeOverdue ends, on this node, a window that nobody has closed in time. What it
// cannot do is said and left: it is not what the verb was called for.
func (c *session) closeOverdue(ctx context.Context, g lvm.Group, v lvm.Volume) lvm.Volume {
	r, ok := windowOf(v)
	if !ok || time.Now().Before(r.until) {
		return v
	}
	c.log("warn", "volume %s is %s here after the %s", v.Name, v.Mode, r)
	after, err := c.endWindow(ctx, g, v)
	if err != nil {
		c.log("warn", "volume %s stays %s: %v; run the verb again when the other node is well or fenced", v.Name, v.Mode, err)
		return v
	}
	c.log("info", "volume %s is %s now", v.Name, after.Mode)
	return after
}

// endWindow brings the volume to where it belongs on this node. Without a lock manager
// nothing can be proved of the other node, so the record stays while this one has it.
func (c *session) endWindow(ctx context.Context, g lvm.Group, v lvm.Volume) (lvm.Volume, error) {
	info, err := g.Info(ctx)
	if err != nil {
		return v, err
	}
	unlocked := info.LockManager == lvm.NoLockManager
	switch {
	case v.Mode == lvm.Off, unlocked && v.Open:
		return v, nil
	case !v.Open && (unlocked || v.Mode == lvm.Shared):
		return g.Activate(ctx, v.Name, lvm.Off)
	}
	if v, err = g.Activate(ctx, v.Name, lvm.Exclusive); err != nil {
		return v, err
	}
	return c.forgetWindow(ctx, g, v)
}
