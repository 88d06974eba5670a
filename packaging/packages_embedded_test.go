//go:build embedded

package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
	"one-clvm/test/build"
	"one-clvm/test/testbed"
)

// programs are those of this checkout. The packages are installed in the testbed's
// namespaces, whose overlays keep the machine as it is.
var programs = map[string]testbed.Build{
	"tm-clvm": testbed.Plain, "vmm-rhcs": testbed.VMM, "one-migrate-hook": testbed.Hook, "one-migrate-hook-commands": testbed.HookCommands,
}

func TestMain(m *testing.M) {
	if testbed.Outside() { // where the compiler's cache is
		if err := makePrevious(); err != nil {
			fmt.Fprintln(os.Stderr, "packages of the commit before:", err)
			os.Exit(1)
		}
	}
	testbed.Main(func() int {
		if err := likeANode(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}, testbed.Plain, testbed.VMM, testbed.Hook, testbed.HookCommands, testbed.Nothing)
}

// likeANode makes of the testbed a machine on which nothing of the suite is, and on which
// packages of OpenNebula and Pacemaker have made their accounts.
func likeANode() error {
	for _, dir := range []string{testbed.Home, "/var/lib/one-clvm"} { // mounts of the testbed
		if err := errors.Join(unix.Unmount(dir, 0), os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	for file, lines := range map[string]string{
		"/etc/passwd": "oneadmin:x:9869:9869::/var/lib/one:/bin/bash\n", "/etc/group": "oneadmin:x:9869:\nhaclient:x:189:\n",
	} {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(lines)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// output of a program that must succeed.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	result, err := run.Exec{}.Run(t.Context(), run.Cmd{Path: program, Args: args, Env: []string{"DEBIAN_FRONTEND=noninteractive"}})
	require.NoError(t, err, "%s", result.Stdout)
	return string(result.Stdout) + string(result.Stderr)
}

// sources copies what packages are made of.
func sources(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"remotes", "sudoers.d", "udev", "polkit", "ocf", "libvirt", "hook/systemd", "hook/entrances", "cxmrc", "docs", "packaging", "README.md", "CHANGELOG.md", "LICENSE"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755))
		output(t, "cp", "-r", "--", filepath.Join("..", name), filepath.Join(to, name))
	}
	return to
}

// made are the packages of a release, for amd64.
type made struct{ directory, version string }

// pack makes packages with these programs.
func pack(t *testing.T, version, repository string, binaries map[string]testbed.Build) made {
	t.Helper()
	directory := t.TempDir()
	for name := range programs {
		for sub, program := range map[string]testbed.Build{"host": programs[name], "programs/amd64": binaries[name]} {
			require.NoError(t, os.MkdirAll(filepath.Join(directory, sub), 0o755))
			require.NoError(t, os.Symlink(program.Path(), filepath.Join(directory, sub, name)))
		}
	}
	r := Release{
		Version: version, Time: time.Date(2026, 11, 21, 18, 22, 56, 0, time.UTC), Repository: repository,
		Programs: filepath.Join(directory, "programs"), Host: filepath.Join(directory, "host"),
	}
	nfpm, err := build.Nfpm()
	require.NoError(t, err)
	o := options{nfpm: nfpm, out: filepath.Join(directory, "dist"), architectures: []string{"amd64"}, formats: []string{"deb", "rpm"}}
	require.NoError(t, o.packages(t.Context(), r, io.Discard))
	return made{o.out, version}
}

func (m made) deb(p Package) string {
	arch := map[bool]string{true: "amd64", false: "all"}[p == Common]
	return filepath.Join(m.directory, string(p)+"_"+m.version+"_"+arch+".deb")
}

func (m made) rpm(p Package) string {
	arch := map[bool]string{true: "x86_64", false: "noarch"}[p == Common]
	return filepath.Join(m.directory, string(p)+"-"+m.version+"-1."+arch+".rpm")
}

func (m made) all(file func(Package) string) []string {
	var files []string
	for _, p := range Packages {
		files = append(files, file(p))
	}
	return files
}

// everything that packages could leave on this machine, or change: what there is at each path.
// Records of package managers and of udev (usable asks it) are left out.
func everything(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, root := range []string{"/etc", "/usr", "/run", "/var"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if slices.Contains([]string{"/var/lib/dpkg", "/var/log/dpkg.log", "/var/tmp", "/run/udev", testbed.Scratch, "/usr/local"}, path) {
				if entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			st, err := entry.Info()
			if err == nil {
				all[path], err = described(path, st)
			}
			return err
		}))
	}
	return all
}

// described is a file's kind, mode, owner and content. What is large, and programs and data of
// the distribution, have their size and time for a content.
func described(path string, st fs.FileInfo) (string, error) {
	owner := st.Sys().(*syscall.Stat_t) //nolint:errcheck // what Linux gives
	text := fmt.Sprintf("%s %d:%d", st.Mode(), owner.Uid, owner.Gid)
	switch {
	case st.Mode().Type() == fs.ModeSymlink:
		to, err := os.Readlink(path)
		return text + " -> " + to, err
	case !st.Mode().IsRegular():
		return text, nil
	case strings.HasPrefix(path, "/usr/") || st.Size() > 1<<20:
		return fmt.Sprintf("%s %d %s", text, st.Size(), st.ModTime()), nil
	}
	content, err := os.ReadFile(path)
	return fmt.Sprintf("%s %x", text, sha256.Sum256(content)), err
}

// changed are the paths at which there is something else now, or something, or nothing any more.
func changed(t *testing.T, before map[string]string) []string {
	t.Helper()
	var all []string
	now := everything(t)
	for path, what := range now {
		if before[path] != what {
			all = append(all, path)
		}
	}
	for path := range before {
		if _, still := now[path]; !still {
			all = append(all, path)
		}
	}
	slices.Sort(all)
	return all
}

const (
	agentConf = "/etc/one-clvm/agent.conf"
	mine      = "ALLOWED_VGS=\"vg-mine\"\n"
)

// packNothing makes packages of a copy of the sources, and of programs that do nothing and are quickly packed.
func packNothing(t *testing.T) made {
	t.Helper()
	return pack(t, "1.0.0", sources(t), nothing)
}

var nothing = map[string]testbed.Build{
	"tm-clvm": testbed.Nothing, "vmm-rhcs": testbed.Nothing, "one-migrate-hook": testbed.Nothing, "one-migrate-hook-commands": testbed.Nothing,
}

// current are the packages of this checkout, made once.
func current(t *testing.T) made {
	t.Helper()
	if packed == nil {
		repository, err := filepath.Abs("..")
		require.NoError(t, err)
		m := pack(t, "1.1.0", repository, programs)
		kept := filepath.Join(testbed.Scratch, "packages") // longer than a test's directory
		require.NoError(t, os.Rename(m.directory, kept))
		packed = &made{kept, m.version}
	}
	return *packed
}

var packed *made

func textOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// isNew: configuration that nobody has changed is that of the new release, with nothing
// chosen by anybody but the administrator.
func isNew(t *testing.T, path, example string) {
	t.Helper()
	got := textOf(t, path)
	assert.NotRegexp(t, `(?m)^[A-Z]`, got)
	assert.Equal(t, strings.ReplaceAll(textOf(t, example), "\n#", "\n"), strings.ReplaceAll(got, "\n#", "\n"))
}

// usable: what is installed does what it is installed for.
func usable(t *testing.T) {
	t.Helper()
	output(t, "visudo", "-c")
	said := regexp.MustCompile(`.*90-one-clvm.*`).FindAllString(output(t, "udevadm", "--debug", "test", "--action=add", "/devices/virtual/mem/null"), -1)
	assert.Equal(t, []string{"Reading rules file: /usr/lib/udev/rules.d/90-one-clvm.rules"}, said, "udev has no objections")
	for _, program := range []string{"tm-clvm", "vmm-rhcs", "one-migrate-hook"} {
		assert.Contains(t, output(t, program, "--version"), program)
	}
	assert.Contains(t, output(t, "/usr/lib/ocf/resource.d/one-clvm/VirtualDomain", "meta-data"), "<resource-agent")
	assert.Contains(t, output(t, Remotes+"/tm/clvm/clone", "--help"), "clone")
	for _, manual := range people {
		assert.Empty(t, output(t, "mandoc", "-T", "lint", "-W", "error", "/usr/share/man/man1/"+manual+".1.gz"))
	}
	st, err := os.Stat("/var/spool/one-clvm")
	require.NoError(t, err)
	assert.Equal(t, fs.ModeDir|fs.ModeSticky|fs.ModeSetgid|0o770, st.Mode())
}

// enabled are the links by which systemd starts units.
func enabled(t *testing.T) []string {
	t.Helper()
	links, err := filepath.Glob("/etc/systemd/system/*.wants/one-migrate-hook*")
	require.NoError(t, err)
	return links
}

func enableUnits(t *testing.T) {
	t.Helper()
	output(t, "systemctl", "enable", "one-migrate-hook-deliver.path", "one-migrate-hook-deliver.timer", "one-migrate-hook-reconcile.timer")
	require.Len(t, enabled(t), 3)
}

func TestDpkg(t *testing.T) {
	old, now := previous(t), current(t)
	// Some of what the packages depend on is not on the machine of a test, and other packages need
	// not make their indexes anew.
	dpkg := func(args ...string) {
		output(t, "dpkg", append([]string{"--force-depends", "--force-confdef", "--force-confold", "--no-triggers"}, args...)...)
	}
	before := everything(t)
	dpkg(append([]string{"-i"}, old.all(old.deb)...)...)
	assert.FileExists(t, Remotes+"/tm/clvm/former")
	enableUnits(t)
	require.NoError(t, os.WriteFile(agentConf, []byte(mine), 0o644))
	require.NoError(t, os.WriteFile("/var/spool/one-clvm/event", nil, 0o600))

	dpkg(append([]string{"-i"}, now.all(now.deb)...)...)
	usable(t)
	assert.Equal(t, mine, textOf(t, agentConf), "the administrator's stays")
	isNew(t, Remotes+"/etc/tm/clvm/cxmrc", "../cxmrc/cxmrc.example")
	assert.NoFileExists(t, Remotes+"/tm/clvm/former")
	assert.Len(t, enabled(t), 3, "an upgrade stops nothing")
	assert.FileExists(t, "/var/spool/one-clvm/event")

	dpkg("-r", string(FrontEnd), string(Node), string(Common))
	for _, path := range changed(t, before) {
		assert.False(t, regexp.MustCompile("sudoers|rules|pkla|systemd|hooks|resource.d|libexec|bin/").MatchString(path), "%s stays after a removal", path)
	}
	assert.Equal(t, mine, textOf(t, agentConf), "only a purge removes configuration")

	dpkg("-P", string(FrontEnd), string(Node), string(Common))
	assert.Empty(t, changed(t, before), "left by the packages, or changed")
}

func TestRpm(t *testing.T) {
	old, now := previous(t), current(t)
	rpm := func(args ...string) {
		output(t, "rpm", append([]string{"--force-debian", "--nodeps", "--dbpath", testbed.Scratch + "/rpm"}, args...)...)
	}
	// What packages of the distribution and OpenNebula's have, on a machine that has rpm.
	for _, dir := range []string{
		"/usr/libexec", "/usr/share/licenses", "/usr/share/selinux/packages", "/usr/share/polkit-1/rules.d", "/usr/share/zsh/site-functions", "/usr/share/bash-completion/completions",
		"/usr/share/fish/vendor_completions.d", Remotes + "/tm", Remotes + "/datastore", Remotes + "/vmm", Remotes + "/im", Remotes + "/etc/tm",
	} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	before := everything(t)
	rpm(append([]string{"-i"}, old.all(old.rpm)...)...)
	enableUnits(t)
	require.NoError(t, os.WriteFile(agentConf, []byte(mine), 0o644))

	rpm(append([]string{"-U"}, now.all(now.rpm)...)...)
	usable(t)
	assert.Equal(t, mine, textOf(t, agentConf), "the administrator's stays")
	isNew(t, agentConf+".rpmnew", "../cxmrc/agent.conf.example")
	isNew(t, Remotes+"/etc/tm/clvm/cxmrc", "../cxmrc/cxmrc.example")
	assert.NoFileExists(t, Remotes+"/tm/clvm/former")
	assert.Len(t, enabled(t), 3, "an upgrade stops nothing")
	require.NoError(t, os.Rename(agentConf+".rpmnew", agentConf))

	rpm("-e", string(FrontEnd), string(Node), string(Common))
	assert.Empty(t, changed(t, before), "left by the packages, or changed")
}

// The same sources make the same bytes, whatever the files' times are and wherever they lie.
func TestReproducible(t *testing.T) {
	one, two := packNothing(t), packNothing(t)
	files, err := os.ReadDir(one.directory)
	require.NoError(t, err)
	require.Len(t, files, 7, "three packages in two formats, and their SBOM")
	for _, file := range files {
		// Not Equal: it would print megabytes.
		assert.True(t, textOf(t, filepath.Join(one.directory, file.Name())) == textOf(t, filepath.Join(two.directory, file.Name())), "%s differs", file.Name())
	}
}

func TestBillOfMaterials(t *testing.T) {
	var b bill
	require.NoError(t, json.Unmarshal([]byte(textOf(t, filepath.Join(current(t).directory, "one-clvm_1.1.0_amd64.cdx.json"))), &b))
	var names []string
	for _, c := range b.Components {
		names = append(names, c.Name)
		assert.NotEmpty(t, c.Version, c.Name)
	}
	assert.Subset(t, names, []string{"tm-clvm", "vmm-rhcs", "one-migrate-hook", "one-migrate-hook-commands", "stdlib", "github.com/spf13/pflag", "github.com/beevik/etree", "golang.org/x/sys"})
	assert.NotContains(t, names, "github.com/stretchr/testify", "only tests need it")
	assert.Len(t, b.Dependencies, 4)
}

// dpkg and rpm order versions as commits are ordered.
func TestVersionsAreOrdered(t *testing.T) {
	first := time.Date(2026, 11, 21, 18, 22, 56, 0, time.UTC)
	ordered := []string{
		packageVersion("fffffff", first), packageVersion("abcdef0", first.Add(time.Second)),
		packageVersion("v0.9.0", first), packageVersion("v0.9.0-9-gfffffff", first), packageVersion("v0.9.0-10-gabcdef0", first), packageVersion("v0.10.0", first),
	}
	for i := 1; i < len(ordered); i++ {
		output(t, "dpkg", "--compare-versions", ordered[i-1], "lt", ordered[i])
		assert.Equal(t, "-1\n", output(t, "rpm", "--eval", `%{lua:print(rpm.vercmp("`+ordered[i-1]+`","`+ordered[i]+`"))}`))
	}
}

// Both judges of packages are content, or it is written down why not. The last test: the names
// in rpms of nfpm are absolute, so that rpmlint unpacks them over what is installed.
func TestJudges(t *testing.T) {
	now := current(t)
	// The programs of tests are not stripped, those of make package are.
	assert.Empty(t, output(t, "lintian", append([]string{"--allow-root", "--suppress-tags", "unstripped-binary-or-object"}, now.all(now.deb)...)...))
	said := output(t, "rpmlint", append([]string{"-c", "rpmlint.toml"}, now.all(now.rpm)...)...)
	assert.NotRegexp(t, `: [EW]: `, said)
	assert.Contains(t, said, "3 packages and 0 specfiles checked; 0 errors, 0 warnings")
}
