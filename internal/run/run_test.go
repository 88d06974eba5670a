package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test program is also the program that the tests run: childRole says what it does.
const childRole = "RUN_TEST_CHILD"

var roles = map[string]func() int{
	"echo": func() int {
		fmt.Printf("%q\n", os.Args[1:])
		return 0
	},
	"environment": func() int {
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return 0
	},
	"directory": func() int {
		dir, err := os.Getwd()
		fmt.Println(dir)
		return status(err)
	},
	"cat": func() int {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return status(err)
	},
	"fail": func() int {
		fmt.Println("half a result")
		fmt.Fprintln(os.Stderr, "  No space.\n  Really.")
		return 5
	},
	"kill itself": func() int {
		return status(syscall.Kill(os.Getpid(), syscall.SIGKILL))
	},
	"flood": func() int {
		block := append(bytes.Repeat([]byte("x"), 16<<10-1), '\n')
		for range 4 << 20 / len(block) {
			fmt.Printf("%s", block)
			fmt.Fprintf(os.Stderr, "%s", block)
		}
		fmt.Fprint(os.Stderr, "last words")
		return 0
	},
	// gate: tell that it runs, wait until told to go on, speak, tell that it is done.
	"gate": func() int {
		dir := os.Args[1]
		touch(dir, "started")
		await(dir, "gate")
		for range 1000 {
			fmt.Println("a message to whoever still listens")
		}
		touch(dir, "done")
		return 0
	},
	// parent: start a writer that waits, and be gone before it ends.
	"parent": func() int {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { await(os.Args[1], "started"); cancel() }()
		_, err := child(ctx, "gate", Cmd{Args: os.Args[1:], Writer: true})
		if errors.Is(err, ErrStillRunning) {
			return 0
		}
		return 1
	},
	// owner: start a child that is to die with its caller, and be killed once it runs.
	"owner": func() int {
		go func() {
			await(filepath.Dir(os.Args[1]), filepath.Base(os.Args[1]))
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}()
		_, err := child(context.Background(), "sleeper", Cmd{Args: os.Args[1:], DiesWithCaller: true})
		return status(err)
	},
	// family: a child of its own that lives in the same process group.
	"family": func() int {
		cmd := exec.Command(os.Args[0], os.Args[1])
		cmd.Env = append(os.Environ(), childRole+"=sleeper")
		err := cmd.Run()
		return status(err)
	},
	// leaver: leave a daemon behind that keeps the standard error open.
	"leaver": func() int {
		cmd := exec.Command(os.Args[0], os.Args[1])
		cmd.Env = append(os.Environ(), childRole+"=gate")
		cmd.SysProcAttr, cmd.Stderr = &syscall.SysProcAttr{Setsid: true}, os.Stderr
		if err := cmd.Start(); err != nil {
			return status(err)
		}
		fmt.Fprintln(os.Stderr, "last words")
		return 5
	},
	"sleeper": func() int {
		// Renamed into place: whoever waits for the file finds the number in it.
		if err := os.WriteFile(os.Args[1]+".new", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			return 1
		}
		if err := os.Rename(os.Args[1]+".new", os.Args[1]); err != nil {
			return 1
		}
		select {}
	},
}

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(childRole)]; ok {
		syscall.Exit(role()) // os.Exit would print a warning when coverage is measured
	}
	os.Exit(m.Run())
}

func status(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func touch(dir, name string) {
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		panic(err)
	}
}

func await(dir, name string) {
	for {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// child runs this test program in a role.
func child(ctx context.Context, role string, c Cmd) (Result, error) {
	self, err := os.Executable()
	if err != nil {
		return Result{}, err
	}
	c.Path = self
	c.Env = append(c.Env, childRole+"="+role)
	return Exec{Env: []string{"FROM_EXEC=1"}}.Run(ctx, c)
}

func TestArgumentsReachTheProgramAsTheyAre(t *testing.T) {
	for _, writer := range []bool{false, true} {
		res, err := child(t.Context(), "echo", Cmd{Args: []string{"$(id)", "a b", "`x`", "*", ""}, Writer: writer})
		require.NoError(t, err)
		assert.Equal(t, "[\"$(id)\" \"a b\" \"`x`\" \"*\" \"\"]\n", string(res.Stdout))
		assert.Empty(t, res.Stderr)
		assert.Zero(t, res.Status)
		assert.Positive(t, res.MaxRSS)
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("LVM_SYSTEM_DIR", "/tmp/evil")
	t.Setenv("HOME", "/home/x")
	res, err := child(t.Context(), "environment", Cmd{Env: []string{"FROM_CALL=1"}})
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"PATH=" + Path, "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1", "HOME=/home/x", "FROM_EXEC=1", "FROM_CALL=1", childRole + "=environment",
	}, strings.Split(strings.TrimSpace(string(res.Stdout)), "\n"))
}

func TestStandardInputIsEmptyUnlessGiven(t *testing.T) {
	res, err := child(t.Context(), "cat", Cmd{})
	require.NoError(t, err)
	assert.Empty(t, res.Stdout)
	res, err = child(t.Context(), "cat", Cmd{Stdin: strings.NewReader("hello")})
	require.NoError(t, err)
	assert.Equal(t, "hello", string(res.Stdout))
}

func TestDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	res, err := child(t.Context(), "directory", Cmd{Dir: dir})
	require.NoError(t, err)
	assert.Equal(t, dir+"\n", string(res.Stdout))
}

func TestFailureCarriesWhatIsNeededToRepeatIt(t *testing.T) {
	for _, writer := range []bool{false, true} {
		res, err := child(t.Context(), "fail", Cmd{Args: []string{"-n", "x"}, Writer: writer})
		var failed *Error
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, []string{"-n", "x"}, failed.Argv[1:])
		assert.Equal(t, 5, failed.Status)
		assert.Equal(t, "  No space.\n  Really.\n", failed.Stderr)
		assert.Regexp(t, ` -n x: exit status 5: No space. Really.$`, err.Error())
		assert.Equal(t, Result{Stdout: []byte("half a result\n"), Stderr: []byte("  No space.\n  Really.\n"), Status: 5, MaxRSS: res.MaxRSS}, res)
		var exit *exec.ExitError
		assert.ErrorAs(t, err, &exit)
	}
}

func TestDeathBySignal(t *testing.T) {
	res, err := child(t.Context(), "kill itself", Cmd{})
	require.ErrorContains(t, err, "killed")
	assert.Equal(t, -1, res.Status)
}

func TestProgramNotFound(t *testing.T) {
	res, err := Exec{}.Run(t.Context(), Cmd{Path: "no-such-program"})
	require.ErrorIs(t, err, exec.ErrNotFound)
	require.ErrorContains(t, err, Path)
	assert.Equal(t, -1, res.Status)
	_, err = Exec{}.Run(t.Context(), Cmd{Path: "/no/such/program"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLookPathIgnoresTheCallersPath(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	path, err := LookPath("ls")
	require.NoError(t, err)
	assert.True(t, filepath.IsAbs(path))
	path, err = LookPath("/some/where")
	require.NoError(t, err)
	assert.Equal(t, "/some/where", path)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o700))
	_, err = LookPath("mine")
	require.ErrorIs(t, err, exec.ErrNotFound)
}

func TestCommandWithMegabytesOnBothPipes(t *testing.T) {
	for _, writer := range []bool{false, true} {
		res, err := child(t.Context(), "flood", Cmd{Writer: writer})
		require.NoError(t, err)
		assert.Len(t, res.Stdout, 4<<20)
		assert.Len(t, res.Stderr, stderrKept, "only the end is kept")
		assert.True(t, bytes.HasSuffix(res.Stderr, []byte("\nlast words")))
	}
}

func TestOutputToTheCallersWriters(t *testing.T) {
	for _, writer := range []bool{false, true} {
		var stdout, stderr bytes.Buffer
		res, err := child(t.Context(), "fail", Cmd{Stdout: &stdout, Stderr: &stderr, Writer: writer})
		require.Error(t, err)
		assert.Equal(t, "half a result\n", stdout.String())
		assert.Equal(t, "  No space.\n  Really.\n", stderr.String())
		assert.Empty(t, res.Stdout)
		assert.Empty(t, res.Stderr)
	}
}

// refusing is a writer that is full.
type refusing struct{}

var errFull = errors.New("full")

func (refusing) Write([]byte) (int, error) { return 0, errFull }

func TestOutputThatCannotBeWritten(t *testing.T) {
	for _, writer := range []bool{false, true} {
		_, err := child(t.Context(), "echo", Cmd{Stdout: refusing{}, Writer: writer})
		require.ErrorIs(t, err, errFull)
	}
}

func TestCancelledBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	for _, writer := range []bool{false, true} {
		_, err := child(ctx, "gate", Cmd{Args: []string{dir}, Writer: writer})
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrStillRunning)
	}
	assert.NoFileExists(t, filepath.Join(dir, "started"))
}

// exists says whether a process of this program is there. (A zombie has none; another
// program may have got the pid.)
func exists(pid string) bool {
	program, err := os.Readlink("/proc/" + pid + "/exe")
	self, selfErr := os.Executable()
	return err == nil && selfErr == nil && program == self
}

func TestDeadlineKillsAReaderWithItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	pid := ""
	go func() {
		for pid == "" {
			data, err := os.ReadFile(file)
			if err == nil {
				pid = string(data)
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := child(ctx, "family", Cmd{Args: []string{file}})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrStillRunning)
	require.Eventually(t, func() bool { return !exists(pid) }, time.Minute, time.Millisecond, "process %s", pid)
}

func TestDeadlineDoesNotKillWriter(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { await(dir, "started"); cancel() }()
	res, err := child(ctx, "gate", Cmd{Args: []string{dir}, Writer: true})
	require.ErrorIs(t, err, ErrStillRunning)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, -1, res.Status)
	assert.NoFileExists(t, filepath.Join(dir, "done"))
	touch(dir, "gate")
	await(dir, "done")
}

// A program may leave a daemon behind, as ssh with ControlPersist does.
func TestDaemonThatKeepsStandardErrorIsNotAwaited(t *testing.T) {
	dir := t.TempDir()
	ended := make(chan error, 1)
	go func() {
		_, err := child(t.Context(), "leaver", Cmd{Args: []string{dir}})
		ended <- err
	}()
	select {
	case err := <-ended:
		assert.ErrorContains(t, err, "last words")
	case <-time.After(time.Minute):
		t.Error("it is waited for")
	}
	touch(dir, "gate")
	await(dir, "done")
}

// TestWriterOutlivesItsCaller: the program that started the writer is gone, so is
// whatever read its messages, and the writer still ends its work.
func TestWriterOutlivesItsCaller(t *testing.T) {
	dir := t.TempDir()
	_, err := child(t.Context(), "parent", Cmd{Args: []string{dir}})
	require.NoError(t, err, "the parent left with the writer running")
	assert.NoFileExists(t, filepath.Join(dir, "done"))
	touch(dir, "gate")
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "done"))
		return err == nil
	}, time.Minute, time.Millisecond)
}

func TestDiesWithCaller(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	_, err := child(t.Context(), "owner", Cmd{Args: []string{file}})
	require.ErrorContains(t, err, "killed")
	pid, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !exists(string(pid)) }, time.Minute, time.Millisecond, "process %s", pid)
}

func TestFilesAreDescriptorsFromThree(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer file.Close()
	res, err := Exec{}.Run(t.Context(), Cmd{Path: "readlink", Args: []string{"/proc/self/fd/3"}, Files: []*os.File{file}})
	require.NoError(t, err)
	assert.Equal(t, file.Name()+"\n", string(res.Stdout))
}
