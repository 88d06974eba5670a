package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"one-clvm/cxmrc"
	"one-clvm/internal/command"
	"one-clvm/internal/progress"
	"one-clvm/internal/qcow2"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/mkimage"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

// isForPeople tells mkimage with flags, which a person types, from oned's verb of that name,
// whose arguments are none.
func isForPeople(argv []string) bool {
	return len(argv) > 1 && strings.EqualFold(argv[0], "mkimage") && strings.HasPrefix(argv[1], "-") && argv[1] != "--dry-run"
}

// mkimageFlags are the words of the person.
type mkimageFlags struct {
	request            mkimage.Request
	size, format, mode string
	quiet, asJSON      bool
}

func setupMkimage(flags *pflag.FlagSet) command.Action {
	var f mkimageFlags
	datastore := datastoreFlag(flags, "in image datastore `ID`")
	flags.StringVar(&f.request.Name, "name", "", "its `NAME`")
	flags.StringVar(&f.size, "size", "", "`SIZE` of the disk when it is deployed; else that of the source disk")
	flags.StringVar(&f.request.FSType, "fstype", "", "file system: `"+strings.Join(cxmrc.FSTypes, "|")+"`; else DEFAULT_FSTYPE")
	flags.StringVar(&f.request.From, "from", "", "made of `DIR|FILE`, or of standard input (-); else an empty file system")
	flags.StringVar(&f.format, "format", "", "what the source is: `dir|tar|raw|qcow2`; else a directory, an archive where the mode is a tar, or a raw disk")
	flags.StringVar(&f.mode, "mode", "", "what the image is: `RAW|GZIP|TGZ|ZSTD|TZST`; else the MODE of the datastore, or RAW of a disk")
	flags.StringVar(&f.request.Host, "node", "", "of a volume on the SAN: the `NODE` that makes it; else the driver chooses one (also as --host)")
	flags.BoolVar(&f.request.Register, "register", false, "make it known to OpenNebula")
	flags.BoolVar(&f.quiet, "quiet", false, "show no progress")
	flags.BoolVar(&f.asJSON, "json", false, "exact numbers for programs")
	return func(ctx context.Context, _ []string, io command.Stdio) error {
		f.request.Datastore = *datastore
		return f.make(ctx, io)
	}
}

// read makes a request of the words.
func (f *mkimageFlags) read() (q mkimage.Request, err error) {
	q = f.request
	if q.Datastore == opennebula.None || q.Name == "" {
		return q, fmt.Errorf("%w: --datastore and --name are needed", command.ErrUsage)
	}
	if f.size != "" {
		if q.Size, err = lvm.ParseSize(f.size); err != nil {
			return q, fmt.Errorf("--size: %w", err)
		}
	}
	if f.mode != "" {
		if q.Mode, err = tarmode.ParseMode(f.mode); err != nil {
			return q, fmt.Errorf("--mode: %w", err)
		}
	}
	q.Format, err = formatOf(mkimage.Format(f.format), q)
	if err == nil && q.Mode == "" && (q.Format == mkimage.Raw || q.Format == mkimage.QCOW2) {
		q.Mode = tarmode.RAW
	}
	return q, err
}

// formatOf says what the source is, where that was not said. Only the kind of file and the
// mode decide; a file that looks like QCOW2 is neither taken for one nor for a raw disk.
func formatOf(said mkimage.Format, q mkimage.Request) (mkimage.Format, error) {
	switch {
	case q.From == "":
		if said != mkimage.Nothing {
			return said, fmt.Errorf("%w: --format without --from", command.ErrUsage)
		}
		return said, nil
	case said == mkimage.Directory, said == mkimage.Tar, said == mkimage.Raw, said == mkimage.QCOW2:
		return said, nil
	case said != mkimage.Nothing:
		return said, fmt.Errorf("%w: --format %s is none of dir, tar, raw, qcow2", command.ErrUsage, said)
	case q.From == "-":
		if q.Mode == "" {
			return said, fmt.Errorf("%w: what comes on standard input? say --format tar or --format raw", command.ErrUsage)
		}
	default:
		st, err := os.Stat(q.From)
		if err != nil {
			return said, err
		}
		if st.IsDir() {
			return mkimage.Directory, nil
		}
	}
	if q.Mode.Tar() {
		return mkimage.Tar, nil
	}
	return mkimage.Raw, refuseUnsaid(q)
}

// refuseUnsaid asks for --format where a file may be two things.
func refuseUnsaid(q mkimage.Request) error {
	if q.From == "-" {
		return nil
	}
	file, err := os.Open(q.From)
	if err != nil {
		return err
	}
	defer file.Close() // only read
	head := make([]byte, 16)
	n, err := file.Read(head)
	if err != nil {
		return fmt.Errorf("%s: %w", q.From, err)
	}
	switch {
	case strings.HasPrefix(string(head[:n]), qcow2.Magic):
		return fmt.Errorf("%w: %s begins like a QCOW2 disk: say --format qcow2, or --format raw for its bytes as they are", command.ErrUsage, q.From)
	case q.Mode == "" && tarmode.Sniff(head[:n]) != tarmode.None:
		return fmt.Errorf("%w: %s is compressed: say --format tar for an archive, or --format raw for its bytes as they are", command.ErrUsage, q.From)
	}
	return nil
}

func (f *mkimageFlags) make(ctx context.Context, io command.Stdio) error {
	q, err := f.read()
	if err != nil {
		return err
	}
	cfg, err := cxmrc.LoadFound()
	if err != nil {
		return err
	}
	records, err := opennebula.NewClient(opennebula.Config{Runner: run.Exec{}})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	meter := f.meter(q, io)
	stop := sync.OnceFunc(meter.Stop)
	maker := mkimage.Maker{Config: cfg, Records: records, Runner: run.Exec{}, Stdin: io.In, Self: self, Progress: meter.Set, Waits: func(id int) {
		stop()
		f.say(io, "%s: OpenNebula's driver makes a volume of it, image %d", q.Name, id)
	}}
	result, err := maker.Make(ctx, q)
	stop()
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("interrupted, nothing is left: %w", err)
	}
	if err != nil {
		return err
	}
	return f.print(result, io)
}

func (f *mkimageFlags) meter(q mkimage.Request, io command.Stdio) *progress.Meter {
	if f.quiet {
		return progress.Start(nil, "", 0, func(string) {})
	}
	return progress.Start(io.Err, q.Name, 0, func(line string) { f.say(io, "%s", line) })
}

// say tells a person how far it is.
func (f *mkimageFlags) say(io command.Stdio, format string, values ...any) {
	if !f.quiet {
		fmt.Fprintf(io.Err, format+"\n", values...)
	}
}

func (f *mkimageFlags) print(r mkimage.Result, io command.Stdio) error {
	if f.asJSON {
		return json.NewEncoder(io.Out).Encode(r)
	}
	took := time.Duration(r.Seconds * float64(time.Second)).Round(time.Millisecond)
	fmt.Fprintf(io.Out, "%s: %s image, %s on disk, of %s read in %s, %s when it is deployed\n%s\n", r.Name, r.Mode,
		humanize.IBytes(uint64(r.Bytes)), humanize.IBytes(uint64(r.Content)), took, humanize.IBytes(uint64(r.Size)), r.Source)
	var err error
	if r.ID != opennebula.None {
		_, err = fmt.Fprintf(io.Out, "it is image %d of datastore %d\n", r.ID, r.Datastore)
	} else {
		_, err = fmt.Fprintf(io.Out, "OpenNebula does not know it yet: oneimage create -d %d TEMPLATE, where the file TEMPLATE has\n%s", r.Datastore, r.Template)
	}
	return err
}
