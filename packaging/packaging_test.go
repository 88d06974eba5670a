package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPackageVersion(t *testing.T) {
	commit := time.Date(2026, 11, 21, 18, 22, 56, 0, time.FixedZone("", 3600))
	for described, want := range map[string]string{
		"v1.2.0": "1.2.0", "v1.2.0-5-gabcdef0": "1.2.0+5.gabcdef0", "abcdef0": "0~20261121.172256.gabcdef0",
	} {
		assert.Equal(t, want, packageVersion(described, commit), described)
	}
}

// here is the repository, without what is made of it.
var here = tree{repository: "..", made: "/nonexistent"}

// Every file that is installed as it lies in the repository is in the list.
func TestNothingIsForgotten(t *testing.T) {
	packed := map[string]Package{}
	for _, e := range Contents {
		if e.Kind == Link || e.Kind == Directory || strings.HasPrefix(e.Source, "made/") {
			continue
		}
		files, err := here.files(e)
		require.NoError(t, err)
		for _, f := range files {
			if e.Package != packed[f.Source] && !strings.HasSuffix(f.Source, "LICENSE") && !strings.HasSuffix(f.Source, "CHANGELOG.md") {
				assert.Empty(t, packed[f.Source], "%s is in two packages", f.Source)
			}
			packed[f.Source] = e.Package
		}
	}
	for _, root := range []string{"remotes", "sudoers.d", "udev", "polkit", "ocf", "libvirt", "hook/systemd", "hook/entrances", "packaging/selinux", "packaging/lintian"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("..", root), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && filepath.Ext(path) != ".go" {
				assert.Contains(t, packed, path, "not in any package: add it to contents.go")
			}
			return err
		}))
	}
	found, err := filepath.Glob("scripts/*")
	require.NoError(t, err)
	for _, script := range found {
		name, moment, _ := strings.Cut(filepath.Base(script), ".")
		assert.Contains(t, Packages, Package(name))
		assert.Contains(t, scripts, moment, "no package manager calls it then")
	}
}

// What a timer of systemd starts, cron starts where there is none.
func TestCronStartsWhatTimersDo(t *testing.T) {
	read := func(pattern string) string {
		files, err := filepath.Glob(filepath.Join("../hook/systemd", pattern))
		require.NoError(t, err)
		var all strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			all.Write(text)
		}
		return all.String()
	}
	commands := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindAllStringSubmatch(read("*.service"), -1)
	require.Len(t, commands, 2)
	for _, c := range commands {
		assert.Regexp(t, `(?m)^[*/0-9]+ \* \* \* \* (root|oneadmin) `+regexp.QuoteMeta(c[1])+`( |$)`, read("*.cron"))
	}
}

// What is installed twice, or removed with the wrong package, nobody sees in a list.
func TestTargets(t *testing.T) {
	for _, format := range []string{"deb", "rpm"} {
		owner := map[string]Package{}
		for _, e := range Contents {
			if e.Format != "" && e.Format != format {
				continue
			}
			assert.True(t, filepath.IsAbs(e.Target), e.Target)
			if !strings.HasSuffix(e.Target, "/") {
				assert.Empty(t, owner[e.Target], "%s is in two packages", e.Target)
				owner[e.Target] = e.Package
			}
			if e.Kind == Plain || e.Kind == Config {
				assert.NotZero(t, e.Mode, e.Target)
			}
			access := strings.HasPrefix(e.Target, "/etc/sudoers.d/") || strings.Contains(e.Target, "/rules.d/") || strings.Contains(e.Target, "/hooks/")
			assert.False(t, access && e.Kind == Config, "%s would stay when its package goes", e.Target)
		}
	}
}

func TestInstallKeepsConfiguration(t *testing.T) {
	source, root := t.TempDir(), t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(source, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	files := []Entry{
		{Target: "/etc/x", Kind: Directory, Mode: 0o755},
		{Source: file("conf", "shipped"), Target: "/etc/x/conf", Kind: Config, Mode: 0o644},
		{Source: file("verb", "one"), Target: Remotes + "/tm/clvm/clone", Mode: 0o755},
		{Source: "../x", Target: "/usr/bin/x", Kind: Link},
	}
	var out bytes.Buffer
	require.NoError(t, install(files, root, "/srv/one/var/remotes", &out))
	assert.Empty(t, out.String())
	conf, verb := filepath.Join(root, "etc/x/conf"), filepath.Join(root, "srv/one/var/remotes/tm/clvm/clone")
	require.NoError(t, os.WriteFile(conf, []byte("mine"), 0o644))
	file("verb", "two")

	require.NoError(t, install(files, root, "/srv/one/var/remotes", &out))
	assert.Equal(t, "kept "+conf+"; the new one is "+conf+".new\n", out.String())
	for path, want := range map[string]string{conf: "mine", conf + ".new": "shipped", verb: "two"} {
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, string(got), path)
	}
	st, err := os.Stat(verb)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), st.Mode())
	link, err := os.Readlink(filepath.Join(root, "usr/bin/x"))
	require.NoError(t, err)
	assert.Equal(t, "../x", link)
	left, err := filepath.Glob(filepath.Join(root, "srv/one/var/remotes/tm/clvm/*"))
	require.NoError(t, err)
	assert.Equal(t, []string{verb}, left)

	require.NoError(t, os.WriteFile(filepath.Join(root, "usr/file"), nil, 0o644))
	assert.ErrorContains(t, install([]Entry{{Source: files[2].Source, Target: "/usr/file/x"}}, root, "", &out), "install "+filepath.Join(root, "usr/file/x"))
}

func TestWrongCalls(t *testing.T) {
	t.Chdir("..")
	for _, c := range []struct {
		argv []string
		want string
	}{
		{nil, "which command"},
		{[]string{"--date", "2026-11-21T18:22:56Z", "build"}, `no command "build"`},
		{[]string{"--date", "today", "install"}, "--date"},
		{[]string{"--date", "2026-11-21T18:22:56Z", "install", "all"}, `not "all"`},
		{[]string{"--date", "2026-11-21T18:22:56Z", "--host-programs", t.TempDir(), "--destdir", t.TempDir(), "install"}, "run make build"},
	} {
		assert.ErrorContains(t, packaging(t.Context(), c.argv, os.Stdout), c.want)
	}
	t.Chdir("packaging")
	assert.ErrorContains(t, packaging(t.Context(), []string{"install"}, os.Stdout), "root of the repository")
}
