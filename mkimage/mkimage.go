// Package mkimage makes images for people: of a directory, an archive or a disk, in an
// image datastore that keeps files, and known to oned where that is wanted.
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
	"regexp"
	"time"

	"one-clvm/cxmrc"
	"one-clvm/internal/failpoint"
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
	Register  bool
}

// Result is an image that was made.
type Result struct {
	ID        int          `json:"id"` // opennebula.None where it is not registered
	Name      string       `json:"name"`
	Datastore int          `json:"datastore"`
	Path      string       `json:"path"`
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
	AllocateImage(ctx context.Context, template string, datastore int) (int, error)
}

// Maker makes images.
type Maker struct {
	Config  *cxmrc.Config
	Records Records
	Runner  run.Runner
	Stdin   io.Reader
	// Progress is told what is read, of a total that is 0 where nobody knows it; bytes.
	Progress func(done, total int64)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._+()@:-]{0,127}$`)

// job is one image on its way.
type job struct {
	*Maker
	Request
	cfg    *cxmrc.Config
	ds     *opennebula.Datastore
	level  int
	result Result
}

// Make makes an image. It appears whole or not at all. What a crash leaves:
//
//	filled     nothing: the file has no name yet
//	published  a file of which oned does not know; its name is in the log of whoever ran it
//	allocated  the image
func (m *Maker) Make(ctx context.Context, q Request) (Result, error) {
	started := time.Now()
	j, err := m.prepare(ctx, q)
	if err != nil {
		return Result{}, err
	}
	file, err := publish.Create(j.result.Path)
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
	if q.Register {
		if err := j.register(ctx); err != nil {
			return Result{}, fmt.Errorf("register image %q: %w", q.Name, err)
		}
		failpoint.Hit("mkimage.allocated")
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
	if j.Mode == "" {
		if j.Mode, err = tarmode.ParseMode(j.cfg.String("MODE")); err != nil {
			return nil, err
		}
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
	j.result = Result{ID: opennebula.None, Name: q.Name, Datastore: ds.ID, Mode: j.Mode, FSType: j.FSType, Size: j.Size, Path: path.Join(ds.BasePath, hex.EncodeToString(name))}
	return j, nil
}

func (j *job) checkDatastore() error {
	switch {
	case j.ds.Type != opennebula.DatastoreImage:
		return fmt.Errorf("%s (%s) is no image datastore", j.ds.Origin(), j.ds.Name)
	case j.ds.DSMAD == "clvm":
		return fmt.Errorf("%s (%s) keeps its images on the SAN: let its driver make the image: oneimage create -d %d --name %q --path FILE", j.ds.Origin(), j.ds.Name, j.ds.ID, j.Name)
	case !path.IsAbs(j.ds.BasePath):
		return fmt.Errorf("%s (%s) has no directory: BASE_PATH is %q", j.ds.Origin(), j.ds.Name, j.ds.BasePath)
	}
	return nil
}

// checkForm says what cannot be made of what.
func (j *job) checkForm() (err error) {
	fs := j.Mode.Tar() || j.Format == Nothing || j.Format == Directory
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
	case !j.Mode.Tar() && j.Format == Tar:
		return fmt.Errorf("a %s image of an archive needs its files on a file system: use --mode TGZ or TZST, from which every deployment makes one", j.Mode)
	case !j.Mode.Tar() && j.Format == Directory && !extended(j.FSType):
		return fmt.Errorf("a %s image of a directory can be made as ext2, ext3 or ext4, not as %s: use --mode TGZ or TZST, from which every deployment makes one", j.Mode, j.FSType)
	case j.From == "-" && (j.Format == QCOW2 || j.Format == Directory):
		return fmt.Errorf("%s cannot be read from standard input: give a path", j.Format)
	case j.Size == 0 && fs:
		return errors.New("how large is the disk to be? say --size, for example --size 8G")
	case j.Size < 0 || j.Size > lvm.MaxSize:
		return fmt.Errorf("size of %d bytes", j.Size)
	}
	return nil
}

func extended(fstype string) bool { return fstype == "ext2" || fstype == "ext3" || fstype == "ext4" }

// register makes oned know the image. Where its answer got lost, oned is asked whether it
// knows the image; the file goes only when it does not.
func (j *job) register(ctx context.Context) error {
	id, err := j.Records.AllocateImage(ctx, j.result.Template, j.ds.ID)
	if err == nil {
		j.result.ID = id
		return nil
	}
	var refused *opennebula.APIError
	if !errors.As(err, &refused) {
		image, lookErr := j.Records.ImageBySource(context.WithoutCancel(ctx), j.result.Path)
		if lookErr == nil {
			j.result.ID = image.ID
			return nil
		}
		if !errors.Is(lookErr, opennebula.ErrNoSuchObject) {
			return fmt.Errorf("%w; whether oned has the image is not known, it is left in %s", err, j.result.Path)
		}
	}
	return errors.Join(err, os.Remove(j.result.Path))
}
