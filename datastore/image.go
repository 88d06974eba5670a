package datastore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
	"one-clvm/plan"
)

// planMkfs makes an empty image. One that waits for the content of a disk (save_as) is not
// made before that comes: CPDS does.
func (d *Driver) planMkfs(ctx context.Context, c *call) ([]plan.Step, error) {
	if c.Image.SaveAs() {
		source, err := c.savedSource()
		if err != nil {
			return nil, err
		}
		return []plan.Step{{What: "leave " + source + " to the disk that is saved", Here: func(context.Context) error { return d.tellSource(source)(agent.Result{}) }}}, nil
	}
	if strings.EqualFold(c.Image.Format, "qcow2") {
		return nil, fmt.Errorf("%w: an image on the SAN is a raw disk: make it with FORMAT=raw", ErrRefused)
	}
	q := c.request(agent.OpMakeImage)
	q.Size, q.Content = c.Image.Size<<20, agent.ContentNone
	if c.Image.FSType != "" {
		var err error
		if q.FSType, err = cxmrc.FSType(c.Image.FSType, "", "", nil); err != nil {
			return nil, err
		}
		q.Content = agent.ContentFS
	}
	if q.Size <= 0 {
		return nil, fmt.Errorf("SIZE of image %d: %w: it is missing", c.Image.ID, lvm.ErrBadSize)
	}
	host, err := d.node(ctx, c)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("make image %d, %s in %s", c.Image.ID, humanize.IBytes(uint64(q.Size)), q.Group)
	if q.FSType != "" {
		what += ", as " + q.FSType
	}
	return []plan.Step{{What: what, Host: host, Request: q, Then: d.tellSource(c.source())}}, nil
}

// savedSource is where CPDS will put the disk: a volume, unless the datastore itself asks
// for another mode than RAW, which only a file can have.
func (c *call) savedSource() (string, error) {
	if c.cfg.Origin("MODE") == c.Datastore.Origin() && c.cfg.String("MODE") != "RAW" {
		return c.newFile()
	}
	return c.source(), nil
}

// planRemove removes an image. One that never was, or is gone, is fine.
func (d *Driver) planRemove(ctx context.Context, c *call) ([]plan.Step, error) {
	if c.Image.Source == "" {
		return nil, nil
	}
	if d.IsShared(c.Image.Source) {
		return []plan.Step{{What: "leave " + c.Image.Source + ", which is the administrator's", Here: func(context.Context) error { return nil }}}, nil
	}
	if path, ok := c.ownFile(c.Image.Source); ok {
		return []plan.Step{{What: "remove " + path, Here: func(context.Context) error { return errors.Join(removeFile(path), c.clearFiles()) }}}, nil
	}
	image, err := c.ownVolume()
	if err != nil {
		return nil, err
	}
	host, err := d.NodeOfDatastore(ctx, c.cfg, &c.Datastore)
	if err != nil {
		return nil, err
	}
	q := c.request(agent.OpDropImage)
	q.Image = image
	return []plan.Step{{What: fmt.Sprintf("remove image %d", image.ID), Host: host, Request: q}}, nil
}

func (c *call) unknown(source string) error {
	return fmt.Errorf("source %q is neither a volume %s nor a file in %s: %w", source, lvm.ImageName(c.cfg.String("LV_PREFIX"), 0), c.Datastore.BasePath, plan.ErrNotYet)
}

// planClone makes a copy of an image of the same datastore; oned has its SOURCE in PATH.
func (d *Driver) planClone(ctx context.Context, c *call) ([]plan.Step, error) {
	if path, ok := c.ownFile(c.Image.Path); ok {
		return d.planCloneFile(c, path)
	}
	image, ok := c.parseVolume(c.Image.Path, c.Image.CloningID)
	if !ok {
		return nil, c.unknown(c.Image.Path)
	}
	return d.copyOfImage(ctx, c, image, d.tellSource(c.source()))
}

// copyOfImage has a node copy an image on the SAN.
func (d *Driver) copyOfImage(ctx context.Context, c *call, source *agent.Image, told func(agent.Result) error) ([]plan.Step, error) {
	host, err := d.node(ctx, c)
	if err != nil {
		return nil, err
	}
	q := c.request(agent.OpMakeImage)
	q.Content, q.Source, q.Size = agent.ContentImage, source, max(c.Image.Size<<20, 1)
	what := fmt.Sprintf("make image %d in %s, a copy of image %d in %s", c.Image.ID, q.Group, source.ID, source.Group)
	return []plan.Step{{What: what, Host: host, Request: q, Then: told}}, nil
}
