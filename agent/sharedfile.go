package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
)

// Shared files are images that an administrator has put on a file system that all nodes have
// mounted: bootable ISOs, above all. Disks of VMs are links to them.

// sharedPath is what the path of one consists of.
var sharedPath = lazyregexp.New(`^/[A-Za-z0-9/._+@=,:~%-]+$`)

func (q *Request) validateShared(c *Config) error {
	needed := q.Op == OpLinkFile || q.Op == OpStatFile
	switch {
	case !needed && q.Path != "":
		return errors.New("takes no path")
	case !needed:
		return nil
	case !sharedPath.MatchString(q.Path) || path.Clean(q.Path) != q.Path:
		return fmt.Errorf("path %q", q.Path)
	}
	for _, dir := range c.SharedDirs {
		if strings.HasPrefix(q.Path, path.Clean(dir)+"/") {
			return nil
		}
	}
	return fmt.Errorf("path %q is in none of SHARED_DIRS (%s): add its directory in /etc/one-clvm/agent.conf, or correct SHARED_DIRS on the front-end", q.Path, strings.Join(c.SharedDirs, " "))
}

// statFile tells the size of a shared file: a regular one, without links on the way to it.
func (c *session) statFile() (Result, error) {
	file, err := os.OpenFile(c.req.Path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return Result{}, fmt.Errorf("shared file: %w", err)
	}
	defer file.Close() // only read
	info, err := file.Stat()
	if err != nil {
		return Result{}, fmt.Errorf("shared file: %w", err)
	}
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	switch {
	case err != nil:
		return Result{}, fmt.Errorf("shared file: %w", err)
	case !info.Mode().IsRegular() || info.Size() == 0:
		return Result{}, fmt.Errorf("shared file %s is not a regular file with a content", c.req.Path)
	case real != c.req.Path:
		return Result{}, fmt.Errorf("shared file %s is %s: name it so, without links", c.req.Path, real)
	}
	return Result{Path: real, Size: info.Size()}, nil
}

// linkFile makes a shared file a VM's disk. A crash leaves the link, or nothing.
func (c *session) linkFile(ctx context.Context, g lvm.Group) (Result, error) {
	res, err := c.statFile()
	if err != nil {
		return Result{}, err
	}
	if err := c.clearTheWay(ctx, g); err != nil {
		return Result{}, err
	}
	var steps undo.Stack
	home, err := c.makeHome(&steps)
	if err != nil {
		return Result{}, err
	}
	defer home.close()
	if err := home.link("disk."+strconv.Itoa(c.req.Disk), res.Path); err != nil {
		return Result{}, steps.Unwind(context.WithoutCancel(ctx), err)
	}
	steps.Disarm()
	failpoint.Hit("linkfile.linked")
	return res, nil
}
