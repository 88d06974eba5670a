package agent

import (
	"context"
	"fmt"
	"slices"

	"one-clvm/internal/lazyregexp"
	"one-clvm/lvm"
)

// maxLocal is how many physical volumes a request may name.
const maxLocal = 4096

// diskIDPattern is what LVM's ids consist of.
var diskIDPattern = lazyregexp.New(`^[A-Za-z0-9-]{1,64}$`)

func (q *Request) validateLocal(*Config) error {
	if len(q.Local) > maxLocal {
		return fmt.Errorf("%d local physical volumes", len(q.Local))
	}
	for _, id := range q.Local {
		if !diskIDPattern.MatchString(id) {
			return fmt.Errorf("id %q of a physical volume", id)
		}
	}
	return nil
}

// open opens a group. A change of one without a lock manager needs this session's
// permission; one that has to wait for its lock manager says so in the log.
func (c *session) open(name string) (lvm.Group, error) {
	g, err := c.OpenGroup(name)
	if unlocked, ok := g.(lvm.Unlocked); ok && err == nil {
		unlocked.Permit(c.permit)
	}
	if waiter, ok := g.(lvm.Waiter); ok && err == nil {
		waiter.OnWait(func(reason string) { c.log("warn", "waiting: %s", reason) })
	}
	return g, err
}

// permit lets a group without a lock manager be changed if no other node sees its disks,
// or if the administrators of both ends say that one front-end is the only writer; that
// one then keeps its other verbs out until this one has ended.
func (c *session) permit(_ context.Context, disks []lvm.PhysicalVolume) error {
	foreign := slices.IndexFunc(disks, func(d lvm.PhysicalVolume) bool { return !slices.Contains(c.req.Local, d.UUID) })
	switch {
	case foreign < 0, c.req.SingleWriter && c.Config.SingleWriter:
		return nil
	case c.req.SingleWriter:
		return fmt.Errorf("%w; the front-end says that it is the only writer, but this node's agent.conf does not allow that: set SINGLE_WRITER=True there if it is so", lvm.ErrUnlocked)
	}
	return fmt.Errorf("%w, and other nodes may see its disk %s: share the group (vgchange --lock-type), or, if one front-end is its only writer, set SINGLE_WRITER=True in cxmrc and in agent.conf", lvm.ErrUnlocked, disks[foreign].Path)
}
