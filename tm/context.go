package tm

import (
	"context"
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

// sendISO sends what genisoimage makes of the files, flat, as the guest expects them.
func (d *Driver) sendISO(ctx context.Context, w io.Writer, files []string) error {
	argv := []string{"-quiet", "-V", contextLabel, "-J", "-joliet-long", "-R", "-graft-points"}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("context file: %w", err)
		}
		argv = append(argv, grafted(filepath.Base(file))+"="+grafted(file))
	}
	if _, err := d.Runner.Run(ctx, run.Cmd{Path: isoProgram(), Args: argv, Stdout: w}); err != nil {
		return fmt.Errorf("context CD: %w", err)
	}
	return nil
}

// grafted escapes a path for -graft-points (genisoimage(1), "NAME=PATH").
func grafted(path string) string {
	return strings.NewReplacer(`\`, `\\`, `=`, `\=`).Replace(path)
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
