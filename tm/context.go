package tm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"one-clvm/agent"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
	"one-clvm/opennebula"
	"one-clvm/plan"
)

// contextLabel is the volume label that the guest's contextualization packages look for.
const contextLabel = "CONTEXT"

// planContext makes an ISO 9660 image (Joliet, Rock Ridge) of the files and puts it
// into the VM's home. It is a regular file: oned never moves or deletes it by itself,
// it goes with the home.
func (d *Driver) planContext(_ context.Context, call opennebula.Call) ([]plan.Step, error) {
	for _, file := range call.Files {
		if isURL(file) && !strings.HasPrefix(file, "http://") && !strings.HasPrefix(file, "https://") {
			return nil, fmt.Errorf("context file %s: only http and https are fetched, others are %w: store it in a files datastore", file, ErrNotYet)
		}
	}
	q := d.fileRequest(call)
	send := func(ctx context.Context) (agent.Transfer, error) {
		return agent.Transfer{Send: func(w io.Writer) error { return d.sendISO(ctx, w, call.Files) }}, nil
	}
	return []plan.Step{{What: fmt.Sprintf("make the context CD %s", call.Home), Host: call.Dest.Host, Request: q, Transfer: send}}, nil
}

func isURL(file string) bool { return strings.Contains(file, "://") }

// fetched are the files with those that are URLs downloaded into a directory of their own,
// which remove removes.
func (d *Driver) fetched(ctx context.Context, files []string) (local []string, remove func() error, err error) {
	if !slices.ContainsFunc(files, isURL) {
		return files, func() error { return nil }, nil
	}
	failpoint.Hit("context.fetching")
	work, err := makeWorkDirectory(d.Config.String("TMP_ROOT"))
	if err != nil {
		return nil, nil, err
	}
	remove = work.remove
	for i, file := range files {
		if isURL(file) {
			if file, err = d.fetch(ctx, file, filepath.Join(work.Name(), strconv.Itoa(i))); err != nil {
				return nil, nil, errors.Join(fmt.Errorf("context file: %w", err), remove())
			}
		}
		local = append(local, file)
	}
	return local, remove, nil
}

// fetch downloads a file under the last part of its address.
func (d *Driver) fetch(ctx context.Context, address, dir string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	name := path.Base(parsed.Path)
	if name == "." || name == "/" || name == ".." {
		return "", fmt.Errorf("%s names no file", address)
	}
	failpoint.Change("fetch", dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	err = errors.Join(d.download(ctx, address, f), f.Close())
	failpoint.Hit("context.fetched")
	return f.Name(), err
}

// sendISO sends what genisoimage makes of the files, flat, as the guest expects them.
func (d *Driver) sendISO(ctx context.Context, w io.Writer, files []string) (err error) {
	files, remove, err := d.fetched(ctx, files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	argv := []string{"-quiet", "-V", contextLabel, "-J", "-joliet-long", "-R", "-graft-points"}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("context file: %w", err)
		}
		argv = append(argv, "/"+grafted(filepath.Base(file))+"="+grafted(file)) // never an option
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
