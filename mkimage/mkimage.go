// Package mkimage makes images for people: of a directory, an archive or a disk, in an
// image datastore that keeps files, and known to oned where that is wanted; or, by way of
// oned and its datastore driver, as volumes on the SAN.
package mkimage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"one-clvm/cxmrc"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/lazyregexp"
	"one-clvm/internal/publish"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

// Format is what an image is made of. It is said, not guessed: a raw disk may begin with
// anything.
type Format string

// The formats.
const (
	Nothing   Format = ""
	Directory Format = "dir"
	Tar       Format = "tar" // compressed in any way, or not at all
	Raw       Format = "raw"
	QCOW2     Format = "qcow2"
)

// Request is what somebody wants.
type Request struct {
	Datastore int
	Name      string
	Size      int64  // of the disk when it is deployed, bytes; 0: as large as the source
	FSType    string // "": DEFAULT_FSTYPE where a file system is needed
	From      string // a path, or "-"
	Format    Format
	Mode      tarmode.Mode // "": MODE of the datastore
	Host      string       // the node that makes the volume, "": the driver's choice
	Register  bool
}

// Result is an image that was made.
type Result struct {
	ID        int          `json:"id"` // opennebula.None where it is not registered
	Name      string       `json:"name"`
	Datastore int          `json:"datastore"`
	Source    string       `json:"source"` // a path, or the volume
	Mode      tarmode.Mode `json:"mode"`
	FSType    string       `json:"fstype,omitempty"`
	Size      int64        `json:"size"`    // of the disk, bytes
	Content   int64        `json:"content"` // what was read, bytes
	Bytes     int64        `json:"bytes"`   // what the image takes on disk
	Seconds   float64      `json:"seconds"`
	Template  string       `json:"template"` // for oned
}

// Records are oned's own, as far as images are made.
type Records interface {
	Datastore(ctx context.Context, id int) (*opennebula.Datastore, error)
	ImageBySource(ctx context.Context, source string) (*opennebula.Image, error)
	Image(ctx context.Context, id int) (*opennebula.Image, error)
	AllocateImage(ctx context.Context, template string, datastore int) (int, error)
	DeleteImage(ctx context.Context, id int) error
}

// Maker makes images.
type Maker struct {
	Config  *cxmrc.Config
	Records Records
	Runner  run.Runner
	Stdin   io.Reader
	Self    string // the program, whose confined child mounts what has to be mounted
	// Progress is told what is read, of a total that is 0 where nobody knows it; bytes.
	Progress func(done, total int64)
	// Waits, if not nil, is told the image that oned's driver makes a volume of from now on.
	Waits func(id int)
	// Ask is how long to wait before oned is asked again whether its driver has ended;
	// 0: a second.
	Ask time.Duration
}

var nameForm = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9 ._+()@:-]{0,127}$`)

// job is one image on its way.
type job struct {
	*Maker
	Request
	cfg    *cxmrc.Config
	ds     *opennebula.Datastore
	level  int
	path   string // of the file that is made
	volume bool   // which becomes a volume afterwards
	result Result
}

// Make makes an image. It appears whole or not at all. What a crash leaves:
//
//	filled     nothing: the file has no name yet
//	published  a file of which oned does not know; its name is in the log of whoever ran it
//	allocated  the image; of a volume, the file, too, which the driver reads on
//	unstaged   the image alone, or nothing where its driver failed
func (m *Maker) Make(ctx context.Context, q Request) (Result, error) {
	started := time.Now()
	j, err := m.prepare(ctx, q)
	if err != nil {
		return Result{}, err
	}
	file, err := publish.Create(j.path)
	if err != nil {
		return Result{}, err
	}
	if err := j.fill(ctx, file); err != nil {
		return Result{}, errors.Join(fmt.Errorf("make image %q: %w", q.Name, err), discard(file))
	}
	failpoint.Hit("mkimage.filled")
	if err := file.Publish(); err != nil {
		return Result{}, fmt.Errorf("make image %q: %w", q.Name, err)
	}
	failpoint.Hit("mkimage.published")
	finish := j.register
	if j.volume {
		finish = j.moveToSAN
	}
	if q.Register {
		if err := finish(ctx); err != nil {
			return Result{}, fmt.Errorf("register image %q: %w", q.Name, err)
		}
	}
	j.result.Seconds = time.Since(started).Seconds()
	return j.result, nil
}

// discard drops an image that did not get ready: that it is closed is what is wanted.
func discard(file *publish.File) error {
	err := file.Discard()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// prepare checks what is asked for, before anything is made.
func (m *Maker) prepare(ctx context.Context, q Request) (*job, error) {
	if !nameForm.MatchString(q.Name) {
		return nil, fmt.Errorf("image name %q: use 1 to 128 of A-Z a-z 0-9 . _ + ( ) @ : - and blanks", q.Name)
	}
	ds, err := m.Records.Datastore(ctx, q.Datastore)
	if err != nil {
		return nil, err
	}
	j := &job{Maker: m, Request: q, ds: ds}
	if j.cfg, err = m.Config.WithDatastore(ds.Template, ds.Origin()); err != nil {
		return nil, err
	}
	if err := j.checkDatastore(); err != nil {
		return nil, err
	}
	if err := j.chooseForm(); err != nil {
		return nil, err
	}
	if j.From != "-" && j.From != "" { // a program shall not take it for an option
		if j.From, err = filepath.Abs(j.From); err != nil {
			return nil, err
		}
	}
	j.level = j.cfg.Int("COMPRESS_LEVEL")
	if err := j.checkForm(); err != nil {
		return nil, err
	}
	name := make([]byte, 16)
	_, _ = rand.Read(name) // never fails
	dir := ds.BasePath
	if j.volume {
		if dir, err = j.staging(); err != nil {
			return nil, err
		}
	}
	j.path = path.Join(dir, hex.EncodeToString(name))
	j.result = Result{ID: opennebula.None, Name: q.Name, Datastore: ds.ID, Mode: j.Mode, FSType: j.FSType, Size: j.Size, Source: j.path}
	return j, nil
}

func (j *job) checkDatastore() error {
	switch {
	case j.ds.Type != opennebula.DatastoreImage:
		return fmt.Errorf("%s (%s) is no image datastore", j.ds.Origin(), j.ds.Name)
	case !path.IsAbs(j.ds.BasePath):
		return fmt.Errorf("%s (%s) has no directory: BASE_PATH is %q", j.ds.Origin(), j.ds.Name, j.ds.BasePath)
	}
	return nil
}

// chooseForm: what is made, where nobody said it. On the SAN that is a volume, unless the
// person or the datastore itself wants a kind of image that only a file can be.
func (j *job) chooseForm() (err error) {
	if j.Host != "" {
		if err := opennebula.CheckHost(j.Host); err != nil {
			return err
		}
	}
	onSAN := j.ds.DSMAD == "clvm"
	if j.Mode == "" && (!onSAN || j.cfg.Origin("MODE") == j.ds.Origin()) {
		if j.Mode, err = tarmode.ParseMode(j.cfg.String("MODE")); err != nil {
			return err
		}
	}
	j.volume = onSAN && (j.Mode == "" || j.Mode == tarmode.RAW)
	if j.volume {
		return j.chooseStaged()
	}
	if j.Host != "" {
		return fmt.Errorf("--node %s: this image is a file in %s, which no node makes", j.Host, j.ds.BasePath)
	}
	return nil
}

// checkForm says what cannot be made of what.
func (j *job) checkForm() (err error) {
	fs := j.Mode.Tar() || j.Format == Nothing || j.Format == Directory || j.Format == Tar
	if fs {
		if j.FSType, err = cxmrc.FSType(j.FSType, "", j.cfg.String("DEFAULT_FSTYPE"), nil); err != nil {
			return err
		}
	}
	switch {
	case !fs && j.FSType != "":
		return fmt.Errorf("a disk that is copied keeps the file systems it has: leave --fstype %s out", j.FSType)
	case j.Mode.Tar() && (j.Format == Raw || j.Format == QCOW2):
		return fmt.Errorf("a %s image is made of files, not of a %s disk: use --mode RAW, GZIP or ZSTD", j.Mode, j.Format)
	case (j.Mode.Tar() || j.mounts()) && (j.FSType == "vfat" || j.FSType == "swap"):
		return fmt.Errorf("%s keeps no owners and modes: the files need ext2, ext3, ext4, xfs or btrfs", j.FSType)
	case j.mounts() && os.Geteuid() != 0:
		return fmt.Errorf("to put files into a %s file system it has to be mounted, which only root may: use sudo, or --mode TGZ or TZST, from which every deployment makes one", j.FSType)
	case j.From == "-" && j.Format == Directory:
		return errors.New("a directory cannot be read from standard input: give a path, or pack it and say --format tar")
	case j.Size == 0 && fs:
		return errors.New("how large is the disk to be? say --size, for example --size 8G")
	case j.Size < 0 || j.Size > lvm.MaxSize:
		return fmt.Errorf("size of %d bytes", j.Size)
	}
	return nil
}

// mounts: the files of the source are put into a file system that is mounted for it. Those
// of a directory mke2fs puts into one that it makes.
func (j *job) mounts() bool {
	extended := j.FSType == "ext2" || j.FSType == "ext3" || j.FSType == "ext4"
	return !j.Mode.Tar() && (j.Format == Tar || j.Format == Directory && !extended)
}

// allocate has oned make a record of the image. Its answer is waited for also after Ctrl-C:
// without it nobody would know whether oned has the image.
func (j *job) allocate(ctx context.Context) (id int, err error) {
	return j.Records.AllocateImage(context.WithoutCancel(ctx), j.result.Template, j.ds.ID)
}

// register makes oned know the image. Where its answer got lost, oned is asked whether it
// knows the image; the file goes only when it does not.
func (j *job) register(ctx context.Context) error {
	id, err := j.allocate(ctx)
	if err == nil {
		j.result.ID = id
		failpoint.Hit("mkimage.allocated")
		return nil
	}
	var refused *opennebula.APIError
	if !errors.As(err, &refused) {
		image, lookErr := j.Records.ImageBySource(context.WithoutCancel(ctx), j.path)
		if lookErr == nil {
			j.result.ID = image.ID
			return nil
		}
		if !errors.Is(lookErr, opennebula.ErrNoSuchObject) {
			return fmt.Errorf("%w; whether oned has the image is not known, it is left in %s", err, j.path)
		}
	}
	return errors.Join(err, os.Remove(j.path))
}
