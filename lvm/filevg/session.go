package filevg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"one-clvm/internal/undo"
	"one-clvm/lvm"
)

// session is the group while its lock is held: what the metadata says and what the
// kernel says.
type session struct {
	*Group
	ctx   context.Context
	meta  metadata
	loops map[string]loopDevice // active volumes, by UUID
	stray []loopDevice          // loop devices over pv that belong to no volume
	undo  undo.Stack
}

// newSession reads both sides; the caller holds the lock.
func (g *Group) newSession(ctx context.Context) (*session, error) {
	meta, err := g.load()
	if err != nil {
		return nil, err
	}
	devices, err := g.devices()
	if err != nil {
		return nil, err
	}
	s := &session{Group: g, ctx: ctx, meta: meta}
	s.loops, s.stray = match(meta, devices)
	return s, nil
}

// devices are the loop devices over this group's pv. A path alone does not tell: another
// mount namespace, or a group that was here before, may have a file of the same name.
func (g *Group) devices() ([]loopDevice, error) {
	named, err := attached(sysBlock, g.path(pvFile))
	if err != nil {
		return nil, err
	}
	var ours []loopDevice
	for _, d := range named {
		same, err := over(g.path(pvFile), d)
		if err != nil {
			return nil, err
		}
		if same {
			ours = append(ours, d)
		}
	}
	return ours, nil
}

// match gives every volume its loop device: the one that begins where it begins. The
// length may differ after a killed Extend. What remains belongs to no volume.
func match(m metadata, devices []loopDevice) (loops map[string]loopDevice, stray []loopDevice) {
	starts := map[int64]string{}
	for _, v := range m.Volumes {
		starts[m.bytes(v).Offset] = v.UUID
	}
	loops = map[string]loopDevice{}
	for _, d := range devices {
		uuid, ok := starts[d.Offset]
		if _, taken := loops[uuid]; !ok || taken || d.Length == 0 {
			stray = append(stray, d)
			continue
		}
		loops[uuid] = d
	}
	return loops, stray
}

// report takes one consistent look at the group: under the shared lock, or, when a
// crash left something to put right, after doing that under the exclusive one.
func (g *Group) report(ctx context.Context, read func(*session) error) error {
	err := g.locked(ctx, unix.LOCK_SH, func(s *session) error {
		if err := s.checkRepaired(); err != nil {
			return err
		}
		return read(s)
	})
	if !errors.Is(err, errNeedsRepair) {
		return err
	}
	return g.locked(ctx, unix.LOCK_EX, func(s *session) error {
		if err := s.repair(); err != nil {
			return err
		}
		return read(s)
	})
}

// locked opens a session under the lock and does one thing with it.
func (g *Group) locked(ctx context.Context, how int, then func(*session) error) error {
	unlock, err := g.lock(ctx, how)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", lvm.ErrNoGroup, err)
	}
	if err != nil {
		return err
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := g.newSession(ctx)
	if err != nil {
		return err
	}
	return then(s)
}

// change runs one operation under the exclusive lock, on a group that is in order.
// When it fails, what it did is undone.
func (g *Group) change(ctx context.Context, op, volume string, operation func(*session) error) error {
	err := g.locked(ctx, unix.LOCK_EX, func(s *session) error {
		if err := s.repair(); err != nil {
			return err
		}
		if err := operation(s); err != nil {
			return s.undo.Unwind(context.WithoutCancel(ctx), err)
		}
		s.undo.Disarm()
		return nil
	})
	return failer(op, g.name, volume)(err)
}

// commit makes the metadata that edit leaves the group's, at once or not at all. If
// the operation fails later, the former volumes are written back.
func (s *session) commit(edit func(*metadata)) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	before := s.meta.clone()
	next := s.meta.clone()
	edit(&next)
	next.Seqno++
	if err := next.validate(); err != nil {
		return err
	}
	if err := s.store(next); err != nil {
		return err
	}
	s.meta = next
	s.undo.Push("write back the metadata", func(context.Context) error {
		before.Seqno = s.meta.Seqno + 1
		s.meta = before
		return s.store(before)
	})
	return nil
}

// soil says that free space will not be clean any more: what is copied lies in it until it
// belongs to a volume, and in what a volume leaves. That is not undone.
func (s *session) soil() error {
	if !s.meta.Tags.Has(lvm.TagClean) {
		return nil
	}
	next := s.meta.clone()
	next.Tags = next.Tags.Without(lvm.TagClean)
	next.Seqno++
	if err := s.store(next); err != nil {
		return err
	}
	s.meta = next
	return nil
}

// activate attaches a loop device to the volume, unless it has one, and links to it.
func (s *session) activate(v volumeRecord) error {
	if _, active := s.loops[v.UUID]; !active {
		d, err := attach(s.path(pvFile), s.meta.bytes(v))
		if err != nil {
			return err
		}
		s.loops[v.UUID] = d
		s.undo.Push("detach "+d.path(), func(context.Context) error { return s.deactivate(v) })
	}
	return s.repairLink(v)
}

// deactivate removes the volume's link and loop device, if it has one. ErrInUse.
func (s *session) deactivate(v volumeRecord) error {
	if d, active := s.loops[v.UUID]; active {
		if err := detach(s.path(pvFile), d); err != nil {
			return err
		}
		delete(s.loops, v.UUID)
		s.undo.Push("attach "+v.Name+" again", func(context.Context) error { return s.activate(v) })
	}
	return s.repairLink(v)
}

func (s *session) devPath(name string) string { return s.path(devDir, name) }

// wantedLink is where the volume's symlink must point; "" for none.
func (s *session) wantedLink(v volumeRecord) string {
	if d, active := s.loops[v.UUID]; active {
		return d.path()
	}
	return ""
}

// link is where a symlink in dev points; "" if there is none.
func (s *session) link(name string) (string, error) {
	target, err := os.Readlink(s.devPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return target, err
}
