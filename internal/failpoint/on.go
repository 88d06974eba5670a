//go:build failpoint

// Package failpoint names the instants after which a crash must leave nothing that
// matters. In a build with the tag failpoint, tests stop the process at one of them, or
// have all of them listed; in every other build nothing here costs anything.
//
// The tests and the processes talk by files in the directory that ONE_CLVM_FAILPOINTS
// names:
//
//	stop      the name of an instant, a space, and how many times it is still passed: the
//	          process that comes there after that stops
//	reached   made by that process: its pid. It goes on when this file is removed
//	trace     if it is there, a line is added for each instant and each change
package failpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

var directory = os.Getenv("ONE_CLVM_FAILPOINTS")

// Environment is what a program that runs under another one must find in its own.
func Environment() []string {
	if directory == "" {
		return nil
	}
	return []string{"ONE_CLVM_FAILPOINTS=" + directory}
}

// Hit marks an instant.
func Hit(name string) {
	if directory == "" {
		return
	}
	trace("hit", name)
	if !stopsAt(name) {
		return
	}
	reached := filepath.Join(directory, "reached")
	must(os.WriteFile(reached+".new", fmt.Appendf(nil, "%d", os.Getpid()), 0o666))
	must(os.Rename(reached+".new", reached))
	awaitRemoval(reached)
}

// awaitRemoval watches before it looks, so that no removal is missed.
func awaitRemoval(path string) {
	watch, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	must(err)
	defer syscall.Close(watch) // only read
	_, err = syscall.InotifyAddWatch(watch, filepath.Dir(path), syscall.IN_DELETE|syscall.IN_MOVED_FROM)
	must(err)
	events := make([]byte, 4096)
	for exists(path) {
		if _, err := syscall.Read(watch, events); err != nil && !errors.Is(err, syscall.EINTR) {
			must(err)
		}
	}
}

// stopsAt says whether it is this process that is to stop, and counts. The lock lets
// processes that run at once count one after the other.
func stopsAt(name string) bool {
	f, err := os.OpenFile(filepath.Join(directory, "stop"), os.O_RDWR, 0)
	if err != nil {
		return false // none is
	}
	defer f.Close()
	must(syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	text, err := io.ReadAll(f)
	must(err)
	wanted, count, _ := strings.Cut(string(text), " ")
	if wanted != name {
		return false // or it has been reached
	}
	left := 0
	_, err = fmt.Sscan(count, &left)
	must(err)
	must(f.Truncate(0))
	if left == 0 {
		return true
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%s %d", name, left-1), 0)
	must(err)
	return false
}

// Change tells that a state that outlives the process was changed, or is about to be:
// between any two of these there is a Hit.
func Change(what string, object ...string) {
	if directory != "" {
		trace("change", strings.Join(append([]string{what}, object...), " "))
	}
}

// trace adds a line, by one call of the kernel: processes do not mix theirs.
func trace(kind, text string) {
	f, err := os.OpenFile(filepath.Join(directory, "trace"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return // nobody wants it
	}
	_, err = fmt.Fprintf(f, "%d %s %s\n", os.Getpid(), kind, text)
	must(errors.Join(err, f.Close()))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// must stops a test that cannot be trusted.
func must(err error) {
	if err != nil {
		panic("failpoint: " + err.Error())
	}
}
