package tm

import (
	"context"
	"fmt"

	"one-clvm/agent"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// planLinkFile: an image that is a file which all nodes share is linked, not copied: a CDROM,
// or a persistent image, of which oned sees to it that one VM uses it.
func (d *Driver) planLinkFile(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	if call.Verb != "ln" {
		vm, err := d.Records.VM(ctx, call.VM)
		if err != nil {
			return nil, err
		}
		disk, err := vm.Disk(call.Home.Disk)
		if err != nil {
			return nil, err
		}
		if disk.Type != "CDROM" && !disk.ReadOnly {
			return nil, fmt.Errorf("image file %s is shared by all nodes (SHARED_DIRS), and linked, never copied: make the image a CDROM or persistent: %w", call.Source.Path, ErrNotYet)
		}
	}
	return d.linkFileOn(ctx, call, call.Source.Path)
}

func (d *Driver) linkFileOn(ctx context.Context, call opennebula.Call, path string) ([]plan.Step, error) {
	cfg, err := d.systemConfig(ctx, call.Home.Datastore)
	if err != nil {
		return nil, err
	}
	q := d.request(agent.OpLinkFile, call, cfg)
	q.Path = path
	return []plan.Step{{What: fmt.Sprintf("link disk %d of VM %d to %s", q.Disk, q.VM, path), Host: call.Dest.Host, Request: q}}, nil
}

// sharedFile is the file that a disk is a link to; "" for a volume. Where there are no such
// files, oned is not asked.
func (d *Driver) sharedFile(ctx context.Context, call opennebula.Call) (string, error) {
	if len(d.Config.List("SHARED_DIRS")) == 0 || call.Home.Disk < 0 {
		return "", nil
	}
	vm, err := d.Records.VM(ctx, call.VM)
	if err != nil {
		return "", err
	}
	disk, err := vm.Disk(call.Home.Disk)
	if err != nil {
		return "", err
	}
	source, err := opennebula.ParseSource(disk.Source)
	if err != nil || !d.IsShared(source.Path) {
		return "", nil //nolint:nilerr // what is no path is no file
	}
	return source.Path, nil
}

// planMoveFile: the link is in the home, which goes to where it is needed by itself; in
// another system datastore it is made anew.
func (d *Driver) planMoveFile(ctx context.Context, call opennebula.Call, path string) ([]plan.Step, error) {
	if call.SourceHome.Datastore == call.Home.Datastore && call.SourceHome.Base == call.Home.Base {
		return nil, nil
	}
	return d.linkFileOn(ctx, call, path)
}

// planReleaseFile: MVDS of a linked disk only takes the link away.
func (d *Driver) planReleaseFile(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	if call.Verb != "mvds" {
		return nil, fmt.Errorf("a disk is not saved as %s, which all nodes share (SHARED_DIRS): %w", call.Dest.Path, ErrNotYet)
	}
	at, err := d.whereDisksAre(ctx, call, call.Source.Host)
	if err != nil {
		return nil, err
	}
	return []plan.Step{{What: fmt.Sprintf("take the link of disk %d of VM %d to %s away", call.Disk, call.VM, call.Dest.Path), Host: at.host, Request: d.requestAt(at, agent.OpRemove, call)}}, nil
}
