package run

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// output is where a program's output goes: to the caller's writers or into memory.
//
// A Writer's output goes to files in memory first and is copied when the program has
// ended. With a pipe, a program that outlives this process would die of SIGPIPE at its
// next message, in the middle of what it is doing.
//
// The messages of other programs go through a pipe of our own: a daemon that a program
// leaves behind (ssh with ControlPersist) may keep it open, and nobody is to wait for that.
type output struct {
	stdout, stderr io.Writer
	collected      bytes.Buffer
	last           tail
	files          []*os.File // of a Writer: stdout, stderr
	messages       *os.File   // of another program; nil: its stderr is the caller's
	theirs         *os.File   // the program's end of it
	read           chan struct{}
}

// messagesGrace is how long what a program wrote last may take to arrive behind its end.
const messagesGrace = 2 * time.Second

func newOutput(c Cmd) (*output, error) {
	o := &output{stdout: c.Stdout, stderr: c.Stderr, last: tail{max: stderrKept}}
	if o.stdout == nil {
		o.stdout = &o.collected
	}
	if o.stderr == nil {
		o.stderr = &o.last
	}
	if !c.Writer && c.Stderr != nil {
		return o, nil
	}
	if !c.Writer {
		var err error
		o.messages, o.theirs, err = os.Pipe()
		return o, err
	}
	for _, name := range []string{"stdout", "stderr"} {
		file, err := unnamed(name)
		if err != nil {
			o.close()
			return nil, fmt.Errorf("file for %s: %w", name, err)
		}
		o.files = append(o.files, file)
	}
	return o, nil
}

// unnamed is a file in memory; before Linux 3.17 one on disk whose name is gone.
func unnamed(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err == nil {
		return os.NewFile(uintptr(fd), name), nil
	}
	if !errors.Is(err, unix.ENOSYS) {
		return nil, err
	}
	file, err := os.CreateTemp("", name)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (o *output) attach(cmd *exec.Cmd) {
	cmd.Stdout, cmd.Stderr = o.stdout, o.stderr
	switch {
	case o.files != nil:
		cmd.Stdout, cmd.Stderr = o.files[0], o.files[1]
	case o.theirs != nil:
		cmd.Stderr = o.theirs
	}
}

// started is called once the program runs.
func (o *output) started() {
	if o.theirs == nil {
		return
	}
	_ = o.theirs.Close() // the program has its own
	o.read = make(chan struct{})
	go func() {
		defer close(o.read)
		_, _ = io.Copy(o.stderr, o.messages) // to the end, or as long as anybody cares
	}()
}

// ended waits for the last messages of a program that has ended.
func (o *output) ended() {
	if o.read == nil {
		return
	}
	_ = o.messages.SetReadDeadline(time.Now().Add(messagesGrace)) // a pipe has deadlines
	<-o.read
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
	if o.messages != nil {
		_, _ = o.messages.Close(), o.theirs.Close() // only read; closed already if the program was started
	}
}
