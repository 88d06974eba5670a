package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"one-clvm/internal/publish"
)

// install puts the files of packages below a directory, without a package manager. remotes
// is where this OpenNebula has the drivers' scripts. Configuration that is there is kept,
// and the new one laid beside it.
func install(files []Entry, destination, remotes string, out io.Writer) error {
	for _, f := range files {
		target := f.Target
		if below, is := strings.CutPrefix(target, Remotes+"/"); is {
			target = filepath.Join(remotes, below)
		}
		target = filepath.Join(destination, target)
		if f.Kind == Config && exists(target) {
			target += ".new"
			fmt.Fprintf(out, "kept %s; the new one is %s\n", strings.TrimSuffix(target, ".new"), target)
		}
		if err := installOne(f, target); err != nil {
			return fmt.Errorf("install %s: %w", target, err)
		}
	}
	return nil
}

func installOne(f Entry, target string) error {
	if f.Kind == Directory {
		return os.MkdirAll(target, f.Mode)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if f.Kind == Link {
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Symlink(f.Source, target)
	}
	content, err := os.ReadFile(f.Source)
	if err != nil {
		return err
	}
	// Whole or not at all: programs that run, and rules that are read, change at once.
	file, err := publish.Create(target)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(f.Mode), file.Flush()); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Publish()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
