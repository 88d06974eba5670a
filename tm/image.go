package tm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// onSAN says whether an image is a volume, not a file on the front-end. Where gfs2clvm and
// OpenNebula's own image repository have the same paths, the datastore tells.
func (d *Driver) onSAN(ctx context.Context, call opennebula.Call, image opennebula.Location) (bool, error) {
	if !lvm.IsHashPath(image.Path) {
		return !strings.HasPrefix(image.Path, "/") || strings.HasPrefix(image.Path, "/dev/"), nil
	}
	ds, err := d.Records.Datastore(ctx, call.Datastore)
	return err == nil && ds.DSMAD != "fs", err
}

// imageOnSAN is the image that a source means, in the volume group of its datastore.
func (d *Driver) imageOnSAN(ctx context.Context, call opennebula.Call, source opennebula.Location, raw string) (*agent.Image, *cxmrc.Config, error) {
	cfg, err := d.DatastoreConfig(ctx, d.Config, call.Datastore)
	if err != nil {
		return nil, nil, err
	}
	image, err := plan.ImageVolume(cfg, source.Path, func() (int, error) {
		vm, err := d.Records.VM(ctx, call.VM)
		if err != nil {
			return opennebula.None, err
		}
		disk, err := vm.Disk(call.Home.Disk)
		if err != nil {
			return opennebula.None, err
		}
		return disk.ImageID, nil
	})
	if errors.Is(err, lvm.ErrBadName) {
		return nil, nil, fmt.Errorf("image %q is neither a file on the front-end nor a volume of %s such as %s: %w", raw, cfg.String("VG_NAME"), lvm.ImageName(cfg.String("LV_PREFIX"), 0), ErrNotYet)
	}
	return image, cfg, err
}

// planCloneOnSAN: CLONE copies the image's volume on the node, from the SAN to the SAN, or
// takes a snapshot of it, as the image's datastore asks; LN makes it the disk in place.
func (d *Driver) planCloneOnSAN(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	image, imageCfg, err := d.imageOnSAN(ctx, call, call.Source, call.SourceRaw)
	if err != nil {
		return nil, err
	}
	if call.Verb == "ln" {
		cfg, err := d.systemConfig(ctx, call.Home.Datastore)
		if err != nil {
			return nil, err
		}
		q := d.imageRequest(agent.OpLink, call, cfg, image)
		what := fmt.Sprintf("make image %d, a volume of %s, disk %d of VM %d in place", image.ID, image.Group, q.Disk, q.VM)
		return []plan.Step{{What: what, Host: call.Dest.Host, Request: q}}, nil
	}
	f, err := d.gather(ctx, call)
	if err != nil {
		return nil, err
	}
	q := d.imageRequest(agent.OpCreate, call, f.cfg, image)
	q.Content = agent.ContentImage
	if q.Size, err = d.diskSize(f, imageForm{}, nil); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("make disk %d of VM %d, %s in %s, a copy of image %d in %s", q.Disk, q.VM, humanize.IBytes(uint64(q.Size)), q.Group, image.ID, image.Group)
	if imageCfg.String("CLONE") == "snapshot" {
		q.Content, q.Space = agent.ContentSnapshot, imageCfg.Int("SNAPSHOT_SPACE")
		what = fmt.Sprintf("make disk %d of VM %d a snapshot of image %d in %s; from then on LVM has that image and all its snapshots active on this node only: no live migration of the VM, and no other one while VMs use other snapshots of the image", q.Disk, q.VM, image.ID, image.Group)
	}
	return []plan.Step{{What: what, Host: call.Dest.Host, Request: q}}, nil
}

func (d *Driver) imageRequest(op agent.Op, call opennebula.Call, cfg *cxmrc.Config, image *agent.Image) agent.Request {
	q := d.request(op, call, cfg)
	q.Image = image
	return q
}

// planSaveOnSAN: CPDS copies the disk to the image's volume; MVDS gives back an image that
// was used in place, and otherwise copies and removes the disk.
func (d *Driver) planSaveOnSAN(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	image, _, err := d.imageOnSAN(ctx, call, call.Dest, call.DestRaw)
	if err != nil {
		return nil, err
	}
	vm, err := d.Records.VM(ctx, call.VM)
	if err != nil {
		return nil, err
	}
	disk, err := vm.Disk(call.Home.Disk)
	if err != nil {
		return nil, err
	}
	at, err := d.whereDisksAre(ctx, call, call.Source.Host)
	if err != nil {
		return nil, err
	}
	q := d.requestAt(at, agent.OpStore, call)
	q.Image, q.Remove = image, call.Verb == "mvds"
	what := fmt.Sprintf("copy disk %d of VM %d to image %d, a volume of %s", q.Disk, q.VM, image.ID, image.Group)
	switch {
	case q.Remove && disk.ImageID == image.ID:
		q.Op, q.Remove = agent.OpUnlink, strings.EqualFold(disk.Attrs["PERSISTENT_SNAPSHOTS"], "NO") // oned forgets them
		what = fmt.Sprintf("give image %d back from disk %d of VM %d", image.ID, q.Disk, q.VM)
	case call.Snapshot >= 0:
		q.Snapshot = &call.Snapshot
		what = fmt.Sprintf("copy snapshot %d of disk %d of VM %d to image %d, a volume of %s", call.Snapshot, q.Disk, q.VM, image.ID, image.Group)
	case !q.Remove:
		q.Space = at.cfg.Int("SNAPSHOT_SPACE")
	}
	return []plan.Step{{What: what, Host: at.host, Request: q}}, nil
}
