package tm

import (
	"context"
	"fmt"
	"os"

	"github.com/dustin/go-humanize"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/internal/qcow2"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// planVolatile: MKIMAGE and MKSWAP make a disk that comes from no image. Since 6.0 its
// file system is not in the arguments, but in the DISK of the VM's document.
func (d *Driver) planVolatile(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	f, err := d.gather(ctx, call)
	if err != nil {
		return nil, err
	}
	q := d.request(agent.OpCreate, call, f.cfg)
	q.Size = call.SizeMiB << 20
	if q.Content, q.FSType, err = volatileContent(call, f.disk); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("make disk %d of VM %d, %s in %s", q.Disk, q.VM, humanize.IBytes(uint64(q.Size)), q.Group)
	if q.FSType != "" {
		what += ", as " + q.FSType
	}
	return []plan.Step{{What: what, Host: call.Dest.Host, Request: q}}, nil
}

// volatileContent: no file system named means none made, as the user asked.
func volatileContent(call opennebula.Call, disk *opennebula.Disk) (agent.Content, string, error) {
	if call.Verb == "mkswap" || disk.Swap() {
		return agent.ContentFS, "swap", nil
	}
	fs := disk.FS
	if fs == "" && call.Format != "raw" && call.Format != "qcow2" {
		fs = call.Format
	}
	if fs == "" {
		return agent.ContentNone, "", nil
	}
	fs, err := cxmrc.FSType(fs, "", fs, nil)
	return agent.ContentFS, fs, err
}

// diskSize is the precedence of sizes with what the image file shows.
func (d *Driver) diskSize(f *facts, form imageForm, image *os.File) (int64, error) {
	in := cxmrc.DiskSizeInput{
		Disk: f.disk.Size, Original: f.disk.OriginalSize, Default: f.cfg.Size("DEFAULT_LV_SIZE"),
	}
	if f.image != nil {
		in.Template = f.image.Template["SIZE"]
	}
	switch {
	case form.mode == "" && in.Disk == 0: // a volume on the SAN, whose record alone tells its size in 3.x
		in.Disk, in.Original = f.image.Size, f.image.Size
	case form.qcow2:
		h, err := qcow2.ReadHeader(image)
		if err == nil {
			err = h.Check()
		}
		if err != nil {
			return 0, fmt.Errorf("image file %s: %w", image.Name(), err)
		}
		in.Content = h.Size
	case form.mode == tarmode.RAW:
		st, err := image.Stat()
		if err != nil {
			return 0, fmt.Errorf("image file: %w", err)
		}
		in.Content = st.Size()
	}
	size, _, err := cxmrc.DiskSize(in)
	return size, err
}

// planResize grows the volume; the file system is the guest's.
func (d *Driver) planResize(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	at, err := d.whereDisksAre(ctx, call, call.Dest.Host)
	if err != nil {
		return nil, err
	}
	q := d.requestAt(at, agent.OpExtend, call)
	q.Size = call.SizeMiB << 20
	what := fmt.Sprintf("extend disk %d of VM %d to %s", q.Disk, q.VM, humanize.IBytes(uint64(q.Size)))
	return []plan.Step{{What: what, Host: at.host, Request: q}}, nil
}
