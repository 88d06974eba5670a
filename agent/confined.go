package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/tarmode"
)

// task is what the confined child is told, as its only argument.
type task struct {
	Pack    bool         `json:"pack"` // else unpack
	Device  string       `json:"device"`
	FSType  string       `json:"fstype"`
	Root    string       `json:"root"` // directory that becomes the child's root
	Mode    tarmode.Mode `json:"mode"`
	Level   int          `json:"level"`
	MaxSize int64        `json:"max_size"`
	UUID    string       `json:"uuid,omitempty"`
	Label   string       `json:"label,omitempty"`
}

// report is a line of the child's on its descriptor 3: progress, then the end.
type report struct {
	Bytes   int64        `json:"bytes"`
	Members int64        `json:"members"`
	Error   *RemoteError `json:"error,omitempty"`
	Done    bool         `json:"done"`
}

// unpack lets the confined child mount the new file system and unpack the payload.
func (c *session) unpack(ctx context.Context, v lvm.Volume, res *Result) error {
	t := task{Device: v.Path, FSType: c.req.FSType, Mode: c.req.Mode, MaxSize: v.Size}
	end, err := c.runConfined(ctx, &t, c.payload, io.Discard)
	rest := c.drain
	if err != nil {
		rest = c.glance
	}
	if streamErr := rest(); streamErr != nil && (err == nil || errors.Is(streamErr, ErrStream)) {
		err = streamErr // an archive that was cut on its way is the cause, not what it looks like
	}
	res.Content, res.Members = end.Bytes, end.Members
	return errors.Join(err, forget(ctx, c.Runner, &t))
}

// forget makes the kernel forget a btrfs file system that is not mounted any more: it
// keeps devices by their file system's UUID, which clones of one image share, and
// would refuse or confuse the next one.
func forget(ctx context.Context, r run.Runner, t *task) error {
	if t.FSType != "btrfs" {
		return nil
	}
	_, err := r.Run(context.WithoutCancel(ctx), run.Cmd{Path: "btrfs", Args: []string{"device", "scan", "--forget", t.Device}})
	if err != nil {
		return fmt.Errorf("make the kernel forget %s: %w", t.Device, err)
	}
	return nil
}

// pack lets the confined child mount the file system read-only and pack it.
func (c *session) pack(ctx context.Context, out io.Writer, v lvm.Volume, mode tarmode.Mode, res *Result) error {
	fstype := v.Tags.Get(lvm.TagFSType)
	uuid, label := identify(ctx, c.Runner, v.Path)
	t := task{Pack: true, Device: v.Path, FSType: fstype, Mode: mode, Level: c.req.Level, UUID: uuid, Label: label}
	end, err := c.runConfined(ctx, &t, nil, out)
	res.Content, res.Members = end.Bytes, end.Members
	return errors.Join(err, forget(ctx, c.Runner, &t))
}

// runConfined runs the confined child for the request.
func (c *session) runConfined(ctx context.Context, t *task, stdin io.Reader, stdout io.Writer) (report, error) {
	if err := os.MkdirAll(c.Config.RunDir, 0o700); err != nil {
		return report{}, fmt.Errorf("TMP_ROOT in agent.conf: %w", err)
	}
	t.Root = c.Config.RunDir
	child := Child{Runner: c.Runner, Self: c.Self, Progress: c.progress}
	end, err := child.run(ctx, t, stdin, stdout)
	c.childRSS = max(c.childRSS, child.rss)
	return end, err
}

// Child runs the program as its own child, in namespaces of its own. What it mounts is its
// alone and goes with it.
type Child struct {
	Runner   run.Runner
	Self     string            // the program
	Progress func(bytes int64) // what it has packed or unpacked

	rss int64 // the largest that it had, bytes
}

// Unpack mounts an empty file system that was made on a device of that size, unpacks an
// archive into it, whatever it is compressed with, and flushes it. root is a directory to
// mount on. The result is the bytes of the files.
func (c *Child) Unpack(ctx context.Context, archive io.Reader, device, fstype, root string, size int64) (int64, error) {
	if !makers[fstype].posix {
		return 0, fmt.Errorf("%w: %s keeps no owners and modes", errors.ErrUnsupported, fstype)
	}
	t := &task{Device: device, FSType: fstype, Root: root, Mode: tarmode.TGZ, MaxSize: size}
	end, err := c.run(ctx, t, archive, io.Discard)
	return end.Bytes, errors.Join(err, forget(ctx, c.Runner, t))
}

// run runs it and waits for it.
func (c *Child) run(ctx context.Context, t *task, stdin io.Reader, stdout io.Writer) (report, error) {
	device, err := filepath.EvalSymlinks(t.Device)
	if err != nil {
		return report{}, fmt.Errorf("device of the volume: %w", err)
	}
	t.Device = device
	spec, err := json.Marshal(t)
	if err != nil {
		return report{}, fmt.Errorf("task: %w", err)
	}
	reports, theirs, err := os.Pipe()
	if err != nil {
		return report{}, err
	}
	last := make(chan report, 1)
	go func() { last <- c.follow(reports) }()
	result, err := c.Runner.Run(ctx, run.Cmd{
		Path: c.Self, Args: []string{"confined", string(spec)}, Confined: true,
		Stdin: stdin, Stdout: stdout, Files: []*os.File{theirs},
	})
	_ = theirs.Close() // the child's own copy is what matters
	end := <-last
	_ = reports.Close() // only read
	c.rss = result.MaxRSS
	switch {
	case end.Error != nil:
		return end, &childError{end.Error}
	case ctx.Err() != nil:
		return end, fmt.Errorf("confined child: %w", context.Cause(ctx))
	case err != nil:
		return end, fmt.Errorf("confined child: %w", withoutArguments(err))
	case !end.Done:
		return end, errors.New("confined child ended without a word")
	}
	return end, nil
}

// withoutArguments leaves out of a program's error what it was told: nobody could start
// the child by hand.
func withoutArguments(err error) error {
	var failed *run.Error
	if errors.As(err, &failed) {
		failed.Argv = failed.Argv[:1]
	}
	return err
}

// follow reads the child's reports up to their end and returns the last.
func (c *Child) follow(r io.Reader) report {
	var last report
	lines := json.NewDecoder(r)
	for {
		var next report
		if err := lines.Decode(&next); err != nil {
			return last // the end, or a child that died in the middle of a line
		}
		last = next
		c.Progress(last.Bytes)
	}
}

// childError is the child's error with the sentinel it wrapped.
type childError struct{ remote *RemoteError }

func (e *childError) Error() string { return e.remote.Text }
func (e *childError) Unwrap() error { return sentinelOf(e.remote.Kind) }
