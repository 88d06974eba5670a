package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"one-clvm/opennebula"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// The images on the SAN: one that is cloned, and one that is read by dd.
const cloned, read = 208, 209

// cloneOnSAN: CLONE of an image that is a volume of 8 GiB against OpenNebula's way, dd from
// volume to volume, which includes neither the new volume nor the end of the verb.
func (b *bench) cloneOnSAN(ctx context.Context) error {
	raw, err := b.rawImage(ctx, 8)
	if err != nil {
		return err
	}
	var images []fakeoned.Image
	for _, id := range []int{cloned, read} {
		image, err := b.register(ctx, id, raw)
		if err != nil {
			return err
		}
		images = append(images, image)
	}
	full, ours, err := b.alternate(ctx, b.runs, b.copyOnSAN(images[1]), b.cloneAndRemove(images[0]))
	if err != nil {
		return err
	}
	b.report.ratio("san-clone", full, ours, 5, b.zeroing)
	for _, image := range images {
		if err := b.unregister(ctx, image); err != nil {
			return err
		}
	}
	return nil
}

// datastoreVerb runs a verb of the datastore driver as oned does.
func (b *bench) datastoreVerb(ctx context.Context, verb string, image fakeoned.Image, path string) error {
	document := fmt.Sprintf("<DS_DRIVER_ACTION_DATA><IMAGE><ID>%d</ID><SOURCE>%s</SOURCE><PATH>%s</PATH><SIZE>%d</SIZE></IMAGE>%s</DS_DRIVER_ACTION_DATA>",
		image.ID, image.Source, path, image.SizeMiB, fakeoned.ImageDatastore(map[string]string{"VG_NAME": testbed.Group, "RESTRICTED_DIRS": "/etc", "SAFE_DIRS": testbed.DatastorePath(fakeoned.ImageDS)}))
	command := testbed.Command{Argv: []string{testbed.DatastoreVerb(verb), strconv.Itoa(image.ID)}, Stdin: string(opennebula.EncodeDocument([]byte(document)))}
	result, err := b.machine.Run(ctx, command)
	if err == nil && result.Status != 0 {
		err = fmt.Errorf("%s: exit status %d\n%s", verb, result.Status, result.Stderr)
	}
	return err
}

func (b *bench) register(ctx context.Context, id int, path string) (fakeoned.Image, error) {
	image := fakeoned.Image{ID: id, Name: fmt.Sprintf("image-%d", id), SizeMiB: 8 * gib}
	err := b.datastoreVerb(ctx, "cp", image, path)
	image.Source = fmt.Sprintf("lv-oneimg-%d", id)
	b.machine.Oned.Put(fakeoned.Images, id, image.Document())
	return image, err
}

func (b *bench) unregister(ctx context.Context, image fakeoned.Image) error {
	return b.datastoreVerb(ctx, "rm", image, "")
}

// copyOnSAN makes the image a VM's disk in place, to have it active, and copies it whole.
func (b *bench) copyOnSAN(image fakeoned.Image) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		b.newVM(fakeoned.PersistentDisk(0, image))
		from, ids := b.diskPath(), []string{strconv.Itoa(b.vm), strconv.Itoa(fakeoned.ImageDS)}
		if _, err := b.verb(ctx, "ln", append([]string{"frontend:" + image.Source, b.target()}, ids...)...); err != nil {
			return 0, err
		}
		leave := func() error {
			_, err := b.verb(ctx, "delete", append([]string{node + ":" + from[:len(from)-len("/disk.0")]}, ids...)...)
			return err
		}
		if err := b.empty(ctx, "", 8*gib); err != nil {
			return 0, err
		}
		if err := dropCaches(); err != nil {
			return 0, err
		}
		begin := time.Now()
		_, err := b.machine.Pipe(ctx, testbed.Command{Argv: []string{"ssh", node, "sudo -n /usr/bin/dd if=" + from + " of=" + b.diskPath() + " bs=64k conv=fdatasync"}})
		elapsed := time.Since(begin)
		if err != nil {
			return 0, err
		}
		if err := b.remove(ctx); err != nil {
			return 0, err
		}
		return elapsed, leave()
	}
}
