package datastore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dustin/go-humanize"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/qcow2"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// planCopy makes an image of what its PATH names.
func (d *Driver) planCopy(ctx context.Context, c *call) ([]plan.Step, error) {
	if d.IsShared(c.Image.Path) {
		return d.planUseShared(ctx, c)
	}
	switch scheme(c.Image.Path) {
	case "lvm":
		return d.planCopyDisk(ctx, c)
	case "vol":
		return d.planCopyImage(ctx, c)
	}
	what := fmt.Sprintf("make image %d of %s", c.Image.ID, c.Image.Path)
	return []plan.Step{{What: what, Here: func(ctx context.Context) error {
		file, err := d.openSource(ctx, c)
		if err != nil {
			return err
		}
		return errors.Join(d.copyFile(ctx, c, file, c.Image), file.Close())
	}}}, nil
}

// copyFile makes the image of a file. Whether that is an archive, a QCOW2 file or a raw disk
// is what the record says; where it says nothing, a QCOW2 file is known by its beginning:
// it is the user's own, and what comes of it is a raw disk that is never looked at again.
func (d *Driver) copyFile(ctx context.Context, c *call, file *os.File, record *opennebula.Image) error {
	mode, err := plan.RecordedMode(record)
	if err != nil {
		return err
	}
	if mode.Tar() {
		return d.copyArchive(ctx, c, file, mode, record)
	}
	compressed, err := c.compression(file, mode)
	if err != nil {
		return err
	}
	if compressed == tarmode.None {
		return d.copyPlain(ctx, c, file, record)
	}
	plain, err := d.decompress(ctx, file, compressed)
	if err != nil {
		return err
	}
	head := make([]byte, len(qcow2.Magic))
	_, headErr := io.ReadFull(plain, head)
	if headErr != nil && !errors.Is(headErr, io.EOF) && !errors.Is(headErr, io.ErrUnexpectedEOF) {
		return errors.Join(headErr, plain.Close())
	}
	whole := io.MultiReader(strings.NewReader(string(head)), plain)
	switch {
	case isQCOW2(head, record):
		err = d.copyUnpacked(ctx, c, whole, record)
	case compressed == tarmode.Xz: // the nodes do not read it
		err = d.send(ctx, c, agent.ContentExtents, tarmode.RAW, 0, func(ctx context.Context, w io.Writer) error {
			_, _, err := tarmode.SendStream(ctx, w, whole, nil)
			return err
		})
	default:
		if err = plain.Close(); err == nil {
			err = d.sendWhole(ctx, c, file)
		}
		return err
	}
	return errors.Join(err, plain.Close())
}

// sendWhole sends a compressed disk as it is: only data travels.
func (d *Driver) sendWhole(ctx context.Context, c *call, file *os.File) error {
	return d.send(ctx, c, agent.ContentDisk, tarmode.GZIP, 0, func(_ context.Context, w io.Writer) error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{file}, make([]byte, 256<<10))
		return err
	})
}

// copyUnpacked makes the image of a compressed QCOW2 file.
func (d *Driver) copyUnpacked(ctx context.Context, c *call, plain io.Reader, record *opennebula.Image) error {
	most, err := c.most()
	if err != nil {
		return err
	}
	temp, err := plan.Temporary(c.cfg.String("TMP_ROOT"))
	if err != nil {
		return err
	}
	if _, err = io.Copy(&bounded{temp, most}, plain); err == nil {
		err = d.copyPlain(ctx, c, temp, record)
	}
	return errors.Join(err, temp.Close())
}

// copyPlain makes the image of a disk that is not compressed.
func (d *Driver) copyPlain(ctx context.Context, c *call, file *os.File, record *opennebula.Image) error {
	head := make([]byte, len(qcow2.Magic))
	if _, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !isQCOW2(head, record) {
		return d.sendDisk(ctx, c, file)
	}
	most, err := c.most()
	if err != nil {
		return err
	}
	raw, err := plan.Temporary(c.cfg.String("TMP_ROOT"))
	if err != nil {
		return err
	}
	if _, err = qcow2.Convert(ctx, d.Runner, file, raw, most, func(int64) {}); err == nil {
		err = d.sendDisk(ctx, c, raw)
	}
	return errors.Join(err, raw.Close())
}

// isQCOW2 goes by the record's word, and by the first bytes where it has none.
func isQCOW2(head []byte, record *opennebula.Image) bool {
	format := plan.RecordedFormat(record)
	return format == "qcow2" || format == "" && record.Template["MODE"] == "" && string(head) == qcow2.Magic
}

// sendDisk sends the data of a raw disk.
func (d *Driver) sendDisk(ctx context.Context, c *call, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fmt.Errorf("image file %s is empty", file.Name())
	}
	return d.send(ctx, c, agent.ContentExtents, tarmode.RAW, info.Size(), func(ctx context.Context, w io.Writer) error {
		_, err := tarmode.SendExtents(ctx, w, file, info.Size(), nil)
		return err
	})
}

// send has a node make the image of what write writes. The volume gets the size that oned
// knows, or SIZE of the record, but never less than the content needs, as far as known.
func (d *Driver) send(ctx context.Context, c *call, content agent.Content, mode tarmode.Mode, least int64, write func(context.Context, io.Writer) error) error {
	q := c.request(agent.OpMakeImage)
	q.Content, q.Mode = content, mode
	var err error
	if q.Size, _, err = cxmrc.DiskSize(cxmrc.DiskSizeInput{Disk: c.Image.Size, Default: c.cfg.Size("DEFAULT_LV_SIZE"), Content: least}); err != nil {
		return err
	}
	return d.make(ctx, c, q, write)
}

func (d *Driver) make(ctx context.Context, c *call, q agent.Request, write func(context.Context, io.Writer) error) error {
	limit, err := c.bandwidth()
	if err != nil {
		return err
	}
	host, err := d.node(ctx, c)
	if err != nil {
		return err
	}
	return d.Step(ctx, plan.Step{
		What: fmt.Sprintf("make image %d, %s in %s", c.Image.ID, humanize.IBytes(uint64(q.Size)), q.Group), Host: host, Request: q,
		Transfer: func(ctx context.Context) (agent.Transfer, error) {
			return agent.Transfer{Send: func(w io.Writer) error { return write(ctx, limited(ctx, w, limit)) }}, nil
		},
		Then: d.tell(c.source()),
	})
}

// copyArchive keeps an archive as a file on the front-end, or has it unpacked into a volume.
func (d *Driver) copyArchive(ctx context.Context, c *call, file *os.File, mode tarmode.Mode, record *opennebula.Image) error {
	archive, err := d.readable(ctx, c, file)
	if err != nil {
		return err
	}
	if archive != file {
		defer archive.Close() // only read
	}
	uuid, label, err := tarmode.ReadIdentity(archive, mode)
	if err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	if !c.unpacks() {
		return d.keepArchive(ctx, c, archive, mode, record)
	}
	q := c.request(agent.OpMakeImage)
	q.Content, q.Mode, q.FSUUID, q.FSLabel = agent.ContentTar, mode, uuid, label
	if q.FSType, err = cxmrc.FSType("", record.FSType, c.cfg.String("DEFAULT_FSTYPE"), nil); err != nil {
		return err
	}
	if !agent.LabelFits(q.FSType, q.FSLabel) {
		d.Report.Warn("label %q is too long for %s: the file system gets none", q.FSLabel, q.FSType)
		q.FSLabel = ""
	}
	size := cxmrc.DiskSizeInput{Disk: c.Image.Size, Template: record.Template["SIZE"], Default: c.cfg.Size("DEFAULT_LV_SIZE")}
	if q.Size, _, err = cxmrc.DiskSize(size); err != nil {
		return err
	}
	return d.make(ctx, c, q, func(_ context.Context, w io.Writer) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{archive}, make([]byte, 256<<10))
		return err
	})
}

// readable is an archive that the nodes can read: the file itself, or the plain tar of one
// that is compressed with xz.
func (d *Driver) readable(ctx context.Context, c *call, file *os.File) (*os.File, error) {
	head := make([]byte, 16)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if tarmode.Sniff(head[:n]) != tarmode.Xz {
		return file, nil
	}
	most, err := c.most()
	if err != nil {
		return nil, err
	}
	temp, err := plan.Temporary(c.cfg.String("TMP_ROOT"))
	if err != nil {
		return nil, err
	}
	plain, err := d.decompress(ctx, file, tarmode.Xz)
	if err == nil {
		_, err = io.Copy(&bounded{temp, most}, plain)
		err = errors.Join(err, plain.Close())
	}
	if err == nil {
		_, err = temp.Seek(0, io.SeekStart)
	}
	return kept(temp, err)
}

func (c *call) unpacks() bool {
	if text := c.Image.Template["UNPACK"]; text != "" {
		return isYes(text)
	}
	return c.cfg.Bool("UNPACK")
}
