package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"one-clvm/internal/run"
	"one-clvm/lab/profile"
	"one-clvm/test/debian"
)

// Files of the system.
const (
	systemPrefix  = "system-" // of its directory in the cache
	rootName      = "root.ext4"
	kernelName    = "vmlinux"
	modulesName   = "modules" // directory of what the initramfs loads, with a list "order"
	systemVersion = "1"       // raised when the code below makes something else of the same lists
)

// packages of a node, beyond the essential ones.
var packages = []string{
	"udev", "kmod", "iproute2", "procps", "util-linux", "openssh-server", "sudo",
	"lvm2", "lvm2-lockd", "dmsetup", "thin-provisioning-tools", "multipath-tools", "sg3-utils",
	"corosync", "dlm-controld", "gfs2-utils", "sanlock",
	"e2fsprogs", "xfsprogs", "btrfs-progs", "dosfstools",
	"tar", "gzip", "zstd", "rsync", "acl", "attr", "fdisk", "strace",
}

// hypervisor are the packages of a node that runs VMs as services of Pacemaker. They are in
// an image of their own: the other profiles are quicker without.
var hypervisor = []string{
	"pacemaker", "pacemaker-cli-utils", "resource-agents",
	"libvirt-daemon-system", "libvirt-daemon-system-sysv", "libvirt-clients", "qemu-system-x86",
}

// kernelPackage depends on the newest kernel with all modules. That for clouds has
// neither gfs2 nor dlm.
const kernelPackage = "linux-image-amd64"

// unneeded parts of packages.
var unneeded = []string{"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/i18n/*"}

func makeSystem(ctx context.Context, p profile.Profile, progress io.Writer) (string, error) {
	wanted := system(p)
	name := systemPrefix + hash(systemVersion, kernelPackage, accounts(), fmt.Sprint(wanted, bootModules, nodeModules))
	return Cached(ctx, name, progress, func(directory string) error {
		if os.Geteuid() != 0 {
			return errors.New("making it needs root (afterwards it is in the cache)")
		}
		fmt.Fprintln(progress, "making the nodes' system from Debian packages (about a minute, once)")
		work := filepath.Join(directory, "work")
		if err := os.Mkdir(work, 0o755); err != nil {
			return err
		}
		if err := fillSystem(ctx, wanted, directory, work); err != nil {
			return err
		}
		return os.RemoveAll(work)
	})
}

func fillSystem(ctx context.Context, wanted debian.System, directory, work string) error {
	tree, err := debian.Tree(ctx, work, wanted)
	if err != nil {
		return err
	}
	if err := addAccounts(tree); err != nil {
		return err
	}
	kernel, err := unpackKernel(ctx, work)
	if err != nil {
		return err
	}
	if err := kernel.installModules(ctx, tree); err != nil {
		return err
	}
	if err := kernel.copyBootModules(filepath.Join(directory, modulesName)); err != nil {
		return err
	}
	if err := kernel.decompress(ctx, filepath.Join(directory, kernelName)); err != nil {
		return err
	}
	return makeFileSystem(ctx, tree, filepath.Join(directory, rootName))
}

// system is what mmdebstrap makes.
func system(p profile.Profile) debian.System {
	options := []string{"--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\"", "--dpkgopt=force-unsafe-io"}
	for _, path := range unneeded {
		options = append(options, "--dpkgopt=path-exclude="+path)
	}
	wanted := packages
	if p.Pacemaker {
		wanted = slices.Concat(packages, hypervisor)
	}
	return debian.System{Name: "lab", Variant: "minbase", Packages: wanted, Options: options}
}

// accounts are the lines that make the user oneadmin, with the numbers of OpenNebula's
// packages. A star is no password; an exclamation mark would lock the account.
func accounts() string {
	return "/etc/passwd oneadmin:x:9869:9869::/var/lib/one:/bin/bash\n" +
		"/etc/group oneadmin:x:9869:\n" +
		"/etc/shadow oneadmin:*:19000:0:99999:7:::\n"
}

func addAccounts(tree string) error {
	for line := range strings.Lines(accounts()) {
		path, entry, _ := strings.Cut(line, " ")
		file, err := os.OpenFile(filepath.Join(tree, path), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = file.WriteString(entry)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// makeFileSystem makes the image. It is only read: no journal, no checksums.
func makeFileSystem(ctx context.Context, tree, target string) error {
	if err := os.WriteFile(target, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(target, 700<<20); err != nil {
		return err
	}
	return call(ctx, "", "mkfs.ext4", "-q", "-F", "-O", "^has_journal,^metadata_csum,^64bit", "-m", "0", "-N", "40000", "-d", tree, target)
}

// call runs a program in a directory; its last words are in the error.
func call(ctx context.Context, directory, program string, args ...string) error {
	var words bytes.Buffer
	_, err := run.Exec{}.Run(ctx, run.Cmd{Path: program, Args: args, Dir: directory, Stdout: &words, Stderr: &words})
	if err != nil {
		lines := strings.Split(strings.TrimSpace(words.String()), "\n")
		return fmt.Errorf("%w: %s", err, strings.Join(lines[max(0, len(lines)-10):], "; "))
	}
	return nil
}
