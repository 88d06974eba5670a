package agent

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"

	"one-clvm/internal/beneath"
	"one-clvm/lvm"
)

// Link is what a disk has in its VM's home.
type Link struct {
	Volume string `json:"volume"`
	Path   string `json:"path"`             // of the link, below the first HOME_BASE
	Target string `json:"target,omitempty"` // "" without a link
	Want   string `json:"want"`             // the volume's device
}

// audit is what an audit wants to know of a node: the volumes, which of them are just being
// wiped, and the links of those that are active here. It changes nothing.
func (c *session) audit(ctx context.Context, g lvm.Group) (Result, error) {
	volumes, err := g.Volumes(ctx)
	if err != nil {
		return Result{}, err
	}
	res := Result{Volumes: volumes}
	for _, v := range volumes {
		busy, err := c.isBeingWiped(g.Name(), v.Name)
		if err != nil {
			return Result{}, err
		}
		if busy {
			res.Wiping = append(res.Wiping, v.Name)
		}
		link, ok, err := c.linkOf(v)
		if err != nil {
			return Result{}, err
		}
		if ok {
			res.Links = append(res.Links, link)
		}
	}
	return res, nil
}

// linkOf looks for the link of a disk that is active on this node.
func (c *session) linkOf(v lvm.Volume) (link Link, ok bool, err error) {
	ds, vm, disk := v.Tags.Get(lvm.TagDS), v.Tags.Get(lvm.TagVM), v.Tags.Get(lvm.TagDisk)
	for _, id := range []string{ds, vm, disk} {
		if n, err := strconv.Atoi(id); err != nil || n < 0 || strconv.Itoa(n) != id {
			return Link{}, false, nil //nolint:nilerr // its tags are not those of a disk
		}
	}
	if v.Mode == lvm.Off || !v.Tags.Has(lvm.TagOurs) || v.Tags.Has(lvm.TagQuarantine) || v.Origin != "" {
		return Link{}, false, nil
	}
	base := c.Config.HomeBases[0]
	link = Link{Volume: v.Name, Path: path.Join(base, ds, vm, "disk."+disk), Want: v.Path}
	dir, err := beneath.Open(base)
	if err != nil {
		return link, true, nil //nolint:nilerr // no system datastore, no links
	}
	home, err := dir.OpenDir(path.Join(ds, vm))
	if err = joinClose(err, dir); err == nil {
		link.Target, err = home.Readlink("disk." + disk)
		err = joinClose(err, home)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return link, true, err
}
