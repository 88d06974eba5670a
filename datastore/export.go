package datastore

import (
	"context"
	"crypto/md5" // what markets want
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"one-clvm/agent"
	"one-clvm/internal/publish"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// importInfo is what export prints.
type importInfo struct {
	XMLName xml.Name `xml:"IMPORT_INFO"`
	Source  string   `xml:"IMPORT_SOURCE"`
	MD5     string   `xml:"MD5"`
	Size    int64    `xml:"SIZE"` // MiB, of the disk
	Format  string   `xml:"FORMAT"`
	Dispose string   `xml:"DISPOSE"`
}

// planExport writes an image on the SAN as a compressed disk into a file that the market
// takes and removes; an archive is one already.
func (d *Driver) planExport(ctx context.Context, c *call) ([]plan.Step, error) {
	if path, ok := c.ownFile(c.Image.Source); ok {
		return []plan.Step{{What: "describe " + path, Here: func(context.Context) error { return d.describe(c, path, "NO") }}}, nil
	}
	image, err := c.ownVolume()
	if err != nil {
		return nil, err
	}
	host, err := d.NodeOfDatastore(ctx, c.cfg, &c.Datastore)
	if err != nil {
		return nil, err
	}
	q := c.request(agent.OpSendImage)
	q.Image = image
	q.Mode, q.Level = tarmode.GZIP, c.cfg.Int("COMPRESS_LEVEL")
	path := filepath.Join(c.cfg.String("TMP_ROOT"), "one-clvm-export-"+q.Operation+".gz")
	return []plan.Step{{What: fmt.Sprintf("write image %d to %s", image.ID, path), Here: func(ctx context.Context) error {
		return d.export(ctx, c, host, q, path)
	}}}, nil
}

// export leaves nothing after a crash before the file is whole, and that file after it.
func (d *Driver) export(ctx context.Context, c *call, host string, q agent.Request, path string) (err error) {
	file, err := publish.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Discard())
		}
	}()
	err = d.Step(ctx, plan.Step{What: fmt.Sprintf("read image %d", c.Image.ID), Host: host, Request: q, Transfer: func(context.Context) (agent.Transfer, error) {
		return agent.Transfer{Receive: func(agent.Start) (io.Writer, error) { return file, nil }}, nil
	}})
	if err == nil {
		err = file.Flush()
	}
	if err != nil {
		return err
	}
	if err := file.Publish(); err != nil {
		return err
	}
	if err := d.describe(c, path, "YES"); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func (d *Driver) describe(c *call, path, dispose string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	sum := md5.New()
	_, err = io.Copy(sum, file)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	text, err := xml.MarshalIndent(importInfo{
		Source: path, MD5: hex.EncodeToString(sum.Sum(nil)), Size: c.Image.Size, Format: "raw", Dispose: dispose,
	}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.Stdout, "%s\n", text)
	return err
}
