//go:build embedded

package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ofSources is a release of these sources, with programs that are named only.
func ofSources(t *testing.T, repository string) Release {
	t.Helper()
	directory := t.TempDir()
	for name, program := range programs {
		require.NoError(t, os.Symlink(program.Path(), filepath.Join(directory, name)))
	}
	return Release{Version: "1.0.0", Time: time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC), Repository: repository, Host: directory, Programs: directory}
}

// What would lock an administrator out, or never start, is neither packed nor installed.
func TestBrokenFilesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(path string) error
		path    string
		want    string
	}{
		"rule of sudo": {appending("oneadmin ALL = (root NOPASSWD: ALL\n"), "sudoers.d/one-clvm-vmm", "rule of sudo"},
		"unit":         {appending("[Service]\nExecStrat=/bin/true\n"), "hook/systemd/one-migrate-hook-deliver.service", "units"},
		"missing file": {os.Remove, "ocf/VirtualDomain", "there is no"},
	} {
		t.Run(name, func(t *testing.T) {
			repository := sources(t)
			require.NoError(t, c.breakIt(filepath.Join(repository, c.path)))
			r := ofSources(t, repository)
			to := t.TempDir()
			err := options{destination: to, layout: "deb"}.install(t.Context(), r, nil, io.Discard)
			require.ErrorContains(t, err, "not installed")
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, below(t, to))
			err = options{out: to, architectures: []string{""}, formats: []string{"deb"}}.packages(t.Context(), r, io.Discard)
			require.ErrorContains(t, err, "not packed")
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, below(t, to))
		})
	}
}

func appending(text string) func(path string) error {
	return func(path string) error {
		old, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, append(old, text...), 0o644)
		}
		return err
	}
}

// An installation without packages is what the list says, in each layout.
func TestInstallIsTheList(t *testing.T) {
	repository, err := filepath.Abs("..")
	require.NoError(t, err)
	r := ofSources(t, repository)
	for _, layout := range []string{"deb", "rpm"} {
		for _, location := range []string{"", "/srv/one"} {
			to := t.TempDir()
			var out bytes.Buffer
			require.NoError(t, options{destination: to, layout: layout, location: location}.install(t.Context(), r, nil, &out))
			assert.NotContains(t, out.String(), "kept")
			staged, err := r.stage(t.Context(), t.TempDir(), layout)
			require.NoError(t, err)
			files, err := staged.expand(layout, Packages...)
			require.NoError(t, err)
			var want []string
			for _, f := range files {
				if script, is := strings.CutPrefix(f.Target, Remotes); is && location != "" {
					f.Target = location + "/var/remotes" + script
				}
				if f.Kind != Directory {
					want = append(want, f.Target)
				}
			}
			slices.Sort(want)
			assert.Equal(t, want, below(t, to), "%s %s", layout, location)
			linksLead(t, filepath.Join(to, "usr/share/doc/one-clvm-common"))
		}
	}
}

// linksLead: those of the installed manual lead to what is installed.
func linksLead(t *testing.T, manual string) {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(manual, "docs/*.md"))
	require.NoError(t, err)
	count := 0
	for _, page := range append(pages, filepath.Join(manual, "README.md")) {
		for _, m := range link.FindAllStringSubmatch(textOf(t, page), -1) {
			count++
			assert.FileExists(t, filepath.Join(filepath.Dir(page), m[2]), page)
		}
	}
	assert.Greater(t, count, 70)
}

// below are the files and links below a directory, as seen from it.
func below(t *testing.T, root string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, strings.TrimPrefix(path, root))
		}
		return err
	}))
	slices.Sort(files)
	return files
}
