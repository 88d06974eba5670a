package tm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// relocation moves a disk into another volume group. The data goes from node to node
// through the front-end, because nobody says that one node sees both groups. What is left
// if it is interrupted, and what MV again makes of it:
//
//	copied      the disk, and a copy tagged building: the copy is made anew
//	verified    the same
//	published   the disk twice: the copy is made anew from the disk
//	removed     the disk in its new group, and perhaps the old one on its way out: the new
//	            one is activated, and the old one's removal goes on
type relocation struct {
	*Driver
	leaving opennebula.Call // the call, with the home that the disk leaves
	call    opennebula.Call
	from    place
	cfg     *cxmrc.Config // of the new system datastore
}

func (r *relocation) String() string {
	return fmt.Sprintf("copy disk %d of VM %d from %s on %s into %s on %s, compare both, and remove the old one",
		r.call.Disk, r.call.VM, r.from.cfg.String("VG_NAME"), r.from.host, r.cfg.String("VG_NAME"), r.call.Dest.Host)
}

func (r *relocation) carryOut(ctx context.Context) error {
	disk, err := r.find(ctx, r.from.host, r.from.cfg)
	if errors.Is(err, lvm.ErrNotFound) {
		if _, there := r.find(ctx, r.call.Dest.Host, r.cfg); there != nil {
			return errors.Join(err, there)
		}
		if err := r.Step(ctx, r.activateOn(r.call, r.cfg, r.call.Dest.Host, lvm.Exclusive)); err != nil {
			return err
		}
		return r.removeOld(ctx)
	}
	if err != nil {
		return err
	}
	if err := r.copy(ctx, disk); err != nil {
		return err
	}
	if err := r.verify(ctx, disk); err != nil {
		discard := plan.Step{What: "remove the copy", Host: r.call.Dest.Host, Request: r.request(agent.OpRemove, r.call, r.cfg)}
		return errors.Join(err, r.Step(context.WithoutCancel(ctx), discard))
	}
	publish := r.request(agent.OpPublish, r.call, r.cfg)
	if err := r.Step(ctx, plan.Step{What: "publish the copy", Host: r.call.Dest.Host, Request: publish}); err != nil {
		return err
	}
	return r.removeOld(ctx)
}

// removeOld removes the old disk, or what a removal that was cut off has left of it.
func (r *relocation) removeOld(ctx context.Context) error {
	return r.Step(ctx, plan.Step{What: "remove the old disk", Host: r.from.host, Request: r.requestAt(r.from, agent.OpRemove, r.leaving)})
}

// find is the complete disk in a volume group. ErrNotFound after a clean report only.
func (r *relocation) find(ctx context.Context, host string, cfg *cxmrc.Config) (lvm.Volume, error) {
	q := agent.Request{Op: agent.OpVolumes, Operation: plan.NewOperation(), Group: cfg.String("VG_NAME")}
	res, err := r.Agents.Do(ctx, host, q, agent.Transfer{})
	if err != nil {
		return lvm.Volume{}, err
	}
	var found *lvm.Volume
	ours := lvm.NewTags(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, r.call.VM), lvm.KeyTag(lvm.TagDisk, r.call.Disk))
	for i, v := range res.Volumes {
		switch {
		case !v.Tags.Has(ours...) || v.Tags.Get(lvm.TagImage) != "" || v.Tags.Has(lvm.TagQuarantine) || v.Tags.Has(lvm.TagBuilding):
		case agent.IsTemporary(v): // what reads or removes the disk removes it
		case v.IsSnapshot():
			return v, fmt.Errorf("disk %d has snapshots, which cannot move to another volume group: delete them first: %w", r.call.Disk, lvm.ErrSnapshots)
		default:
			found = &res.Volumes[i]
		}
	}
	if found == nil {
		return lvm.Volume{}, fmt.Errorf("disk %d of VM %d in volume group %s: %w", r.call.Disk, r.call.VM, q.Group, lvm.ErrNotFound)
	}
	return *found, nil
}

// copy makes the disk in the new group, and leaves it there as one that is being built.
func (r *relocation) copy(ctx context.Context, disk lvm.Volume) error {
	save := r.requestAt(r.from, agent.OpSave, r.leaving)
	save.Mode = tarmode.RAW
	create := r.request(agent.OpCreate, r.call, r.cfg)
	create.Content, create.Mode, create.Size, create.Hold = agent.ContentExtents, tarmode.RAW, disk.Size, true
	create.FSType = disk.Tags.Get(lvm.TagFSType)
	// Each end waits for the other: with a turn of its own for each, two moves in opposite
	// directions would have one each, and wait for the other's.
	release, err := r.TakeTurns(ctx, save, create)
	if err != nil {
		return err
	}
	defer release()
	stream, feed := io.Pipe()
	var group errgroup.Group
	group.Go(func() error {
		err := r.Step(ctx, plan.Step{What: "read the disk", Host: r.from.host, Request: save, InTurn: true, Transfer: func(context.Context) (agent.Transfer, error) {
			return agent.Transfer{
				Receive:  func(agent.Start) (io.Writer, error) { return feed, nil },
				Received: func(agent.Start) error { return feed.Close() },
			}, nil
		}})
		_ = feed.CloseWithError(err) // nothing after Received
		return err
	})
	group.Go(func() error {
		err := r.Step(ctx, plan.Step{What: "write the copy", Host: r.call.Dest.Host, Request: create, Once: true, InTurn: true, Transfer: func(context.Context) (agent.Transfer, error) {
			return agent.Transfer{Send: func(w io.Writer) error { _, err := io.Copy(w, stream); return err }}, nil
		}})
		_ = stream.CloseWithError(err)
		return err
	})
	return group.Wait()
}

// verify reads both disks and compares.
func (r *relocation) verify(ctx context.Context, disk lvm.Volume) error {
	var was, is string
	read := func(q agent.Request, host string, digest *string) func() error {
		q.Size = disk.Size
		return func() error {
			return r.Step(ctx, plan.Step{What: "read back", Host: host, Request: q, Then: func(res agent.Result) error {
				*digest = res.Digest
				return nil
			}})
		}
	}
	written := r.request(agent.OpDigest, r.call, r.cfg)
	written.Hold = true
	group, _ := errgroup.WithContext(ctx)
	group.Go(read(r.requestAt(r.from, agent.OpDigest, r.leaving), r.from.host, &was))
	group.Go(read(written, r.call.Dest.Host, &is))
	if err := group.Wait(); err != nil {
		return err
	}
	if was == "" || was != is {
		return fmt.Errorf("the copy in %s differs from disk %d in %s (SHA-256 %.12s… instead of %.12s…): check the storage; the disk stays where it was", written.Group, r.call.Disk, r.from.cfg.String("VG_NAME"), is, was)
	}
	return nil
}
