package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/test/bench/results"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

func syncAll() { unix.Sync() }

// tgzImage is the Debian as an image for a disk of that size.
func (b *bench) tgzImage(gibs int) fakeoned.Image {
	return b.image(gibs, b.tgz, map[string]string{"MODE": "TGZ", "SIZE": fmt.Sprintf("%dG", gibs), "FSTYPE": "ext4"})
}

// cloneAndRemove measures a CLONE and takes it back.
func (b *bench) cloneAndRemove(image fakeoned.Image) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		elapsed, err := b.clone(ctx, image)
		if err != nil {
			return 0, err
		}
		return elapsed, b.remove(ctx)
	}
}

// deployAgainstPipe: the archive through ssh, gzip and tar into a fresh file system. The
// pipe's time includes the flush to the device, as ours does, but neither the volume nor
// the file system.
func (b *bench) deployAgainstPipe(ctx context.Context) error {
	plain, ours, err := b.alternate(ctx, b.runs, b.plainPipe(8), b.cloneAndRemove(b.tgzImage(8)))
	if err != nil {
		return err
	}
	b.report.ratio("deploy-tgz", plain, ours, 1.8, b.zeroing)
	b.report.found.Deployed(results.TarPipe, 8, plain.Seconds())
	return nil
}

func (b *bench) plainPipe(gibs int64) measured {
	return func(ctx context.Context) (time.Duration, error) { return b.pipe(ctx, gibs) }
}

func (b *bench) pipe(ctx context.Context, gibs int64) (time.Duration, error) {
	if err := b.empty(ctx, "ext4", gibs*gib); err != nil {
		return 0, err
	}
	directory, unmount, err := testbed.Mount(b.diskPath(), "ext4", true)
	if err != nil {
		return 0, err
	}
	if err := dropCaches(); err != nil {
		return 0, err
	}
	begin := time.Now()
	_, err = b.machine.Pipe(ctx,
		testbed.Command{Argv: []string{"cat", b.tgz}},
		testbed.Command{Argv: []string{"ssh", node, "gzip -dc | sudo -n /usr/bin/tar -x -C " + directory}},
	)
	if err != nil {
		return 0, err
	}
	if err := unmount(); err != nil {
		return 0, err
	}
	return time.Since(begin), b.remove(ctx)
}

// deployBySize: a larger disk must not take longer.
func (b *bench) deployBySize(ctx context.Context) error {
	small, large, err := b.alternate(ctx, b.runs, b.cloneAndRemove(b.tgzImage(8)), b.cloneAndRemove(b.tgzImage(80)))
	if err != nil {
		return err
	}
	b.report.ratio("clone-8-over-80-gib", small, large, 0.83, b.zeroing)
	huge, err := b.cloneAndRemove(b.tgzImage(800))(ctx)
	if err != nil {
		return err
	}
	b.report.ratio("clone-8-over-800-gib", small, huge, 0, b.zeroing)
	for gibs, elapsed := range map[int]time.Duration{8: small, 80: large, 800: huge} {
		b.report.found.Deployed(results.TarMode, gibs, elapsed.Seconds())
	}
	pipe, err := b.plainPipe(80)(ctx)
	b.report.found.Deployed(results.TarPipe, 80, pipe.Seconds())
	return err
}

// convertedBy is what fs_lvm does with a file that the node reads itself: no ssh carries it.
func (b *bench) convertedBy(image string, gibs int) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		if err := b.empty(ctx, "", int64(gibs)*gib); err != nil {
			return 0, err
		}
		if err := dropCaches(); err != nil {
			return 0, err
		}
		command := "qemu-img convert -f raw -O raw " + image + " " + b.diskPath() + " && sync " + b.diskPath()
		result, err := b.machine.Pipe(ctx, testbed.Command{Argv: []string{"ssh", node, command}})
		if err != nil {
			return 0, err
		}
		return result.Elapsed, b.remove(ctx)
	}
}

// alsoConverted measures it, and keeps it beside the full copy and ours.
func (b *bench) alsoConverted(ctx context.Context, raw, name string, gibs, runs int, full, ours time.Duration) error {
	converted, err := median(ctx, runs, b.convertedBy(raw, gibs))
	if err != nil {
		return err
	}
	b.report.ratio(name, converted, ours, 0, b.zeroing)
	b.report.found.Deployed(results.FullCopy, gibs, full.Seconds())
	b.report.found.Deployed(results.QemuImg, gibs, converted.Seconds())
	return nil
}

// deployAgainstFull: OpenNebula's way for raw disks that hold the same data, against our
// CLONE of the archive, with and without offloaded zeroing, and of the raw disk itself.
func (b *bench) deployAgainstFull(ctx context.Context) error {
	for _, c := range []struct {
		gibs, runs int
		bound      float64
		name       string
		converted  string
	}{{8, b.runs, 2.5, "deploy-vs-full-8", "deploy-vs-qemu-img-8"}, {40, b.fullRuns, 10, "deploy-vs-full", "deploy-vs-qemu-img"}} {
		raw, err := b.rawImage(ctx, c.gibs)
		if err != nil {
			return err
		}
		full, ours, err := b.alternate(ctx, c.runs, b.fullCopy(raw, c.gibs), b.cloneAndRemove(b.tgzImage(c.gibs)))
		if err != nil {
			return err
		}
		b.report.ratio(c.name, full, ours, c.bound, b.zeroing)
		if err := b.alsoConverted(ctx, raw, c.converted, c.gibs, c.runs, full, ours); err != nil {
			return err
		}
		if c.gibs == 40 {
			b.report.found.Deployed(results.TarMode, c.gibs, ours.Seconds())
			if err := b.extentsAndWritten(ctx, raw, full); err != nil {
				return err
			}
		}
	}
	return nil
}

// extentsAndWritten compares the full copy of 40 GiB with extent mode, and with a CLONE
// whose node may not leave the zeroing to the device.
func (b *bench) extentsAndWritten(ctx context.Context, raw string, full time.Duration) error {
	extents, err := median(ctx, b.runs, b.cloneAndRemove(b.image(140, raw, map[string]string{"MODE": "RAW"})))
	if err != nil {
		return err
	}
	b.report.ratio("extent-vs-full", full, extents, 10, b.zeroing)
	b.report.found.Deployed(results.ExtentMode, 40, extents.Seconds())
	agent := map[string]string{"READ_GUEST_FS": "True", "WIPE_METHOD": "write"}
	if err := b.machine.Configure(agent, nil); err != nil {
		return err
	}
	written, err := median(ctx, b.fullRuns, b.cloneAndRemove(b.tgzImage(40)))
	if err != nil {
		return err
	}
	b.report.ratio("deploy-vs-full-without-offload", full, written, 0, b.zeroing)
	delete(agent, "WIPE_METHOD")
	return b.machine.Configure(agent, nil)
}

// rawImage makes a raw disk that holds the Debian, the holes left out.
func (b *bench) rawImage(ctx context.Context, gibs int) (string, error) {
	path := filepath.Join(testbed.DatastorePath(fakeoned.ImageDS), fmt.Sprintf("raw-%d", gibs))
	result, err := b.machine.Run(ctx, testbed.Command{Root: true, Argv: []string{"mkfs.ext4", "-q", "-d", b.tree, path, fmt.Sprintf("%dG", gibs)}})
	if err == nil && result.Status != 0 {
		err = fmt.Errorf("mkfs.ext4: %s", result.Stderr)
	}
	return path, err
}

// fullCopy is what fs_lvm_ssh does: a sparse tar over ssh, expanded by dd into a volume
// that is there already.
func (b *bench) fullCopy(image string, gibs int) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		if err := b.empty(ctx, "", int64(gibs)*gib); err != nil {
			return 0, err
		}
		if err := dropCaches(); err != nil {
			return 0, err
		}
		result, err := b.machine.Pipe(ctx,
			testbed.Command{Argv: []string{"tar", "-cSf", "-", "-C", filepath.Dir(image), filepath.Base(image)}},
			testbed.Command{Argv: []string{"ssh", node, "tar -xOf - | sudo -n /usr/bin/dd of=" + b.diskPath() + " bs=64k conv=fdatasync"}},
		)
		if err != nil {
			return 0, err
		}
		return result.Elapsed, b.remove(ctx)
	}
}
