package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/test/build"
)

// coverVariable names a directory: programs are then built to count what they execute,
// and the counts are put there. For "make cover".
const coverVariable = "ONE_CLVM_COVERDIR"

// covered are the packages that are counted. The program itself must be among them, or
// nothing writes the counts.
const covered = "./cmd/...,./lvm/...,./tarmode/...,./cxmrc/...,./agent/...,./tm/..."

// Build is a way to build the program under test.
type Build string

// The builds.
const (
	// Plain is the program as it is shipped.
	Plain Build = "plain"
	// Failpoints is the program that can be stopped at every step (internal/failpoint).
	Failpoints Build = "failpoint"
	// Hook and HookCommands are the two programs of one-migrate-hook. Start does not install
	// them.
	Hook                   Build = "hook"
	HookFailpoints         Build = "hook-failpoint"
	HookCommands           Build = "hook-commands"
	HookCommandsFailpoints Build = "hook-commands-failpoint"
	// Nothing is a program that ends at once: what starting a process costs.
	Nothing Build = "nothing"
	// OldKernel is Plain with the system calls of Linux 3.10, the oldest that is supported.
	OldKernel Build = "old-kernel"
	// VMM is vmm-rhcs, VMMFailpoints the same that can be stopped; Virsh is a libvirt for it.
	// See Options.VMM.
	VMM           Build = "vmm"
	VMMFailpoints Build = "vmm-failpoint"
	Virsh         Build = "virsh"
)

// sources are the packages of the programs that are not tm-clvm.
var sources = map[Build]string{
	Hook: "./cmd/one-migrate-hook", HookCommands: "./cmd/one-migrate-hook-commands", Nothing: "./test/nothing", OldKernel: "./test/oldkernel",
	VMM: "./cmd/vmm-rhcs", Virsh: "./test/virsh",
}

// Path of the program inside. (The directory's own path means something else there.)
func (b Build) Path() string { return filepath.Join(Scratch, programs, string(b)) }

// source is the program's package and how it is compiled.
func (b Build) source() (program string, arguments []string) {
	plain := Build(strings.TrimSuffix(string(b), "-"+string(Failpoints)))
	program = cmp.Or(sources[plain], "./cmd/tm-clvm")
	if strings.HasSuffix(string(b), string(Failpoints)) {
		arguments = []string{"-tags", string(Failpoints)}
	}
	return program, arguments
}

const programs = "programs"

// buildPrograms compiles the program under test from this checkout, so that a test never
// runs against a stale one.
func buildPrograms(directory string, builds []Build) error {
	if len(builds) == 0 {
		return nil
	}
	target := filepath.Join(directory, scratchName, programs)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("programs: %w", err)
	}
	for _, b := range builds {
		program, arguments := b.source()
		if os.Getenv(coverVariable) != "" {
			arguments = append(arguments, "-cover", "-coverpkg", covered)
		}
		if err := build.Program(context.Background(), filepath.Join(target, string(b)), program, arguments...); err != nil {
			return err
		}
	}
	return nil
}

// coverage is where processes put their counts. Every user may write there, and rename
// over the others' files: no sticky bit.
const coverage = Scratch + "/coverage"

// keepCoverage copies the counts to where the user wants them.
func keepCoverage() error {
	target := os.Getenv(coverVariable)
	if target == "" {
		return nil
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	files, err := os.ReadDir(coverage)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no machine was started
	}
	if err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(coverage, f.Name()))
		if err == nil && strings.HasPrefix(f.Name(), "cov") {
			err = os.WriteFile(filepath.Join(target, f.Name()), data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("coverage: %w", err)
		}
	}
	return nil
}
