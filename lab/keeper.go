package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
)

// A lab that a person starts is kept by a process in the background: this program again,
// in a session of its own. The nodes die with it, and it removes all files when it is
// asked to end.

// upMark is the keeper's last line, followed by the lab's directory.
const upMark = "UP "

// up starts the keeper and passes on what it says until the lab is up.
func up(ctx context.Context, name string, stdout io.Writer) error {
	if _, err := profile.Named(name); err != nil {
		return err
	}
	if directory, err := current(); err == nil {
		if _, err := cluster.Open(directory); err == nil {
			return errors.New("a lab is up already; end it first: go run ./lab down")
		}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close() // a pipe
	null, err := os.Open(os.DevNull)
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	process, err := os.StartProcess("/proc/self/exe", []string{os.Args[0], "up", name}, &os.ProcAttr{
		Env: append(os.Environ(), keeperVariable+"=1"), Files: []*os.File{null, writer, writer}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err := errors.Join(err, writer.Close(), null.Close()); err != nil {
		return fmt.Errorf("start the lab's process: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = process.Signal(syscall.SIGTERM) }) // it may have ended
	defer stop()
	lines := bufio.NewScanner(reader)
	for lines.Scan() {
		if directory, isUp := strings.CutPrefix(lines.Text(), upMark); isUp {
			fmt.Fprint(stdout, howTo(directory))
			return nil
		}
		fmt.Fprintln(stdout, lines.Text())
	}
	_, err = process.Wait()
	return errors.Join(errors.New("the lab did not come up"), err, ctx.Err())
}

func howTo(directory string) string {
	return fmt.Sprintf(`The lab is up, in %s. To use it:
  go run ./lab ssh node1                    as root; or from any program:
  ssh -F %s node1
  go run ./lab help                         faults, logs, down
`, directory, filepath.Join(directory, "ssh_config"))
}

// keep is the keeper: it starts the lab, says so, and ends it when told to.
func keep(ctx context.Context, name string, stdout io.Writer) (err error) {
	p, err := profile.Named(name)
	if err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{Profile: p, Progress: stdout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	c.HangUp()
	link, err := currentLink()
	if err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(c.Directory, link); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, upMark+c.Directory); err != nil {
		return err // the one who asked for it is gone
	}
	<-ctx.Done()
	return os.Remove(link)
}

// down ends the keeper and waits until it is gone, and with it all nodes and files.
func down(ctx context.Context, c *cluster.Cluster) error {
	if err := syscall.Kill(c.Keeper(), syscall.SIGTERM); err != nil {
		return fmt.Errorf("the lab's process %d: %w", c.Keeper(), err)
	}
	for {
		if _, err := os.Stat(c.Directory); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
