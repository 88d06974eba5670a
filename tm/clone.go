package tm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/qcow2"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// facts are what a clone needs to know from oned.
type facts struct {
	disk  *opennebula.Disk
	image *opennebula.Image // nil for a volatile disk
	cfg   *cxmrc.Config     // of the system datastore
}

// gather asks oned for the VM, and then for the image and the datastore at once.
func (d *Driver) gather(ctx context.Context, call opennebula.Call) (*facts, error) {
	vm, err := d.Records.VM(ctx, call.VM)
	if err != nil {
		return nil, err
	}
	f := &facts{}
	if f.disk, err = vm.Disk(call.Home.Disk); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		f.cfg, err = d.systemConfig(ctx, call.Home.Datastore)
		return err
	})
	if !f.disk.Volatile() {
		group.Go(func() (err error) {
			f.image, err = d.Records.Image(ctx, f.disk.ImageID)
			return err
		})
	}
	return f, group.Wait()
}

// planClone: an image of the datastore becomes a disk of the VM. LN does the same: a
// persistent image file is copied onto the SAN, and MVDS writes it back.
func (d *Driver) planClone(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	if call.Home.Disk >= 0 && d.IsShared(call.Source.Path) {
		return d.planLinkFile(ctx, call)
	}
	volume, err := d.onSAN(ctx, call, call.Source)
	if err != nil {
		return nil, err
	}
	if volume {
		return d.planCloneOnSAN(ctx, call)
	}
	if call.Home.Disk < 0 {
		return d.planBootFile(call)
	}
	f, err := d.gather(ctx, call)
	if err != nil {
		return nil, err
	}
	q, form, err := d.cloneRequest(call, f)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("make disk %d of VM %d, %s in %s, from %s image %s", q.Disk, q.VM, humanize.IBytes(uint64(q.Size)), q.Group, form, call.Source.Path)
	if q.Content == agent.ContentTar {
		what += " on " + q.FSType
	}
	send := func(ctx context.Context) (agent.Transfer, error) {
		if call.Verb == "ln" {
			if err := forgetSaved(call.Source.Path); err != nil {
				return agent.Transfer{}, err
			}
		}
		if form.qcow2 {
			return d.convertedTransfer(ctx, call.Source.Path, q)
		}
		return agent.Transfer{Send: func(w io.Writer) error { return sendImage(ctx, w, call.Source.Path, q) }}, nil
	}
	return []plan.Step{{What: what, Host: call.Dest.Host, Request: q, Transfer: send, Total: fileSize(call.Source.Path, q)}}, nil
}

// fileSize is what will travel, for the progress; of extents nobody knows before.
func fileSize(path string, q agent.Request) int64 {
	st, err := os.Stat(path)
	if err != nil || q.Content == agent.ContentExtents {
		return 0
	}
	return st.Size()
}

// cloneRequest looks into the image file: how large is its content, whose file
// system is it.
func (d *Driver) cloneRequest(call opennebula.Call, f *facts) (agent.Request, imageForm, error) {
	q := d.request(agent.OpCreate, call, f.cfg)
	image, err := os.Open(call.Source.Path)
	if err != nil {
		return q, imageForm{}, fmt.Errorf("image file: %w", err)
	}
	defer image.Close() // only read
	form, err := formOf(f.disk, f.image, f.cfg)
	if err == nil && form.detect {
		form.mode, err = detectMode(image)
	}
	if err != nil {
		return q, form, err
	}
	q.Mode = form.mode
	if q.Content, err = contentOf(form.mode, image); err != nil {
		return q, form, err
	}
	if err := d.describeTar(&q, image, f); err != nil {
		return q, form, fmt.Errorf("image %s: %w", call.Source.Path, err)
	}
	q.Size, err = d.diskSize(f, form, image)
	return q, form, err
}

// convertedTransfer has qemu-img make a raw disk of a QCOW2 file before any node hears of it,
// and sends the data of that.
func (d *Driver) convertedTransfer(ctx context.Context, path string, q agent.Request) (agent.Transfer, error) {
	image, err := os.Open(path)
	if err != nil {
		return agent.Transfer{}, fmt.Errorf("image file: %w", err)
	}
	defer image.Close() // only read
	raw, err := plan.Temporary(d.Config.String("TMP_ROOT"))
	if err != nil {
		return agent.Transfer{}, err
	}
	h, err := qcow2.Convert(ctx, d.Runner, image, raw, q.Size, func(int64) {})
	if err != nil {
		return agent.Transfer{}, errors.Join(err, raw.Close())
	}
	return agent.Transfer{Send: func(w io.Writer) error {
		_, err := tarmode.SendExtents(ctx, w, raw, h.Size, func(int64) {})
		return errors.Join(err, raw.Close())
	}}, nil
}

func contentOf(mode tarmode.Mode, image *os.File) (agent.Content, error) {
	switch {
	case mode.Tar():
		return agent.ContentTar, nil
	case mode != tarmode.RAW:
		return agent.ContentDisk, nil
	}
	st, err := image.Stat()
	if err != nil {
		return "", fmt.Errorf("image file: %w", err)
	}
	if st.Size() == 0 {
		return "", fmt.Errorf("image file %s is empty", image.Name())
	}
	return agent.ContentExtents, nil
}

func (d *Driver) describeTar(q *agent.Request, image *os.File, f *facts) (err error) {
	if q.Content != agent.ContentTar {
		return nil
	}
	fromImage := ""
	if f.image != nil {
		fromImage = f.image.FSType
	}
	if q.FSType, err = cxmrc.FSType(f.disk.FS, fromImage, f.cfg.String("DEFAULT_FSTYPE"), nil); err != nil {
		return err
	}
	q.FSUUID, q.FSLabel, err = tarmode.ReadIdentity(image, q.Mode)
	if !agent.LabelFits(q.FSType, q.FSLabel) {
		d.Report.Warn("label %q is too long for %s: the file system gets none", q.FSLabel, q.FSType)
		q.FSLabel = ""
	}
	return err
}

// sendImage sends the file exactly as it lies in the datastore, or, of a raw disk,
// only the extents with data.
func sendImage(ctx context.Context, w io.Writer, path string, q agent.Request) error {
	image, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	defer image.Close() // only read
	if q.Content != agent.ContentExtents {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, image, make([]byte, 256<<10))
		return err
	}
	st, err := image.Stat()
	if err != nil {
		return err
	}
	_, err = tarmode.SendExtents(ctx, w, image, st.Size(), func(int64) {})
	return err
}

// planBootFile: a kernel or a ramdisk is a file in the VM's home.
func (d *Driver) planBootFile(call opennebula.Call) ([]plan.Step, error) {
	if call.Home.Name != "kernel" && call.Home.Name != "initrd" {
		return nil, errors.New("destination is not disk.N, kernel or initrd")
	}
	q := d.fileRequest(call)
	return []plan.Step{{
		What: fmt.Sprintf("copy %s to %s", call.Source.Path, call.Home), Host: call.Dest.Host, Request: q,
		Transfer: func(ctx context.Context) (agent.Transfer, error) { return fileTransfer(ctx, call.Source.Path, q), nil },
	}}, nil
}

func fileTransfer(ctx context.Context, path string, q agent.Request) agent.Transfer {
	return agent.Transfer{Send: func(w io.Writer) error { return sendImage(ctx, w, path, q) }}
}
