package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"one-clvm/internal/beneath"
	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// What oned's backup drivers find in a VM's home: a directory with a raw file for each
// disk, disk.N.I of increment I, and the VM's document.
const (
	backupDir      = "backup"
	backupDocument = "vm.xml"
	maxDocument    = 16 << 20 // bytes
)

// backup puts the content of disks into files. A disk in use is read from a temporary
// snapshot, and is not held up by more than that.
// A crash leaves the directory, and perhaps snapshots: the next backup, endBackup, and
// the removal of the home clear them away.
func (c *session) backup(ctx context.Context, g lvm.Group) (res Result, err error) {
	document, err := io.ReadAll(io.LimitReader(c.payload, maxDocument+1))
	if err != nil {
		return res, err
	}
	if len(document) > maxDocument {
		return res, fmt.Errorf("%w: the VM's document has more than %d bytes", ErrProtocol, maxDocument)
	}
	if err := c.endBackup(ctx, g); err != nil {
		return res, err
	}
	res, err = c.writeBackup(ctx, g, document)
	if err != nil {
		return Result{}, errors.Join(err, c.endBackup(context.WithoutCancel(ctx), g))
	}
	return res, c.removeTemporary(context.WithoutCancel(ctx), g)
}

func (c *session) writeBackup(ctx context.Context, g lvm.Group, document []byte) (res Result, err error) {
	home, err := c.openHome(true)
	if err != nil {
		return res, err
	}
	defer home.close()
	if err := home.dir.Mkdir(backupDir, 0o755, home.uid, home.gid); err != nil {
		return res, fmt.Errorf("home of VM %d: %w", c.req.VM, err)
	}
	failpoint.Hit("backup.made")
	dir, err := home.dir.OpenDir(backupDir)
	if err != nil {
		return res, err
	}
	defer dir.Close() // only lookups went through it
	sources, err := c.backupSources(ctx, g)
	if err != nil {
		return res, err
	}
	for i, v := range sources {
		copyIt := func(v lvm.Volume) error { return c.backupDisk(ctx, home, dir, c.req.Disks[i], v, &res) }
		if !v.IsSnapshot() {
			err = c.whileActive(ctx, g, v, copyIt)
		} else {
			err = copyIt(v)
		}
		if err != nil {
			return res, err
		}
		failpoint.Hit("backup.copied")
	}
	return res, writeWhole(home, dir, backupDocument, 0o640, func(f *os.File) error {
		_, err := f.Write(document)
		return err
	})
}

// backupSources are what the disks are read from: themselves, or snapshots, all taken
// before the first one is read.
func (c *session) backupSources(ctx context.Context, g lvm.Group) ([]lvm.Volume, error) {
	disks, err := c.disks(ctx, g)
	if err != nil {
		return nil, err
	}
	var sources []lvm.Volume
	for _, number := range c.req.Disks {
		i := slices.IndexFunc(disks, func(v lvm.Volume) bool { return v.Tags.Has(lvm.KeyTag(lvm.TagDisk, number)) })
		if i < 0 {
			return nil, &lvm.Error{Op: "backup", Group: g.Name(), Volume: lvm.DiskName(c.Config.Prefix, c.req.VM, number).String(), Err: lvm.ErrNotFound}
		}
		if err := c.finishExtend(ctx, g, disks[i]); err != nil {
			return nil, err
		}
		v, err := c.backupSource(ctx, g, disks[i], number)
		if err != nil {
			return nil, err
		}
		sources = append(sources, v)
	}
	return sources, nil
}

func (c *session) backupSource(ctx context.Context, g lvm.Group, disk lvm.Volume, number int) (lvm.Volume, error) {
	switch {
	case disk.Mode == lvm.Shared:
		return disk, &lvm.Error{Op: "backup", Group: g.Name(), Volume: disk.Name, Err: fmt.Errorf("%w: a live migration has it shared, or left it so: try again when that has ended", lvm.ErrNotExclusive)}
	case !disk.Open:
		return disk, nil // whileActive sees to one that is off
	}
	if err := refuseClone(disk, "backup", fmt.Sprintf("no snapshot can be taken of it while VM %d runs: back it up powered off", c.req.VM)); err != nil {
		return disk, err
	}
	v, err := c.takeTemporary(ctx, g, disk, number, tagBackup)
	failpoint.Hit("livebackup.snapshot")
	return v, err
}

func (c *session) backupDisk(ctx context.Context, home *home, dir *beneath.Dir, number int, v lvm.Volume, res *Result) error {
	device, err := os.Open(v.Path)
	if err != nil {
		return fmt.Errorf("read volume %s: %w", v.Name, err)
	}
	defer device.Close() // only read
	done := c.begin("copy " + v.Name)
	err = writeWhole(home, dir, fmt.Sprintf("disk.%d.0", number), 0o640, func(f *os.File) error {
		source := &reader{ctx: ctx, r: io.LimitReader(device, v.Size), progress: c.progress}
		_, written, err := tarmode.CopySparse(ctx, source, f, v.Size, func(int64) {})
		res.Content += written
		return errors.Join(err, f.Truncate(v.Size))
	})
	done(err)
	if err != nil {
		return fmt.Errorf("backup of volume %s: %w", v.Name, err)
	}
	return nil
}

// endBackup removes what a backup has left in the home and in the group. What is not there
// is fine.
func (c *session) endBackup(ctx context.Context, g lvm.Group) error {
	if err := c.removeTemporary(ctx, g); err != nil {
		return err
	}
	home, err := c.openHome(false)
	if errors.Is(err, errNoHome) {
		return nil
	}
	if err != nil {
		return err
	}
	defer home.close()
	err = home.dir.RemoveAll(backupDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home of VM %d: %w", c.req.VM, err)
	}
	failpoint.Hit("unbackup.removed")
	return nil
}
