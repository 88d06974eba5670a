package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
)

// Command is a program to run on the machine: as oneadmin, with the environment that
// oned gives to its drivers, unless Root.
type Command struct {
	Argv  []string // the program first; a name without a slash is looked up
	Root  bool
	Env   []string // more variables
	Dir   string
	Stdin string

	// StdinFile, StdoutFile and StderrFile, if not nil, are standard input, output and error
	// instead of Stdin, Result.Stdout and Result.Stderr.
	StdinFile, StdoutFile, StderrFile *os.File
}

// Result is what a program left.
type Result struct {
	Stdout, Stderr string
	Status         int // exit status; 128 + signal for one that was killed
	Elapsed        time.Duration
}

// Process is a program that runs, the leader of a process group of its own.
type Process struct {
	process        *os.Process
	stdout, stderr *os.File
	ended          chan struct{}
	result         Result
}

// Start starts a program. Wait must be called.
func (m *Machine) Start(c Command) (*Process, error) {
	path, err := run.LookPath(c.Argv[0])
	if err != nil {
		return nil, err
	}
	stdin := c.StdinFile
	if stdin == nil {
		if stdin, err = inMemory("stdin", c.Stdin); err != nil {
			return nil, err
		}
		defer stdin.Close() // in memory
	}
	p := &Process{ended: make(chan struct{})}
	if p.stdout, err = inMemory("stdout", ""); err != nil {
		return nil, err
	}
	if p.stderr, err = inMemory("stderr", ""); err != nil {
		return nil, err
	}
	out, errs := p.stdout, p.stderr
	if c.StdoutFile != nil {
		out = c.StdoutFile
	}
	if c.StderrFile != nil {
		errs = c.StderrFile
	}
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if !c.Root {
		attributes.Credential = &syscall.Credential{Uid: oneadminID, Gid: oneadminID, Groups: []uint32{oneadminID}}
	}
	begin := time.Now()
	p.process, err = os.StartProcess(path, c.Argv, &os.ProcAttr{
		Dir: orHome(c), Env: environment(c), Files: []*os.File{stdin, out, errs}, Sys: attributes,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", path, err), p.stdout.Close(), p.stderr.Close())
	}
	go p.collect(begin)
	return p, nil
}

// Run runs a program to its end. A status other than 0 is in the Result, not an error;
// when ctx ends the process group is killed, which is an error.
func (m *Machine) Run(ctx context.Context, c Command) (Result, error) {
	p, err := m.Start(c)
	if err != nil {
		return Result{}, err
	}
	select {
	case <-p.Ended():
		return p.Wait(), nil
	case <-ctx.Done():
		_ = p.Signal(os.Kill) // the only error is that it has ended
		return p.Wait(), fmt.Errorf("%v: %w", c.Argv, ctx.Err())
	}
}

// Pipe runs programs, the output of one being the input of the next, and waits for all.
// The result is the last one's, with the time of all; a status other than 0 of any is an
// error.
func (m *Machine) Pipe(ctx context.Context, commands ...Command) (Result, error) {
	begin := time.Now()
	processes := make([]*Process, 0, len(commands))
	var errs []error
	for i := range commands {
		var reader, writer *os.File
		if i+1 < len(commands) {
			var err error
			if reader, writer, err = os.Pipe(); err != nil {
				return Result{}, fmt.Errorf("pipe: %w", err)
			}
			commands[i].StdoutFile, commands[i+1].StdinFile = writer, reader
		}
		p, err := m.Start(commands[i])
		if i > 0 {
			errs = append(errs, commands[i].StdinFile.Close())
		}
		if writer != nil {
			errs = append(errs, writer.Close())
		}
		if err != nil {
			errs = append(errs, err)
			break // what runs gets an end of file or a broken pipe
		}
		processes = append(processes, p)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, p := range processes {
			_ = p.Signal(os.Kill) // the only error is that it has ended
		}
	})
	defer stop()
	var last Result
	for i, p := range processes {
		if last = p.Wait(); last.Status != 0 {
			errs = append(errs, fmt.Errorf("%v: exit status %d: %s", commands[i].Argv, last.Status, last.Stderr))
		}
	}
	last.Elapsed = time.Since(begin)
	return last, errors.Join(errs...)
}

// RunAsOneadmin runs a program as oned would.
func (m *Machine) RunAsOneadmin(ctx context.Context, argv ...string) (Result, error) {
	return m.Run(ctx, Command{Argv: argv})
}

// PID of the program.
func (p *Process) PID() int { return p.process.Pid }

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait waits for the end. It may be called more than once.
func (p *Process) Wait() Result {
	<-p.ended
	return p.result
}

// Signal sends a signal to the program and all of its process group.
func (p *Process) Signal(signal os.Signal) error {
	number, ok := signal.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %v: not a signal of this system", signal)
	}
	if err := syscall.Kill(-p.process.Pid, number); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v: %w", signal, err)
	}
	return nil
}

func (p *Process) collect(begin time.Time) {
	defer close(p.ended)
	state, err := p.process.Wait()
	if err != nil {
		p.result = Result{Status: -1, Stderr: err.Error()}
		return
	}
	p.result = Result{Status: state.ExitCode(), Elapsed: time.Since(begin), Stdout: drain(p.stdout), Stderr: drain(p.stderr)}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		p.result.Status = 128 + int(status.Signal())
	}
}

func environment(c Command) []string {
	env := []string{"LANG=C.UTF-8", "PATH=" + run.Path}
	if c.Root {
		return append(append(env, "HOME="+Scratch+"/root", "USER=root"), c.Env...)
	}
	env = append(env, "HOME="+Home, "USER=oneadmin", "LOGNAME=oneadmin",
		"ONE_XMLRPC=http://127.0.0.1:2633/RPC2", "ONE_AUTH="+oneAuth)
	if os.Getenv(coverVariable) != "" {
		env = append(env, "GOCOVERDIR="+coverage)
	}
	return append(env, c.Env...)
}

func orHome(c Command) string {
	if c.Dir == "" && !c.Root {
		return Home
	}
	return c.Dir
}

// inMemory is a file in memory: unlike a pipe nobody must read it while it is written.
func inMemory(name, text string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err = io.WriteString(file, text); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("file in memory: %w", err), file.Close())
	}
	return file, nil
}

func drain(file *os.File) string {
	defer file.Close() // in memory
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 64<<20))
	if err != nil {
		return err.Error()
	}
	return string(data)
}
