package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// saveAgainstPipe: tar and gzip -1 on the node, over ssh into a file, against CPDS to TGZ
// of the same disk. Both end with the file on the front-end's disk.
func (b *bench) saveAgainstPipe(ctx context.Context) error {
	if _, err := b.clone(ctx, b.tgzImage(8)); err != nil {
		return err
	}
	directory := testbed.DatastorePath(fakeoned.ImageDS)
	plainFile, ourFile := filepath.Join(directory, "plain"), filepath.Join(directory, "saved")
	b.machine.Oned.Put(fakeoned.Images, 99, fakeoned.Image{ID: 99, Name: "saved", Source: ourFile, SizeMiB: 8 * gib,
		Template: map[string]string{"MODE": "TGZ"}}.Document())
	plain, ours, err := b.alternate(ctx, b.runs,
		func(ctx context.Context) (time.Duration, error) { return b.plainSave(ctx, plainFile) },
		func(ctx context.Context) (time.Duration, error) { return b.save(ctx, ourFile) })
	if err != nil {
		return err
	}
	b.report.ratio("save-tgz", plain, ours, 1.7, "no zeroing")
	b.report.sizes("save-tgz-size", fileSize(plainFile), fileSize(ourFile), 1)
	return b.remove(ctx)
}

func (b *bench) save(ctx context.Context, path string) (time.Duration, error) {
	if err := os.RemoveAll(path); err != nil {
		return 0, err
	}
	if err := dropCaches(); err != nil {
		return 0, err
	}
	return b.verb(ctx, "cpds", b.target(), path, "-1", strconv.Itoa(b.vm), strconv.Itoa(fakeoned.ImageDS))
}

func (b *bench) plainSave(ctx context.Context, path string) (elapsed time.Duration, err error) {
	directory, unmount, err := testbed.Mount(b.diskPath(), "ext4", false)
	if err != nil {
		return 0, err
	}
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	if err := dropCaches(); err != nil {
		return 0, err
	}
	begin := time.Now()
	_, err = b.machine.Pipe(ctx,
		testbed.Command{Argv: []string{"ssh", node, "sudo -n /usr/bin/tar -c -C " + directory + " . | gzip -1"}},
		testbed.Command{Argv: []string{"cat"}, StdoutFile: file},
	)
	if err != nil {
		return 0, err
	}
	if err := file.Sync(); err != nil {
		return 0, fmt.Errorf("plain save: %w", err)
	}
	elapsed = time.Since(begin)
	if err := file.Close(); err != nil {
		return 0, err
	}
	return elapsed, unmount()
}
