package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"one-clvm/internal/beneath"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/undo"
	"one-clvm/lvm"
)

var errNoHome = errors.New("the VM has no home on this node")

// home is a VM's directory in the system datastore. oneadmin may write there, root
// works there: every name is looked up without following a link.
type home struct {
	dir      *beneath.Dir
	uid, gid int
}

// openHome opens the request's home; with create, missing directories are made.
// errNoHome if it is not there.
func (c *session) openHome(create bool) (*home, error) { return c.openHomeOf(&c.req, create) }

func (c *session) openHomeOf(q *Request, create bool) (*home, error) {
	base, tail, err := q.splitHome(&c.Config)
	if err != nil {
		return nil, err
	}
	uid, gid, err := c.owner()
	if err != nil {
		return nil, err
	}
	dir, err := beneath.Open(base)
	if err != nil {
		return nil, fmt.Errorf("home of VM %d: is the system datastore mounted on this node? %w", c.req.VM, err)
	}
	for _, name := range strings.Split(tail, "/") {
		next, err := openOrMake(dir, name, create, uid, gid)
		err = joinClose(err, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s/%s", errNoHome, base, tail)
		}
		if err != nil {
			return nil, fmt.Errorf("home of VM %d: %w", c.req.VM, err)
		}
		dir = next
	}
	return &home{dir, uid, gid}, nil
}

// makeHome opens the home; one that was not there is taken back with the other steps.
func (c *session) makeHome(steps *undo.Stack) (*home, error) {
	h, err := c.openHome(false)
	if !errors.Is(err, errNoHome) {
		return h, err
	}
	if h, err = c.openHome(true); err == nil {
		steps.Push("remove the home", func(context.Context) error { return c.removeHome() })
	}
	return h, err
}

func openOrMake(dir *beneath.Dir, name string, create bool, uid, gid int) (*beneath.Dir, error) {
	if create {
		err := dir.Mkdir(name, 0o755, uid, gid)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		failpoint.Hit("home.made")
	}
	return dir.OpenDir(name)
}

func (h *home) close() { _ = h.dir.Close() } // only lookups went through it

// link makes name a symbolic link to a device, in one step for whoever looks.
func (h *home) link(name, target string) error {
	if err := h.dir.ReplaceSymlink(name, target, h.uid, h.gid); err != nil {
		return fmt.Errorf("link %s to %s: %w", name, target, err)
	}
	return nil
}

// relink makes an active disk's link right, if it is missing or leads elsewhere: a link is
// only for the hypervisor, and may be lost with the home's file system or by hand.
func (c *session) relink(disk lvm.Volume) error {
	home, err := c.openHome(true)
	if err != nil {
		return err
	}
	defer home.close()
	name := "disk." + disk.Tags.Get(lvm.TagDisk)
	target, err := home.dir.Readlink(name)
	if err == nil && target == disk.Path {
		return nil
	}
	if err == nil {
		c.log("warn", "link %s leads to %q instead of %s: correcting it", name, target, disk.Path)
	}
	return home.link(name, disk.Path)
}

// remove removes an entry; one that is not there is fine.
func (h *home) remove(name string) error {
	err := h.dir.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeHome removes the VM's directory with all that is in it.
func (c *session) removeHome() error { return c.removeHomeOf(&c.req) }

func (c *session) removeHomeOf(q *Request) error {
	base, tail, err := q.splitHome(&c.Config)
	if err != nil {
		return err
	}
	dir, err := beneath.Open(path.Join(base, path.Dir(tail)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("home of VM %d: %w", c.req.VM, err)
	}
	defer dir.Close() // only lookups went through it
	err = dir.RemoveAll(path.Base(tail))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home of VM %d: %w", c.req.VM, err)
	}
	return nil
}

// putFile puts the payload into a file of the home. The file appears whole or not at
// all; a crash leaves at most a temporary file, which goes with the home.
func (c *session) putFile(ctx context.Context) error {
	home, err := c.openHome(true)
	if err != nil {
		return err
	}
	defer home.close()
	done := c.begin("write " + c.req.File)
	err = c.writeFile(ctx, home)
	done(err)
	return err
}

func (c *session) writeFile(ctx context.Context, home *home) error {
	return writeWhole(home, home.dir, c.req.File, 0o660, func(f *os.File) error {
		if _, err := io.Copy(f, &reader{ctx: ctx, r: c.payload, progress: c.progress}); err != nil {
			return fmt.Errorf("write %s: %w", c.req.File, err)
		}
		failpoint.Hit("file.written")
		return nil
	})
}

// writeWhole makes a file in a directory of the home that is there whole or not at all.
func writeWhole(home *home, dir *beneath.Dir, name string, mode uint32, fill func(*os.File) error) error {
	f, commit, abort, err := dir.CreateFile(name, mode, home.uid, home.gid)
	if err != nil {
		return err
	}
	defer abort()
	if err := fill(f); err != nil {
		return err
	}
	return commit()
}
