// Package run is the one place that starts external programs: with an argument
// vector, never a shell, LC_ALL=C, standard input closed unless given, and an error
// that carries what is needed to repeat the call by hand.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"one-clvm/internal/failpoint"
)

// Cmd is one call of an external program.
type Cmd struct {
	Path string   // a name to be looked up in the fixed PATH below, or an absolute path
	Args []string // without the program's name
	Env  []string // added to the clean environment (PATH, HOME, LC_ALL=C)
	Dir  string

	Stdin  io.Reader // nil: /dev/null
	Stdout io.Writer // nil: collected into Result.Stdout
	Stderr io.Writer // nil: collected into Result.Stderr (its last 64 KiB)

	// Files are the descriptors 3, 4, … of the program.
	Files []*os.File
	// Confined starts the program in mount, PID, network and IPC namespaces of its
	// own; it is killed when the caller dies.
	Confined bool
	// DiesWithCaller kills the program when the caller dies, whatever kills that.
	DiesWithCaller bool

	// Reads marks a program that changes nothing that outlives it, for tests that look for
	// steps between two changes.
	Reads bool
	// Writer marks a program that must not be cut off, such as one that writes LVM metadata:
	// when ctx ends, the program is left alone, in its own process group, and the error wraps ErrStillRunning.
	// Other programs are killed.
	Writer bool
}

// Result is what a finished program left.
type Result struct {
	Stdout []byte
	Stderr []byte
	Status int   // exit status; -1 for death by signal
	MaxRSS int64 // largest resident set, bytes
}

// ErrStillRunning says that the deadline passed and the program was left running.
var ErrStillRunning = errors.New("still running when the deadline passed; it was not killed")

// Runner runs programs. Exec is the real one; tests put their own in its place.
type Runner interface {
	// Run waits for the program to end. A status other than 0 is an *Error; the
	// Result is filled in either case.
	Run(ctx context.Context, c Cmd) (Result, error)
}

// Error is a program that failed: enough to repeat it by hand.
type Error struct {
	Argv   []string
	Status int
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	s := strings.Join(e.Argv, " ")
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if text := strings.TrimSpace(e.Stderr); text != "" {
		s += ": " + strings.Join(strings.Fields(text), " ")
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Path is where programs are looked up, whatever PATH the caller came with: oned's
// drivers may start without the sbin directories.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const stderrKept = 64 << 10

// Exec is the Runner that really runs programs. Env is added to every call's
// environment (nil: only PATH, HOME and LC_ALL).
type Exec struct{ Env []string }

// Run implements Runner.
func (x Exec) Run(ctx context.Context, c Cmd) (Result, error) {
	argv := append([]string{c.Path}, c.Args...)
	fail := func(status int, stderr string, err error) *Error {
		return &Error{Argv: argv, Status: status, Stderr: stderr, Err: err}
	}
	path, err := LookPath(c.Path)
	if err != nil {
		return Result{Status: -1}, fail(-1, "", err)
	}
	cmd := exec.Command(path, c.Args...) //nolint:noctx // whether the end of ctx kills it is decided below
	cmd.Dir = c.Dir
	cmd.Env = append(baseEnv(), append(append([]string{}, x.Env...), c.Env...)...)
	cmd.ExtraFiles = c.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.Confined || c.DiesWithCaller {
		// The death signal follows the thread that starts the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if c.Confined {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	}
	cmd.Stdin = c.Stdin
	out, err := newOutput(c)
	if err != nil {
		return Result{Status: -1}, fail(-1, "", err)
	}
	defer out.close()
	out.attach(cmd)
	if err := ctx.Err(); err != nil {
		return Result{Status: -1}, fail(-1, "", err)
	}
	if !c.Reads {
		failpoint.Change("run", c.Path)
	}
	if err := cmd.Start(); err != nil {
		return Result{Status: -1}, fail(-1, "", err)
	}
	out.started()
	var waited error
	done := make(chan struct{})
	go func() { waited = cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		if c.Writer {
			return Result{Status: -1}, fail(-1, "", fmt.Errorf("%w (%w)", ErrStillRunning, ctx.Err()))
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the only error is that it is gone already
		<-done
		out.ended()
		return Result{Status: -1}, fail(-1, string(out.last.buf), ctx.Err())
	}
	out.ended()
	err = errors.Join(waited, out.collect())
	res := Result{Stdout: out.collected.Bytes(), Stderr: out.last.buf, Status: cmd.ProcessState.ExitCode(), MaxRSS: maxRSS(cmd.ProcessState)}
	if err != nil {
		return res, fail(res.Status, string(res.Stderr), err)
	}
	return res, nil
}

func maxRSS(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10
}

// LookPath finds a program in Path; an absolute name stands for itself.
func LookPath(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return name, nil
	}
	for _, dir := range strings.Split(Path, ":") {
		full := dir + "/" + name
		if st, err := os.Stat(full); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("program %s: %w in %s", name, exec.ErrNotFound, Path)
}

// Installed says whether a program is found.
func Installed(name string) bool {
	_, err := LookPath(name)
	return err == nil
}

func baseEnv() []string {
	env := []string{"PATH=" + Path, "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1"}
	if home := os.Getenv("HOME"); home != "" {
		env = append(env, "HOME="+home)
	}
	return env
}

// tail keeps the last max bytes written to it.
type tail struct {
	buf []byte
	max int
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
	return len(p), nil
}
