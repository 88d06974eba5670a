// Package testbed is a throw-away machine that is front-end and nodes at once: a real
// sshd on loopback, a real sudo with the sudoers file that the project ships, an
// unprivileged oneadmin, a file-backed volume group and a stand-in for oned's API.
//
// It is made of Linux namespaces (mount, PID, UTS, network) with overlays over the
// directories that an installation writes to, so that the machine it runs on is not
// changed. Whatever happens, nothing is left: processes end with the PID namespace,
// mounts with the mount namespace, and a janitor outside of both detaches loop devices
// and removes the files, even after a kill -9 of everything else.
//
// Do not use it to keep hostile code in: it separates, it does not confine.
//
//	func TestMain(m *testing.M) { testbed.Main(m.Run, testbed.Plain) }
//
// Main runs the function in the new namespaces; there, [Start] makes the machine.
package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// The same program is run in four roles; the environment says which one it has.
//
//	outside   what the user started: makes the directory, waits, takes signals
//	janitor   outside the namespaces; cleans up when the pipe from outside closes
//	init      process 1 of the PID namespace: mounts, then reaps
//	inside    what Main was asked to run
const (
	roleVariable      = "ONE_CLVM_TESTBED_ROLE"
	directoryVariable = "ONE_CLVM_TESTBED_DIRECTORY"
)

const directoryPrefix = "one-clvm-testbed-"

// Main runs body in a fresh machine's namespaces and exits the process with its result.
// It must be called first thing in main or TestMain: it starts the program anew. Needs
// root. Files that must be on a real disk are put into TMPDIR, else /var/tmp. The builds
// of the program under test that Start will be asked for are made from this checkout.
func Main(body func() int, builds ...Build) {
	switch os.Getenv(roleVariable) {
	case "janitor":
		os.Exit(janitor(os.Getenv(directoryVariable)))
	case "init":
		os.Exit(initialize(os.Getenv(directoryVariable)))
	case "inside":
		os.Exit(inside(body))
	}
	status, err := outside(builds)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
	os.Exit(status)
}

// Inside says whether this process runs in the namespaces already. A program that needs
// the network, or wants to keep a file, does so before: outside.
func Inside() bool { return os.Getenv(roleVariable) == "inside" }

// Outside says whether this is the process that the user started.
func Outside() bool { return os.Getenv(roleVariable) == "" }

// inside runs body and keeps what the processes of the machine counted as covered.
func inside(body func() int) int {
	status := body()
	if err := keepCoverage(); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		return 1
	}
	return status
}

func outside(builds []Build) (status int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root: it makes namespaces, mounts and loop devices")
	}
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp"
	}
	sweep(parent)
	directory, err := os.MkdirTemp(parent, directoryPrefix)
	if err != nil {
		return 1, fmt.Errorf("directory: %w", err)
	}
	lock, err := lockDirectory(directory)
	if err != nil {
		return 1, err
	}
	defer lock.Close() // the process ends here
	done, err := startJanitor(directory, lock)
	if err != nil {
		return 1, errors.Join(err, os.RemoveAll(directory))
	}
	if err = buildPrograms(directory, builds); err == nil {
		status, err = runInit(directory)
	}
	return status, errors.Join(err, done())
}

// runInit starts process 1 of the namespaces and waits for it. The first signal that
// asks us to end kills it, and the kernel everything below it.
func runInit(directory string) (int, error) {
	// The death signal of a child follows the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)

	process, err := startSelf("init", directory, []*os.File{os.Stdin, os.Stdout, os.Stderr}, &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET,
	})
	if err != nil {
		return 1, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-signals:
			_ = process.Kill() // the only error is that it has ended
		case <-ended:
		}
	}()
	state, err := process.Wait()
	if err != nil {
		return 1, fmt.Errorf("wait: %w", err)
	}
	if !state.Exited() {
		return 1, fmt.Errorf("interrupted (%v)", state)
	}
	return state.ExitCode(), nil
}

// startSelf starts this program again in another role, with the same arguments.
func startSelf(role, directory string, files []*os.File, attributes *syscall.SysProcAttr) (*os.Process, error) {
	environment := []string{roleVariable + "=" + role, directoryVariable + "=" + directory}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, roleVariable+"=") && !strings.HasPrefix(variable, directoryVariable+"=") {
			environment = append(environment, variable)
		}
	}
	process, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: environment, Files: files, Sys: attributes})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return process, nil
}
