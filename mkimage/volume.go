package mkimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/failpoint"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

// chooseStaged: the file that the volume is made of. A node unpacks an archive, into
// whatever file system, and takes only the data of a disk.
func (j *job) chooseStaged() error {
	if !j.Register {
		return fmt.Errorf("%s (%s) keeps its images on the SAN, as volumes that have the number that oned gives them: say --register", j.ds.Origin(), j.ds.Name)
	}
	j.Mode = tarmode.RAW
	if j.Format == Directory || j.Format == Tar {
		j.Mode = tarmode.TZST
	}
	return nil
}

// staging is a directory from which the datastore driver takes files, the first one that
// can be written.
func (j *job) staging() (string, error) {
	dirs := j.ds.SafeDirs()
	for _, dir := range dirs {
		if unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s: none of SAFE_DIRS (%s) can be written: the file that becomes the volume has to be in one", j.ds.Origin(), strings.Join(dirs, " "))
}

// volumeTemplate is what oned is told of a volume that its driver is to make of the file.
func (j *job) volumeTemplate() string {
	lines := []string{fmt.Sprintf("NAME=%q", j.Name), `TYPE="OS"`, fmt.Sprintf("PATH=%q", j.path), fmt.Sprintf("MODE=%q", string(j.Mode))}
	if j.Mode.Tar() {
		size := lvm.RoundUp(j.Size, 1<<20) >> 20
		lines = append(lines, `UNPACK="YES"`, fmt.Sprintf("FSTYPE=%q", j.FSType), fmt.Sprintf(`SIZE="%d"`, size))
	}
	if j.Host != "" {
		lines = append(lines, fmt.Sprintf("HOST=%q", j.Host))
	}
	return strings.Join(lines, "\n") + "\n"
}

// moveToSAN has oned's driver make the volume, and removes the file in the end, whichever
// that is. An image that did not become one is removed, too.
func (j *job) moveToSAN(ctx context.Context) (err error) {
	defer func() {
		err = errors.Join(err, os.Remove(j.path))
		failpoint.Hit("mkimage.unstaged")
	}()
	id, err := j.allocate(ctx)
	var refused *opennebula.APIError
	if err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("%w; oned may have the image all the same, without a content: oneimage list", err)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("mkimage.allocated")
	if j.Waits != nil {
		j.Waits(id)
	}
	image, err := j.awaitImage(ctx, id)
	if err != nil {
		if deleteErr := j.Records.DeleteImage(context.WithoutCancel(ctx), id); deleteErr != nil {
			err = fmt.Errorf("%w; and image %d is left (%w): oneimage delete %d", err, id, deleteErr, id)
		}
		return err
	}
	j.result.ID, j.result.Source, j.result.Mode = id, image.Source, tarmode.RAW
	j.result.Size = max(j.result.Size, image.Size<<20)
	return nil
}

// awaitImage waits until oned's driver has made the image.
func (j *job) awaitImage(ctx context.Context, id int) (*opennebula.Image, error) {
	pause := j.Ask
	if pause == 0 {
		pause = time.Second
	}
	for {
		image, err := j.Records.Image(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case image.State == opennebula.ImageReady:
			return image, nil
		case image.State == opennebula.ImageError:
			return nil, fmt.Errorf("the datastore driver failed: %s", image.Template["ERROR"])
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
