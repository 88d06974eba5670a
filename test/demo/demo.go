package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// The VM of the demo. Disk 4 is the context disk, as in the recorded documents.
const (
	vmID     = 42
	node     = "node1"
	diskSize = "8G"
	diskMiB  = 8 << 10
)

// demo is a machine with a Debian in two image files.
type demo struct {
	machine *testbed.Machine
	tree    string // the Debian that went into the images
	images  map[tarmode.Mode]fakeoned.Image
	saved   fakeoned.Image // the empty image that CPDS fills
	rows    []row
}

func run(ctx context.Context) (err error) {
	d := &demo{images: map[tarmode.Mode]fakeoned.Image{}}
	root, err := build.Repository()
	if err != nil {
		return err
	}
	d.machine, err = testbed.Start(ctx, testbed.Options{
		Program: filepath.Join(root, "bin/tm-clvm"),
		// Here the administrator opts in: the only guest is our own Debian.
		Agent: map[string]string{"READ_GUEST_FS": "True"},
		// Only for the full copy that is measured for comparison.
		Sudo: []string{"/usr/bin/dd"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.machine.Stop()) }()
	say("machine: sudoers file accepted by visudo, sshd on loopback, volume group %s in files, oned's documents served", testbed.Group)
	for _, part := range []func(context.Context) error{d.makeImages, d.describe, d.deploy, d.verify, d.save, d.remove, d.fullCopy} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	printTable(os.Stdout, d.rows)
	return nil
}

// makeImages packs the Debian with the suite's own code, as TGZ and as TZST.
func (d *demo) makeImages(ctx context.Context) error {
	d.tree = filepath.Join(testbed.Scratch, "debian")
	if err := debian.Unpack(ctx, os.Getenv(archiveVariable), d.tree); err != nil {
		return err
	}
	if err := debian.Decorate(ctx, d.tree); err != nil {
		return err
	}
	for i, mode := range []tarmode.Mode{tarmode.TGZ, tarmode.TZST} {
		path := filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), fmt.Sprintf("%032x", 0xd0+i))
		stats, err := debian.Pack(ctx, d.tree, path, mode)
		if err != nil {
			return err
		}
		say("image: %s of Debian, %d files, packed as %s: %s", bytesOf(stats.Bytes), stats.Members, mode, bytesOf(fileSize(path)))
		d.images[mode] = fakeoned.Image{ID: 7 + i, Name: "debian-" + string(mode), Source: path, SizeMiB: stats.Bytes>>20 + 1,
			Template: map[string]string{"MODE": string(mode), "SIZE": diskSize, "FSTYPE": "ext4"}}
	}
	return nil
}

// describe tells the stand-in for oned of the images and the VM.
func (d *demo) describe(context.Context) error {
	d.saved = fakeoned.Image{ID: 20, Name: "saved", SizeMiB: diskMiB,
		Source: filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), fmt.Sprintf("%032x", 0xe0))}
	for _, image := range []fakeoned.Image{d.images[tarmode.TGZ], d.images[tarmode.TZST], d.saved} {
		d.machine.Oned.Put(fakeoned.Images, image.ID, image.Document())
	}
	vm := fakeoned.VM{ID: vmID, Name: "demo", Host: node, Context: 4, Disks: []fakeoned.Disk{
		fakeoned.CloneDisk(0, d.images[tarmode.TGZ], 0), fakeoned.CloneDisk(1, d.images[tarmode.TZST], 0),
		fakeoned.VolatileDisk(2, "ext4", 512), fakeoned.SwapDisk(3, 256), fakeoned.VolatileDisk(5, "vfat", 64),
		fakeoned.VolatileDisk(6, "", diskMiB),
	}}
	d.machine.Oned.Put(fakeoned.VMs, vmID, vm.Document())
	return os.MkdirAll(filepath.Dir(contextFile), 0o755)
}

// deploy runs what one_tm runs for a new VM.
func (d *demo) deploy(ctx context.Context) error {
	if err := os.WriteFile(contextFile, []byte(contextText), 0o644); err != nil {
		return err
	}
	vm, imageDS, systemDS := strconv.Itoa(vmID), strconv.Itoa(fakeoned.ImageDS), strconv.Itoa(fakeoned.SystemDS)
	for i, mode := range []tarmode.Mode{tarmode.TGZ, tarmode.TZST} {
		source := d.images[mode].Source
		step := row{name: fmt.Sprintf("CLONE %s, %s ext4", mode, bytesOf(diskMiB<<20)), moved: fileSize(source), disk: diskMiB << 20}
		if err := d.verb(ctx, step, "clone", "frontend:"+source, target(i), vm, imageDS); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		name string
		argv []string
	}{
		{"MKIMAGE 512 MiB ext4", []string{"mkimage", "512", "raw", target(2), vm, systemDS}},
		{"MKSWAP 256 MiB", []string{"mkswap", "256", target(3), vm, systemDS}},
		{"MKIMAGE 64 MiB vfat", []string{"mkimage", "64", "raw", target(5), vm, systemDS}},
		{"CONTEXT", []string{"context", contextFile, target(4), vm, systemDS}},
	} {
		if err := d.verb(ctx, row{name: v.name}, v.argv[0], v.argv[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// save copies the disk back into an image, and unpacks that with GNU tar to compare.
func (d *demo) save(ctx context.Context) error {
	step := row{name: "CPDS of the disk to TGZ", disk: diskMiB << 20}
	err := d.verb(ctx, step, "cpds", target(0), d.saved.Source, "-1", strconv.Itoa(vmID), strconv.Itoa(fakeoned.ImageDS))
	if err != nil {
		return err
	}
	d.rows[len(d.rows)-1].moved = fileSize(d.saved.Source)
	unpacked := filepath.Join(testbed.Scratch, "saved")
	if err := debian.Unpack(ctx, d.saved.Source, unpacked); err != nil {
		return err
	}
	return d.same(ctx, "the saved image, unpacked by GNU tar,", unpacked)
}

// remove runs what one_tm runs when a VM ends, and looks for what is left.
func (d *demo) remove(ctx context.Context) error {
	vm, imageDS, systemDS := strconv.Itoa(vmID), strconv.Itoa(fakeoned.ImageDS), strconv.Itoa(fakeoned.SystemDS)
	for _, disk := range []int{0, 1} {
		if err := d.verb(ctx, row{name: fmt.Sprintf("DELETE disk %d", disk), disk: diskMiB << 20}, "delete", target(disk), vm, imageDS); err != nil {
			return err
		}
	}
	for _, what := range []string{target(2), target(3), target(5), node + ":" + homePath()} {
		if err := d.verb(ctx, row{name: "DELETE " + filepath.Base(what), hidden: true}, "delete", what, vm, systemDS); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(homePath()); !os.IsNotExist(err) {
		return fmt.Errorf("the VM's home %s is still there after DELETE", homePath())
	}
	return d.noVolumes(ctx)
}

func (d *demo) noVolumes(ctx context.Context) error {
	result, err := d.machine.Run(ctx, testbed.Command{Argv: []string{"/usr/libexec/one-clvm/tm-clvm", "volumes", "--vg", testbed.Group}, Root: true})
	if err != nil {
		return err
	}
	if result.Status != 0 || strings.Contains(result.Stdout, "lv-one") {
		return fmt.Errorf("volumes are left after DELETE: status %d\n%s%s", result.Status, result.Stdout, result.Stderr)
	}
	say("deleted: no volume and no file of the VM is left")
	return nil
}

// verb runs a driver script as one_tm does and notes the time.
func (d *demo) verb(ctx context.Context, step row, name string, argv ...string) error {
	result, err := d.machine.RunAsOneadmin(ctx, append([]string{testbed.Verb(name)}, argv...)...)
	if err != nil {
		return err
	}
	if result.Status != 0 {
		return fmt.Errorf("%s %s: exit status %d\n%s", name, strings.Join(argv, " "), result.Status, result.Stderr)
	}
	say("%s %s: ok after %.2f s", name, strings.Join(argv, " "), result.Elapsed.Seconds())
	step.time = result.Elapsed
	d.rows = append(d.rows, step)
	return nil
}

// homePath is the VM's home, with the doubled slash that oned really writes.
func homePath() string {
	return fmt.Sprintf("%s//datastores/%d/%d", testbed.Home, fakeoned.SystemDS, vmID)
}

func diskPath(disk int) string { return fmt.Sprintf("%s/disk.%d", homePath(), disk) }

func target(disk int) string { return node + ":" + diskPath(disk) }

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

func bytesOf(n int64) string { return humanize.IBytes(uint64(n)) }

var begin = time.Now()

func say(format string, arguments ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, arguments...))
}
