package agent

import (
	"errors"
	"fmt"
	"os"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
)

// The modes of a volume's device.
const (
	ownersDevice = 0o660
	rootsDevice  = 0o600
)

// give makes a disk's device its owner's, whose hypervisor opens it. The rules of udev do
// the same, if they are installed, and nobody knows when.
func (c *session) give(disk lvm.Volume) error {
	uid, gid, err := c.owner()
	if err != nil {
		return err
	}
	return c.setOwner(disk, uid, gid, ownersDevice)
}

// take gives it back to root: what was deleted is nobody's any more.
func (c *session) take(disk lvm.Volume) error { return c.setOwner(disk, 0, 0, rootsDevice) }

func (c *session) setOwner(disk lvm.Volume, uid, gid int, mode os.FileMode) error {
	own := c.Own
	if own == nil {
		own = ownDevice
	}
	if err := own(disk.Path, uid, gid, mode); err != nil {
		return fmt.Errorf("owner of volume %s: %w", disk.Name, err)
	}
	failpoint.Change("own", disk.Name)
	failpoint.Hit("device.owned")
	return nil
}

// ownDevice changes a device; a volume that is a file stays as it is.
func ownDevice(path string, uid, gid int, mode os.FileMode) (err error) {
	device, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = joinClose(err, device) }()
	info, err := device.Stat()
	if err != nil || info.Mode()&os.ModeDevice == 0 {
		return err
	}
	return errors.Join(device.Chown(uid, gid), device.Chmod(mode))
}
