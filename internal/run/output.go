package run

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// output is where a program's output goes: to the caller's writers or into memory.
//
// A Writer's output goes to files in memory first and is copied when the program has
// ended. With a pipe, a program that outlives this process would die of SIGPIPE at its
// next message, in the middle of what it is doing.
type output struct {
	stdout, stderr io.Writer
	collected      bytes.Buffer
	last           tail
	files          []*os.File // of a Writer: stdout, stderr
}

func newOutput(c Cmd) (*output, error) {
	o := &output{stdout: c.Stdout, stderr: c.Stderr, last: tail{max: stderrKept}}
	if o.stdout == nil {
		o.stdout = &o.collected
	}
	if o.stderr == nil {
		o.stderr = &o.last
	}
	if !c.Writer {
		return o, nil
	}
	for _, name := range []string{"stdout", "stderr"} {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err != nil {
			o.close()
			return nil, fmt.Errorf("file in memory for %s: %w", name, err)
		}
		o.files = append(o.files, os.NewFile(uintptr(fd), name))
	}
	return o, nil
}

func (o *output) attach(cmd *exec.Cmd) {
	cmd.Stdout, cmd.Stderr = o.stdout, o.stderr
	if o.files != nil {
		cmd.Stdout, cmd.Stderr = o.files[0], o.files[1]
	}
}

// collect copies what a Writer that has ended left in its files.
func (o *output) collect() error {
	for i, file := range o.files {
		to := []io.Writer{o.stdout, o.stderr}[i]
		size, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
		if _, err := io.Copy(to, io.NewSectionReader(file, 0, size)); err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
	}
	return nil
}

func (o *output) close() {
	for _, file := range o.files {
		_ = file.Close() // memory; the program has descriptors of its own
	}
}
