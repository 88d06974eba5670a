package datastore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/agent"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/publish"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// Images that are files on the front-end: archives, and disks that were saved in a compressed
// form. Each file is there whole or not at all. What a crash leaves after each step:
//
//	image.named      the whole file under a temporary name
//	image.renamed    the whole file, of which oned does not know yet
//	archive.recorded the image's record says what a file would be that is not there
//
// The same verb again, and rm, remove all files of the image before anything else.

// newFile is a name for an image that is a file on the front-end.
func (c *call) newFile() (string, error) {
	base, err := c.base()
	return filepath.Join(base, c.filePrefix()+plan.NewOperation()), err
}

func (c *call) filePrefix() string { return fmt.Sprintf("image-%d-", c.Image.ID) }

// base is the datastore's directory on the front-end.
func (c *call) base() (string, error) {
	if !filepath.IsAbs(c.Datastore.BasePath) {
		return "", fmt.Errorf("%s: %w: BASE_PATH %q is not absolute", c.Datastore.Origin(), opennebula.ErrDocument, c.Datastore.BasePath)
	}
	return filepath.Clean(c.Datastore.BasePath), nil
}

// ownFile is the path of a SOURCE that is a file right in the datastore's directory. ok is
// false for anything else.
func (c *call) ownFile(source string) (path string, ok bool) {
	at, err := opennebula.ParseSource(source)
	if err != nil || !strings.HasPrefix(at.Path, "/") {
		return "", false
	}
	base, err := c.base()
	return at.Path, err == nil && filepath.Dir(at.Path) == base
}

// clearFiles removes what earlier attempts at the image have left of files.
func (c *call) clearFiles() error {
	base, err := c.base()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("files of image %d: %w", c.Image.ID, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(strings.TrimPrefix(e.Name(), "."), c.filePrefix()) {
			if err := removeFile(filepath.Join(base, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeFile removes the file of an image; one that is not there is fine.
func removeFile(path string) error {
	failpoint.Change("remove", path)
	err := os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the image: %w", err)
	}
	failpoint.Hit("imagefile.removed")
	return nil
}

// keepArchive puts an archive into the datastore's directory, compressed as its mode says
// if it was not compressed. It is there whole or not at all.
func (d *Driver) keepArchive(ctx context.Context, c *call, archive *os.File, mode tarmode.Mode, record *opennebula.Image) (err error) {
	if err := c.clearFiles(); err != nil {
		return err
	}
	path, err := c.newFile()
	if err != nil {
		return err
	}
	target, err := publish.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, target.Discard())
		}
	}()
	head := make([]byte, 16)
	n, err := archive.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	compression := tarmode.None
	if tarmode.Sniff(head[:n]) == tarmode.None {
		compression = mode.Compression()
	}
	w, err := tarmode.NewCompressor(target, compression, c.cfg.Int("COMPRESS_LEVEL"))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, archive)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if err := target.Flush(); err != nil {
		return err
	}
	if record.ID != c.Image.ID { // the new image's own record does not say yet what it is
		template := fmt.Sprintf("MODE=%q\nFSTYPE=%q", mode, record.FSType)
		if err := d.Records.UpdateImage(ctx, c.Image.ID, template); err != nil {
			return fmt.Errorf("record that image %d is %s: %w", c.Image.ID, mode, err)
		}
		failpoint.Hit("archive.recorded")
	}
	if err := target.Publish(); err != nil {
		return err
	}
	return d.tell(path)(agent.Result{})
}

// planCloneFile copies an image that is a file on the front-end.
func (d *Driver) planCloneFile(c *call, path string) ([]plan.Step, error) {
	to, err := c.newFile()
	if err != nil {
		return nil, err
	}
	return []plan.Step{{What: "copy " + path + " to " + to, Here: func(context.Context) error {
		err := c.clearFiles()
		if err == nil {
			err = copyWhole(path, to)
		}
		if err != nil {
			return err
		}
		return d.tellSource(to)(agent.Result{})
	}}}, nil
}

func copyWhole(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	defer source.Close() // only read
	target, err := publish.Create(to)
	if err != nil {
		return err
	}
	if _, err = io.Copy(target, source); err == nil {
		err = target.Flush()
	}
	if err != nil {
		return errors.Join(err, target.Discard())
	}
	return target.Publish()
}
