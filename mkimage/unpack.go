package mkimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"one-clvm/agent"
	"one-clvm/lvm/filevg"
	"one-clvm/tarmode"
)

// unpack puts the files of an archive or a directory into the new file system in a file,
// as a deployment does: the agent's confined child mounts it, and sees nothing else. The
// loop device and the mount end with whoever has them, however that ends.
func (j *job) unpack(ctx context.Context, to *os.File) error {
	device, err := filevg.Attach(to)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "one-clvm-mkimage-")
	if err != nil {
		return errors.Join(err, device.Close())
	}
	err = j.unpackInto(ctx, device, root)
	if err = errors.Join(err, device.Sync(), device.Close(), os.Remove(root)); err != nil {
		return fmt.Errorf("unpack into %s: %w", j.FSType, err)
	}
	return nil
}

func (j *job) unpackInto(ctx context.Context, device *os.File, root string) (err error) {
	source, total, err := j.files(ctx)
	if err != nil {
		return err
	}
	child := agent.Child{Runner: j.Runner, Self: j.Self, Progress: func(n int64) { j.Progress(n, total) }}
	j.result.Content, err = child.Unpack(ctx, source, device.Name(), j.FSType, root, j.Size)
	return errors.Join(err, source.Close())
}

// files are those of the source as an archive; the total of their bytes is 0 where nobody
// knows it.
func (j *job) files(ctx context.Context) (source io.ReadCloser, total int64, err error) {
	if j.Format == Tar {
		source, _, err = j.open(ctx)
		return source, 0, err
	}
	root, err := os.Open(j.From)
	if err != nil {
		return nil, 0, err
	}
	if total, err = dataBelow(ctx, j.From); err != nil {
		return nil, 0, errors.Join(err, root.Close())
	}
	r, w := io.Pipe()
	go func() {
		_, err := tarmode.Pack(ctx, w, root, tarmode.PackOptions{})
		_ = w.CloseWithError(errors.Join(err, root.Close())) // never fails
	}()
	return r, total, nil
}
