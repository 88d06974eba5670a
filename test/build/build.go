// Package build compiles programs of this checkout for tests, so that none ever runs
// against a stale one.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"one-clvm/internal/run"
)

// Repository is the root of the checkout that the working directory is in.
func Repository() (string, error) {
	directory, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	for ; directory != "/"; directory = filepath.Dir(directory) {
		if _, err := os.Stat(filepath.Join(directory, "go.mod")); err == nil {
			return directory, nil
		}
	}
	return "", errors.New("not inside a checkout: no go.mod above the working directory")
}

// Program compiles a package of the checkout ("./cmd/tm-clvm") into a static program.
// More arguments go to the compiler.
func Program(ctx context.Context, target, name string, arguments ...string) error {
	return compile(ctx, "build", target, name, arguments)
}

// TestProgram compiles the tests of a package of the checkout into a static program.
func TestProgram(ctx context.Context, target, name string, arguments ...string) error {
	return compile(ctx, "test", target, name, append([]string{"-c"}, arguments...))
}

func compile(ctx context.Context, command, target, name string, arguments []string) error {
	root, err := Repository()
	if err != nil {
		return err
	}
	compiler, err := findGo()
	if err != nil {
		return err
	}
	argv := append([]string{command, "-trimpath", "-o", target}, arguments...)
	if command == "build" {
		argv = append(argv, "-buildvcs=false")
	}
	_, err = run.Exec{}.Run(ctx, run.Cmd{Path: compiler, Args: append(argv, name), Dir: root, Env: append(os.Environ(), "CGO_ENABLED=0")})
	if err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	return nil
}

// findGo looks the compiler up in the caller's own PATH, where the Makefile found it.
func findGo() (string, error) {
	for _, directory := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(directory, "go")
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errors.New("no go in PATH")
}

// Packages makes those of a checkout, which may be another one, in a directory: for amd64, of programs
// without symbols.
func Packages(ctx context.Context, checkout, directory, version string, formats ...string) error {
	nfpm, err := Nfpm()
	if err != nil {
		return err
	}
	compiler, err := findGo()
	if err != nil {
		return err
	}
	programs := filepath.Join(directory, "programs/amd64")
	for _, args := range [][]string{
		{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", programs + "/", "./cmd/..."},
		{"run", "-buildvcs=false", "./packaging", "--version", "v" + version, "--date", "2026-11-21T00:00:00Z", "--arch", "amd64", "--format", strings.Join(formats, ","),
			"--nfpm", nfpm, "--programs", filepath.Dir(programs), "--host-programs", programs, "--out", directory, "package"},
	} {
		_, err := run.Exec{}.Run(ctx, run.Cmd{Path: compiler, Args: args, Dir: checkout, Env: append(os.Environ(), "CGO_ENABLED=0")})
		if err != nil {
			return fmt.Errorf("packages of %s: %w", checkout, err)
		}
	}
	return nil
}

var nfpmVersion = regexp.MustCompile(`(?m)^NFPM_VERSION := (\S+)$`)

// Nfpm is the one that the Makefile pins and builds.
func Nfpm() (string, error) {
	root, err := Repository()
	if err != nil {
		return "", err
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return "", err
	}
	version := nfpmVersion.FindSubmatch(makefile)
	if version == nil {
		return "", errors.New("the Makefile does not say which nfpm")
	}
	path := filepath.Join(root, ".cache/bin/nfpm-"+string(version[1]))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w; run: make package, once", err)
	}
	return path, nil
}
