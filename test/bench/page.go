package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	command "one-clvm/internal/run"
	"one-clvm/test/bench/results"
	"one-clvm/test/build"
)

const plot = "benchmarks.svg"

// kernelSeries is what of a kernel's release others have, too.
var kernelSeries = regexp.MustCompile(`^\d+\.\d+`)

// page writes the page and its picture of a run's log; the result is an exit status. The log
// of a part of the measurements leaves them as they are.
func page(log, directory string) int {
	err := writePage(log, directory)
	switch {
	case errors.Is(err, results.ErrNone):
		fmt.Printf("bench: %v: %s stays as it is\n", err, filepath.Join(directory, "benchmarks.md"))
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench: page:", err)
		return 1
	}
	return 0
}

func writePage(log, directory string) error {
	file, err := os.Open(log)
	if err != nil {
		return err
	}
	defer file.Close() // only read
	found, err := results.Read(file)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(directory, plot), []byte(found.SVG()), 0o644),
		os.WriteFile(filepath.Join(directory, "benchmarks.md"), []byte(found.Markdown(plot)), 0o644),
	)
}

// describe fills in where and of what the results are.
func describe(r *results.Results) error {
	var info unix.Sysinfo_t
	var system unix.Utsname
	if err := errors.Join(unix.Sysinfo(&info), unix.Uname(&system)); err != nil {
		return err
	}
	processor, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return err
	}
	defer processor.Close() // only read
	for lines := bufio.NewScanner(processor); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(name) {
		case "model name":
			r.Machine.Processor = strings.TrimSpace(value)
		case "flags":
			r.Machine.Emulated = strings.Contains(value+" ", " hypervisor ")
		}
	}
	r.Machine.Cores, r.Machine.Memory = runtime.NumCPU(), int64(info.Totalram)*int64(info.Unit)
	r.Machine.Kernel = kernelSeries.FindString(unix.ByteSliceToString(system.Release[:]))
	r.Date, r.Version = time.Now().UTC().Format(time.DateOnly), version()
	return nil
}

// version is what the program under test says of itself; "" if it does not run.
func version() string {
	root, err := build.Repository()
	if err != nil {
		return ""
	}
	out, err := command.Exec{}.Run(context.Background(), command.Cmd{Path: filepath.Join(root, "bin/tm-clvm"), Args: []string{"--version"}})
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out.Stdout))
}
