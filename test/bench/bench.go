package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"one-clvm/tarmode"
	"one-clvm/test/build"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

const (
	node    = "node1"
	gib     = 1 << 10 // MiB
	program = "/usr/libexec/one-clvm/tm-clvm"
)

// bench is a machine with the same Debian as an archive and as a tree.
type bench struct {
	options
	machine *testbed.Machine
	tree    string
	tgz     string
	content int64 // bytes of data in the tree
	report  *report
	vm      int // id of the last VM
	zeroing string
}

func run(ctx context.Context, o options) (missed int, err error) {
	b := &bench{options: o, report: &report{out: os.Stdout}, vm: 1000}
	if err := describe(&b.report.found); err != nil {
		return 0, err
	}
	if b.machine, err = startMachine(ctx); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.machine.Stop()) }()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	peaks := watchMemory(watching)
	if err := b.prepareData(ctx); err != nil {
		return 0, err
	}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"overhead", b.overhead}, {"deploy", b.deployAgainstPipe}, {"size", b.deployBySize}, {"save", b.saveAgainstPipe}, {"full", b.deployAgainstFull}, {"san", b.cloneOnSAN}, {"poll", b.poll},
	} {
		if len(o.only) > 0 && !slices.Contains(o.only, part.name) {
			continue
		}
		if err := part.do(ctx); err != nil {
			return 0, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	stop()
	b.reportMemory(<-peaks)
	if len(o.only) > 0 { // a part is no page
		return b.report.missed, nil
	}
	return b.report.missed, b.report.found.Print(b.report.out)
}

func startMachine(ctx context.Context) (*testbed.Machine, error) {
	root, err := build.Repository()
	if err != nil {
		return nil, err
	}
	return testbed.Start(ctx, testbed.Options{
		Program: filepath.Join(root, "bin/tm-clvm"), GroupSize: "2T",
		Agent: map[string]string{"READ_GUEST_FS": "True"},
		Sudo:  []string{"/usr/bin/dd", "/usr/bin/tar"}, // for the plain pipes
	})
}

// prepareData unpacks the Debian and packs it as the image.
func (b *bench) prepareData(ctx context.Context) error {
	b.tree = filepath.Join(testbed.Scratch, "debian")
	if err := debian.Unpack(ctx, os.Getenv(archiveVariable), b.tree); err != nil {
		return err
	}
	b.tgz = filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), "debian.tgz")
	stats, err := debian.Pack(ctx, b.tree, b.tgz, tarmode.TGZ)
	if err != nil {
		return err
	}
	b.content = stats.Bytes
	b.report.found.Content, b.report.found.Members, b.report.found.Archive = stats.Bytes, int(stats.Members), fileSize(b.tgz)
	b.say("data: %s of Debian in %d members, %s as TGZ", size(stats.Bytes), stats.Members, size(fileSize(b.tgz)))
	return nil
}

// newVM makes a VM known that has one disk, 0.
func (b *bench) newVM(disk fakeoned.Disk) {
	b.vm++
	b.machine.Oned.Put(fakeoned.VMs, b.vm, fakeoned.VM{ID: b.vm, Name: "bench", Host: node, Disks: []fakeoned.Disk{disk}}.Document())
}

// image makes an image known.
func (b *bench) image(id int, path string, template map[string]string) fakeoned.Image {
	image := fakeoned.Image{ID: id, Name: fmt.Sprintf("image-%d", id), Source: path, SizeMiB: fileSize(path)>>20 + 1, Template: template}
	b.machine.Oned.Put(fakeoned.Images, id, image.Document())
	return image
}

func (b *bench) diskPath() string {
	return fmt.Sprintf("%s//datastores/%d/%d/disk.0", testbed.Home, fakeoned.SystemDS, b.vm)
}

func (b *bench) target() string { return node + ":" + b.diskPath() }

// verb runs a driver script as oned does and returns how long it took.
func (b *bench) verb(ctx context.Context, name string, argv ...string) (time.Duration, error) {
	argv = append([]string{testbed.Verb(name)}, argv...)
	result, err := b.machine.RunAsOneadmin(ctx, argv...)
	if err == nil && result.Status != 0 {
		err = fmt.Errorf("%s: exit status %d\n%s", strings.Join(argv, " "), result.Status, result.Stderr)
	}
	b.noteZeroing(result.Stderr)
	return result.Elapsed, err
}

// noteZeroing finds in a verb's log how the volume was zeroed.
func (b *bench) noteZeroing(log string) {
	for line := range strings.Lines(log) {
		if _, how, ok := strings.Cut(line, ", zeroing "); ok {
			how, _, _ = strings.Cut(how, " in ")
			b.zeroing = "zeroing " + how
		}
	}
}

// clone runs CLONE of the image to disk 0 of a new VM, from a cold cache.
func (b *bench) clone(ctx context.Context, image fakeoned.Image) (time.Duration, error) {
	b.newVM(fakeoned.CloneDisk(0, image, 0))
	if err := dropCaches(); err != nil {
		return 0, err
	}
	return b.verb(ctx, "clone", "frontend:"+image.Source, b.target(), strconv.Itoa(b.vm), strconv.Itoa(fakeoned.ImageDS))
}

// empty makes disk 0 of a new VM without an image: a raw volume, or one with a file
// system.
func (b *bench) empty(ctx context.Context, fs string, mib int64) error {
	b.newVM(fakeoned.VolatileDisk(0, fs, mib))
	_, err := b.verb(ctx, "mkimage", strconv.FormatInt(mib, 10), "raw", b.target(), strconv.Itoa(b.vm), strconv.Itoa(fakeoned.SystemDS))
	return err
}

// remove deletes the last VM's disk and home.
func (b *bench) remove(ctx context.Context) error {
	vm, ds := strconv.Itoa(b.vm), strconv.Itoa(fakeoned.SystemDS)
	if _, err := b.verb(ctx, "delete", b.target(), vm, ds); err != nil {
		return err
	}
	_, err := b.verb(ctx, "delete", filepath.Dir(b.target()), vm, ds)
	return err
}

// dropCaches makes what follows start from the disk.
func dropCaches() error {
	syncAll()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0); err != nil {
		return fmt.Errorf("drop caches: %w", err)
	}
	return nil
}

func (b *bench) say(format string, arguments ...any) {
	fmt.Fprintf(b.report.out, "# "+format+"\n", arguments...)
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

func size(n int64) string { return humanize.IBytes(uint64(n)) }
