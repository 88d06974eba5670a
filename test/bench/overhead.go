package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"one-clvm/tarmode"
	"one-clvm/test/debian"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// overheadRuns is more than the others': these are short.
const overheadRuns = 15

// overhead: what a CLONE costs when there is next to nothing to copy, in units of the
// cheapest thing that ssh can do. The caches are warm on both sides.
func (b *bench) overhead(ctx context.Context) error {
	raw, archive, err := smallImages(ctx)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name  string
		image fakeoned.Image
		bound float64
	}{
		{"overhead", b.image(1, raw, map[string]string{"MODE": "RAW"}), 0.33},
		{"overhead-tgz", b.image(2, archive, map[string]string{"MODE": "TGZ", "SIZE": "64M", "FSTYPE": "ext4"}), 0},
	} {
		plain, ours, err := b.alternate(ctx, overheadRuns, b.sshTrue, b.warmClone(c.image))
		if err != nil {
			return err
		}
		b.report.ratio(c.name, plain, ours, c.bound, b.zeroing)
	}
	return nil
}

func (b *bench) sshTrue(ctx context.Context) (time.Duration, error) {
	result, err := b.machine.RunAsOneadmin(ctx, "ssh", node, "true")
	if err == nil && result.Status != 0 {
		err = fmt.Errorf("ssh %s true: %s", node, result.Stderr)
	}
	return result.Elapsed, err
}

func (b *bench) warmClone(image fakeoned.Image) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		b.newVM(fakeoned.CloneDisk(0, image, 0))
		elapsed, err := b.verb(ctx, "clone", "frontend:"+image.Source, b.target(), strconv.Itoa(b.vm), strconv.Itoa(fakeoned.ImageDS))
		if err != nil {
			return 0, err
		}
		return elapsed, b.remove(ctx)
	}
}

// smallImages makes 1 MiB of random bytes, as a disk and as a file in an archive.
func smallImages(ctx context.Context) (raw, archive string, err error) {
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data) // it never fails
	directory := testbed.DatastorePath(fakeoned.ImageDS)
	raw, archive = filepath.Join(directory, "small.raw"), filepath.Join(directory, "small.tgz")
	if err := os.WriteFile(raw, data, 0o644); err != nil {
		return "", "", err
	}
	tree := filepath.Join(testbed.Scratch, "small")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(filepath.Join(tree, "file"), data, 0o644); err != nil {
		return "", "", err
	}
	_, err = debian.Pack(ctx, tree, archive, tarmode.TGZ)
	return raw, archive, err
}
