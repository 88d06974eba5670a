package tm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/agent"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
)

// contextLabel is the volume label that the guest's contextualization packages look for.
const contextLabel = "CONTEXT"

// planContext makes an ISO 9660 image (Joliet, Rock Ridge) of the files and puts it
// into the VM's home. It is a regular file: oned never moves or deletes it by itself,
// it goes with the home.
func (d *Driver) planContext(_ context.Context, call opennebula.Call) ([]Step, error) {
	for _, file := range call.Files {
		if strings.Contains(file, "://") {
			return nil, fmt.Errorf("context file %s: URLs are %w: store it in a files datastore", file, ErrNotYet)
		}
	}
	q := d.fileRequest(call)
	send := func(ctx context.Context) (agent.Transfer, error) {
		return agent.Transfer{Send: func(w io.Writer) error { return d.sendISO(ctx, w, call.Files) }}, nil
	}
	return []Step{{What: fmt.Sprintf("make the context CD %s", call.Home), Host: call.Dest.Host, Request: q, Transfer: send}}, nil
}

// sendISO lays the files flat into a directory, as the guest expects them, and sends
// what genisoimage makes of it.
func (d *Driver) sendISO(ctx context.Context, w io.Writer, files []string) (err error) {
	dir, err := os.MkdirTemp("", "one-clvm-context-")
	if err != nil {
		return fmt.Errorf("context CD: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, file := range files {
		if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			return fmt.Errorf("context file: %w", err)
		}
	}
	argv := []string{"-quiet", "-V", contextLabel, "-J", "-joliet-long", "-R", dir}
	if _, err := d.Runner.Run(ctx, run.Cmd{Path: isoProgram(), Args: argv, Stdout: w}); err != nil {
		return fmt.Errorf("context CD: %w", err)
	}
	return nil
}

// isoProgram is genisoimage, or mkisofs where it has that name.
func isoProgram() string {
	for _, name := range []string{"genisoimage", "mkisofs", "xorrisofs"} {
		if _, err := run.LookPath(name); err == nil {
			return name
		}
	}
	return "genisoimage"
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
