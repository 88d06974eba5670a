package tm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"one-clvm/agent"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/publish"
	"one-clvm/internal/qcow2"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// planSave: CPDS saves a disk as a new image, MVDS writes a persistent disk back to
// its image and removes the volume. The image file appears whole or not at all.
func (d *Driver) planSave(ctx context.Context, call opennebula.Call) ([]plan.Step, error) {
	if d.IsShared(call.Dest.Path) {
		return d.planReleaseFile(ctx, call)
	}
	volume, err := d.onSAN(ctx, call, call.Dest)
	if err != nil {
		return nil, err
	}
	if volume {
		return d.planSaveOnSAN(ctx, call)
	}
	vm, err := d.Records.VM(ctx, call.VM)
	if err != nil {
		return nil, err
	}
	disk, err := vm.Disk(call.Home.Disk)
	if err != nil {
		return nil, err
	}
	image, err := d.targetImage(ctx, call, disk)
	if err != nil {
		return nil, err
	}
	at, err := d.whereDisksAre(ctx, call, call.Source.Host)
	if err != nil {
		return nil, err
	}
	q := d.requestAt(at, agent.OpSave, call)
	q.Remove = call.Verb == "mvds"
	of := ""
	switch {
	case call.Snapshot >= 0:
		q.Snapshot, of = &call.Snapshot, fmt.Sprintf("snapshot %d of ", call.Snapshot)
	case !q.Remove:
		q.Space = at.cfg.Int("SNAPSHOT_SPACE")
	}
	form, err := d.saveForm(ctx, call, image, &q)
	if err != nil {
		return nil, err
	}
	target := &savedImage{driver: d, record: image, path: call.Dest.Path, request: q, qcow2: form.qcow2}
	what := fmt.Sprintf("save %sdisk %d of VM %d as %s to %s", of, q.Disk, q.VM, form, call.Dest.Path)
	step := plan.Step{What: what, Host: at.host, Request: q, Transfer: target.transfer}
	if q.Remove {
		save := step
		step.Mend = func(ctx context.Context, err error) error { return d.removeWhatIsSaved(ctx, save, target.path, err) }
	}
	return []plan.Step{step}, nil
}

// targetImage is the record of the image that is written: the disk's own for MVDS,
// for CPDS the one that oned has just made.
func (d *Driver) targetImage(ctx context.Context, call opennebula.Call, disk *opennebula.Disk) (*opennebula.Image, error) {
	if call.Verb == "mvds" && !disk.Volatile() {
		return d.Records.Image(ctx, disk.ImageID)
	}
	return d.Records.ImageBySource(ctx, call.DestRaw)
}

// saveForm: what the image's record says it is; for a new image the datastore's MODE. It is
// put into the request.
func (d *Driver) saveForm(ctx context.Context, call opennebula.Call, image *opennebula.Image, q *agent.Request) (form imageForm, err error) {
	cfg, err := d.DatastoreConfig(ctx, d.Config, call.Datastore)
	if err != nil {
		return form, err
	}
	text := image.Template["MODE"]
	if text == "" && call.Verb == "mvds" {
		form, err = formOf(&opennebula.Disk{}, image, cfg)
	} else {
		if text == "" {
			text = cfg.String("MODE")
		}
		form.mode, err = tarmode.ParseMode(text)
	}
	q.Mode, q.Level = form.mode, cfg.Int("COMPRESS_LEVEL")
	return form, err
}

// savedImage is an image file on its way into the datastore. A crash leaves nothing
// before publish, and between its two steps a record whose image oned has in error.
type savedImage struct {
	driver  *Driver
	record  *opennebula.Image
	path    string
	request agent.Request
	file    *publish.File
	stream  *io.PipeWriter // of extents
	sparse  chan error     // how writing them ended
	qcow2   bool           // the file is to be one
	raw     *os.File       // what it is made of
}

func (s *savedImage) transfer(ctx context.Context) (agent.Transfer, error) {
	var err error
	if s.file, err = publish.Create(s.path); err != nil {
		return agent.Transfer{}, err
	}
	context.AfterFunc(ctx, func() { _ = s.file.Discard() }) // a no-op once published
	if s.qcow2 {
		if s.raw, err = plan.Temporary(s.driver.Config.String("TMP_ROOT")); err != nil {
			return agent.Transfer{}, errors.Join(err, s.file.Discard())
		}
	}
	return agent.Transfer{Receive: func(start agent.Start) (io.Writer, error) { return s.receive(ctx, start) }, Received: func(start agent.Start) error { return s.publish(ctx, start) }}, nil
}

func (s *savedImage) receive(ctx context.Context, start agent.Start) (io.Writer, error) {
	if !start.Extents {
		return s.file, nil
	}
	r, w := io.Pipe()
	s.stream, s.sparse = w, make(chan error, 1)
	target := s.file.File
	if s.qcow2 {
		target = s.raw
	}
	go func() {
		size, _, err := tarmode.ReceiveExtents(ctx, r, target, start.Size, func(int64) {})
		if err == nil {
			err = target.Truncate(size)
		}
		_ = r.CloseWithError(err) // never fails
		s.sparse <- err
	}()
	return w, nil
}

// publish makes the image durable, says in its record what it is, and gives it its name.
func (s *savedImage) publish(ctx context.Context, start agent.Start) error {
	if s.sparse != nil {
		if err := errors.Join(s.stream.Close(), <-s.sparse); err != nil {
			return fmt.Errorf("write %s: %w", s.path, err)
		}
	}
	if s.qcow2 {
		failpoint.Hit("image.received")
		if err := errors.Join(qcow2.Make(ctx, s.driver.Runner, s.raw, s.file.File, start.Size, func(int64) {}), s.raw.Close()); err != nil {
			return err
		}
	}
	if err := s.file.Flush(); err != nil {
		return err
	}
	failpoint.Hit("image.flushed")
	if template := recordOf(s.record, start); template != "" {
		if err := s.driver.Records.UpdateImage(ctx, s.record.ID, template); err != nil {
			return fmt.Errorf("record that image %d is %s: %w", s.record.ID, start.Mode, err)
		}
	}
	failpoint.Hit("image.recorded")
	if s.request.Remove {
		if err := markSaved(s.file.File, s.request); err != nil {
			return err
		}
		failpoint.Hit("image.marked")
	}
	return s.file.Publish()
}

// recordOf is what the image's template has to say about the new content: "" when it
// says so already. Without it the next deploy would take an archive for a raw disk.
func recordOf(image *opennebula.Image, start agent.Start) string {
	var lines []string
	if set := image.Template["MODE"]; set != string(start.Mode) && (set != "" || start.Mode != tarmode.RAW) {
		lines = append(lines, fmt.Sprintf("MODE=%q", string(start.Mode)))
	}
	if start.Mode.Tar() && image.Template["FSTYPE"] != start.FSType {
		lines = append(lines, fmt.Sprintf("FSTYPE=%q", start.FSType))
	}
	if size := fmt.Sprintf("%dM", start.Size>>20); start.Mode != tarmode.RAW && image.Template["SIZE"] == "" {
		lines = append(lines, fmt.Sprintf("SIZE=%q", size))
	}
	return strings.Join(lines, "\n")
}
