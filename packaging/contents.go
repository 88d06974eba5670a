package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Package is one of the packages that the suite is installed by.
type Package string

// The packages. What front-ends and nodes share is a package of its own, so that a machine
// can be both.
const (
	Common   Package = "one-clvm-common"
	FrontEnd Package = "one-clvm-frontend"
	Node     Package = "one-clvm-node"
)

// Packages are all of them, in the order in which they can be installed.
var Packages = []Package{Common, FrontEnd, Node}

// Kind says what becomes of a file when its package is upgraded or removed.
type Kind string

// The kinds, in nfpm's words.
const (
	Plain     Kind = ""                 // replaced, and removed
	Config    Kind = "config|noreplace" // the administrator's: kept over an upgrade
	Link      Kind = "symlink"          // the source is where it leads to
	Directory Kind = "dir"
)

// Remotes is where a packaged OpenNebula has the drivers' scripts.
const Remotes = "/var/lib/one/remotes"

// Entry is a file, or files, of a package.
type Entry struct {
	Package Package
	// Source is a path in the repository, or below made/ one of what is made of it: a
	// pattern where Target ends with "/".
	Source string
	Target string
	Mode   os.FileMode
	Kind   Kind
	Format string // the format of packages that alone has it; "" all
}

// Contents is what goes where: all packages of both formats, and an installation without.
var Contents = slices.Concat(common, frontEnd, node, documents(Common), documents(FrontEnd), documents(Node))

const (
	units   = "/usr/lib/systemd/system/"
	shared  = "/usr/share/one-clvm/"
	libexec = "/usr/libexec/one-clvm/"
)

var common = []Entry{
	{Common, "made/programs/*", libexec, 0o755, Plain, ""},
	{Common, "../libexec/one-clvm/tm-clvm", "/usr/bin/tm-clvm", 0, Link, ""},
	{Common, "../libexec/one-clvm/vmm-rhcs", "/usr/bin/vmm-rhcs", 0, Link, ""},
	{Common, "../libexec/one-clvm/one-migrate-hook", "/usr/bin/one-migrate-hook", 0, Link, ""},
	{Common, "", "/etc/one-clvm", 0o755, Directory, ""},
	{Common, "cxmrc/hook.conf.example", "/etc/one-clvm/hook.conf", 0o644, Config, ""},
	{Common, "made/man/*.1.gz", "/usr/share/man/man1/", 0o644, Plain, ""},
	{Common, "made/completion/bash/*", "/usr/share/bash-completion/completions/", 0o644, Plain, ""},
	{Common, "made/completion/zsh/*", "/usr/share/zsh/vendor-completions/", 0o644, Plain, "deb"},
	{Common, "made/completion/zsh/*", "/usr/share/zsh/site-functions/", 0o644, Plain, "rpm"},
	{Common, "made/completion/fish/*", "/usr/share/fish/vendor_completions.d/", 0o644, Plain, ""},
	{Common, "made/manual/README.md", "/usr/share/doc/one-clvm-common/README.md", 0o644, Plain, ""},
	{Common, "made/manual/docs/*.md", "/usr/share/doc/one-clvm-common/docs/", 0o644, Plain, ""},
	{Common, "docs/*.svg", "/usr/share/doc/one-clvm-common/docs/", 0o644, Plain, ""},
	{Common, "made/sbom.cdx.json", "/usr/share/doc/one-clvm-common/sbom.cdx.json", 0o644, Plain, ""},
}

var frontEnd = []Entry{
	{FrontEnd, "remotes/tm/clvm/*", Remotes + "/tm/clvm/", 0o755, Plain, ""},
	{FrontEnd, "remotes/datastore/clvm/*", Remotes + "/datastore/clvm/", 0o755, Plain, ""},
	{FrontEnd, "remotes/vmm/rhcs/*", Remotes + "/vmm/rhcs/", 0o755, Plain, ""},
	// The probes of hosts are OpenNebula's own: onehost sync copies what links lead to.
	{FrontEnd, "kvm.d", Remotes + "/im/rhcs.d", 0, Link, ""},
	{FrontEnd, "../kvm-probes.d/host", Remotes + "/im/rhcs-probes.d/host", 0, Link, ""},
	{FrontEnd, "remotes/im/rhcs-probes.d/vm/monitor/*", Remotes + "/im/rhcs-probes.d/vm/monitor/", 0o755, Plain, ""},
	{FrontEnd, "remotes/im/rhcs-probes.d/vm/status/*", Remotes + "/im/rhcs-probes.d/vm/status/", 0o755, Plain, ""},
	// Of OpenNebula up to 5.10: for the place of the stock one of that name.
	{FrontEnd, "remotes/im/rhcs-probes.d/poll.sh", Remotes + "/im/rhcs-probes.d/poll.sh", 0o755, Plain, ""},
	{FrontEnd, "cxmrc/cxmrc.example", Remotes + "/etc/tm/clvm/cxmrc", 0o644, Config, ""},
	{FrontEnd, "hook/systemd/one-migrate-hook-reconcile.*", units, 0o644, Plain, ""},
	{FrontEnd, "hook/systemd/one-clvm-frontend.tmpfiles", "/usr/lib/tmpfiles.d/one-clvm-frontend.conf", 0o644, Plain, ""},
	{FrontEnd, "hook/systemd/one-clvm-frontend.cron", shared + "hook/one-clvm-frontend.cron", 0o644, Plain, ""},
}

// What lets somebody in, or is started by somebody else, is no configuration: it must go
// with the package, and not stay behind it as configuration does.
var node = []Entry{
	{Node, "made/agent.conf", "/etc/one-clvm/agent.conf", 0o644, Config, ""},
	{Node, "sudoers.d/one-clvm", "/etc/sudoers.d/one-clvm", 0o440, Plain, ""},
	{Node, "sudoers.d/one-clvm-vmm", "/etc/sudoers.d/one-clvm-vmm", 0o440, Plain, ""},
	{Node, "sudoers.d/one-clvm-hook", "/etc/sudoers.d/one-clvm-hook", 0o440, Plain, ""},
	{Node, "udev/90-one-clvm.rules", "/usr/lib/udev/rules.d/90-one-clvm.rules", 0o644, Plain, ""},
	{Node, "polkit/50-one-clvm.rules", "/usr/share/polkit-1/rules.d/50-one-clvm.rules", 0o644, Plain, ""},
	// Debian and Ubuntu had a polkit that reads no rules up to their releases of 2022.
	{Node, "polkit/50-one-clvm.pkla", "/var/lib/polkit-1/localauthority/10-vendor.d/50-one-clvm.pkla", 0o644, Plain, "deb"},
	{Node, "ocf/VirtualDomain", "/usr/lib/ocf/resource.d/one-clvm/VirtualDomain", 0o755, Plain, ""},
	{Node, "hook/systemd/one-migrate-hook-deliver.*", units, 0o644, Plain, ""},
	{Node, "hook/systemd/one-clvm-hook.tmpfiles", "/usr/lib/tmpfiles.d/one-clvm-hook.conf", 0o644, Plain, ""},
	// A cluster is told of these by its administrator: each has some of them only.
	{Node, "libvirt/hooks/qemu", shared + "libvirt/hooks/qemu", 0o755, Plain, ""},
	{Node, "hook/entrances/cxm", shared + "hook/cxm", 0o755, Plain, ""},
	{Node, "hook/entrances/libvirt", shared + "hook/libvirt", 0o755, Plain, ""},
	{Node, "hook/entrances/pacemaker-alert.xml", shared + "hook/pacemaker-alert.xml", 0o644, Plain, ""},
	{Node, "hook/systemd/one-migrate-hook.cron", shared + "hook/one-migrate-hook.cron", 0o644, Plain, ""},
	{Node, "made/one_clvm.pp", "/usr/share/selinux/packages/one_clvm.pp", 0o644, Plain, "rpm"},
	{Node, "packaging/selinux/one_clvm.*", shared + "selinux/", 0o644, Plain, "rpm"},
}

// documents are those that every package must have.
func documents(p Package) []Entry {
	doc := "/usr/share/doc/" + string(p) + "/"
	return []Entry{
		{p, "made/copyright", doc + "copyright", 0o644, Plain, "deb"},
		{p, "made/changelog.gz", doc + "changelog.gz", 0o644, Plain, "deb"},
		{p, "packaging/lintian/" + string(p), "/usr/share/lintian/overrides/" + string(p), 0o644, Plain, "deb"},
		{p, "LICENSE", "/usr/share/licenses/" + string(p) + "/LICENSE", 0o644, Plain, "rpm"},
		{p, "CHANGELOG.md", doc + "CHANGELOG.md", 0o644, Plain, "rpm"},
	}
}

// tree is where the sources of entries are.
type tree struct {
	repository string
	made       string // by stage
}

func (t tree) path(source string) string {
	if below, made := strings.CutPrefix(source, "made/"); made {
		return filepath.Join(t.made, below)
	}
	return filepath.Join(t.repository, source)
}

// expand gives the files of some packages in one format: one entry a file, with absolute
// sources, in the order of their names.
func (t tree) expand(format string, packages ...Package) ([]Entry, error) {
	var all []Entry
	for _, e := range Contents {
		if !slices.Contains(packages, e.Package) || e.Format != "" && e.Format != format {
			continue
		}
		files, err := t.files(e)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	all = append(all, directories(all)...)
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Target, b.Target) })
	return all, nil
}

// directories are those above files that are of the suite alone: they go with its packages.
// rpm removes no others.
func directories(files []Entry) []Entry {
	seen := map[string]bool{}
	for _, f := range files {
		seen[f.Target] = f.Kind == Directory
	}
	var all []Entry
	for _, f := range files {
		for dir := path.Dir(f.Target); ours(dir) && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, Entry{f.Package, "", dir, 0o755, Directory, ""})
		}
	}
	return all
}

// ours says whether a directory is, or is below, one that only the suite has. That of
// resource agents is there without Pacemaker, too.
func ours(dir string) bool {
	if strings.HasPrefix(dir, "/usr/lib/ocf") {
		return true
	}
	return slices.ContainsFunc(strings.Split(dir, "/"), func(name string) bool {
		return strings.HasPrefix(name, "one-clvm") || name == "clvm" || strings.HasPrefix(name, "rhcs")
	})
}

func (t tree) files(e Entry) ([]Entry, error) {
	if e.Kind == Link || e.Kind == Directory {
		return []Entry{e}, nil
	}
	sources, err := filepath.Glob(t.path(e.Source))
	if err != nil {
		return nil, fmt.Errorf("contents of %s: %s: %w", e.Package, e.Source, err)
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("contents of %s: there is no %s", e.Package, t.path(e.Source))
	}
	var files []Entry
	for _, source := range sources {
		file := e
		file.Source = source
		if strings.HasSuffix(e.Target, "/") {
			file.Target = path.Join(e.Target, filepath.Base(source))
		}
		files = append(files, file)
	}
	return files, nil
}
