package tm

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"one-clvm/agent"
	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
	"one-clvm/plan"
)

// savedAttribute is on an image file that MVDS wrote: whose disk it is. It appears with the
// file, and tells a repeated MVDS, whose volume is gone, that all is well. A file system
// without such attributes (NFS before Linux 5.9) cannot tell; there the repetition fails.
const savedAttribute = "user.one-clvm.saved"

func diskMark(q agent.Request) string { return fmt.Sprintf("vm=%d disk=%d", q.VM, q.Disk) }

func markSaved(f *os.File, q agent.Request) error {
	failpoint.Change("mark", f.Name())
	err := unix.Fsetxattr(int(f.Fd()), savedAttribute, []byte(diskMark(q)), 0)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("mark %s as saved: %w", f.Name(), err)
	}
	return nil
}

// wasSaved says whether the image file is the disk of the request.
func wasSaved(path string, q agent.Request) bool {
	value := make([]byte, 256)
	n, err := unix.Getxattr(path, savedAttribute, value)
	return err == nil && string(value[:n]) == diskMark(q)
}

// forgetSaved takes the mark off: from now on a disk is more than its image.
func forgetSaved(path string) error {
	if _, err := unix.Getxattr(path, savedAttribute, nil); err != nil {
		return nil //nolint:nilerr // there is none, and whether the file can be read is seen elsewhere
	}
	failpoint.Change("unmark", path)
	if err := unix.Removexattr(path, savedAttribute); err != nil {
		return fmt.Errorf("image file %s: take the mark of the last MVDS off: %w", path, err)
	}
	failpoint.Hit("image.unmarked")
	return nil
}

// removeWhatIsSaved ends an MVDS that an earlier attempt had all but ended.
func (d *Driver) removeWhatIsSaved(ctx context.Context, s plan.Step, path string, err error) error {
	if !errors.Is(err, lvm.ErrNotFound) || !wasSaved(path, s.Request) {
		return err
	}
	d.Report.Info("op %s: disk %d of VM %d is in %s already: an earlier attempt had saved it", s.Request.Operation, s.Request.Disk, s.Request.VM, path)
	q := s.Request
	q.Op, q.Remove, q.Mode, q.Level = agent.OpRemove, false, "", 0
	return d.Step(ctx, plan.Step{What: fmt.Sprintf("remove disk %d of VM %d", q.Disk, q.VM), Host: s.Host, Request: q})
}
