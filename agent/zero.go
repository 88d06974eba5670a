package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"one-clvm/lvm"
)

const (
	// cleanSamples is how many blocks are looked at of space that is known to be zero.
	cleanSamples = 64
	// signatureSpace is what is zeroed at both ends of a disk that may show old bytes,
	// against signatures of file systems that are not there any more.
	signatureSpace = 1 << 20
)

// zero makes a new volume read as zeros: no tenant sees another's blocks. Only under
// WIPE=off it may not; then zeroed is false.
// fresh: the request has made it out of free space, of which the group's tags tell.
func (c *session) zero(ctx context.Context, g lvm.Group, v lvm.Volume, fresh bool, res *Result) (zeroed bool, err error) {
	started := time.Now()
	done := c.begin("zero " + v.Name)
	defer func() {
		done(err)
		res.Zeroing = time.Since(started)
	}()
	device, err := os.OpenFile(v.Path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return false, fmt.Errorf("zero volume %s: %w", v.Name, err)
	}
	defer func() { err = joinClose(err, device) }()
	if c.policy() == WipeOff && !c.contentNeedsZeros() {
		c.log("warn", "WIPE=off: volume %s may show what its blocks held before", v.Name)
		return false, c.zeroEnds(ctx, device, v.Size)
	}
	if fresh {
		res.Clean, err = c.isClean(ctx, g, device, 0, v.Size)
	}
	if res.Clean || err != nil {
		return true, err
	}
	return true, c.zeroSpace(ctx, device, v, 0, res)
}

// contentNeedsZeros: of a disk only its data is written.
func (c *session) contentNeedsZeros() bool {
	return c.req.Op == OpStore || slices.Contains([]Content{ContentDisk, ContentExtents, ContentImage}, c.req.Content)
}

func (c *session) zeroEnds(ctx context.Context, device *os.File, size int64) error {
	length := min(signatureSpace, size)
	for _, at := range []int64{0, size - length} {
		if _, err := lvm.Zero(ctx, device, at, length, c.Config.Zeroing, nil); err != nil {
			return err
		}
	}
	return nil
}

// isClean says whether space that this request has taken needs no zeroing: the group says that
// its free space is zero, and samples agree; one that does not, and the group is not believed
// again. Of space that a volume had before nobody says that.
func (c *session) isClean(ctx context.Context, g lvm.Group, device *os.File, off, length int64) (bool, error) {
	info, err := g.Info(ctx)
	if err != nil || !info.Tags.Has(lvm.TagClean) {
		return false, err
	}
	err = lvm.VerifyZero(device, off, length, cleanSamples)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, lvm.ErrNotZero) {
		return false, err
	}
	c.log("warn", "volume group %s has the tag %s, but its space is not zero (%v): taking the tag away, zeroing the disk; find out who removed volumes there, then run tm-clvm wipe-free %s", g.Name(), lvm.TagClean, err, g.Name())
	return false, c.soil(ctx, g)
}

// zeroSpace zeroes from off to the end, and says what that costs where it need not.
func (c *session) zeroSpace(ctx context.Context, device *os.File, v lvm.Volume, off int64, res *Result) error {
	started := time.Now()
	report, err := lvm.Zero(ctx, device, off, v.Size-off, c.Config.Zeroing, c.progress)
	if err != nil {
		return fmt.Errorf("zero volume %s: %w", v.Name, err)
	}
	res.Offloaded = report.Offloaded
	if !report.Offloaded {
		c.log("info", "%s of zeroes were written in %s, because the device does not write them by itself and volume group %s is not known to be clean; after tm-clvm wipe-free %s that is not needed",
			humanize.IBytes(uint64(report.Bytes)), time.Since(started).Round(time.Millisecond), v.Group, v.Group)
	}
	return nil
}
