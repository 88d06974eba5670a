package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"one-clvm/internal/run"
)

// bootModules are what the initramfs needs to find and mount the root.
var bootModules = []string{"crc32c_generic", "virtio_pci", "virtio_blk", "ext4", "overlay",
	"virtio_net", "virtio_console", "virtio_scsi", "sd_mod", "virtio-rng"}

// nodeModules are what a node may load later.
var nodeModules = []string{
	"dm-mod", "dm-snapshot", "dm-thin-pool", "dm-mirror", "dm-raid", "dm-delay", "dm-flakey", "dm-zero", "dm-crypt", "dm-integrity",
	"dm-multipath", "dm-round-robin", "dm-service-time", "dm-queue-length", "scsi_dh_alua", "sg",
	"dlm", "gfs2", "configfs", "softdog", "i6300esb",
	"xfs", "btrfs", "vfat", "nls_ascii", "nls_cp437", "nls_utf8", "isofs", "fuse", "loop", "nbd", "autofs4",
	"tun", "bridge", "veth", "8021q", "vhost_net", "af_packet", "nf_tables", "nft_compat", "ip_tables", "iptable_filter", "sch_netem",
	"crc32c-intel", "algif_hash", "algif_skcipher",
}

// kernelTree is an unpacked kernel package.
type kernelTree struct{ directory, version string }

// unpackKernel fetches the package and unpacks it.
func unpackKernel(ctx context.Context, work string) (kernelTree, error) {
	name, err := realKernel(ctx)
	if err != nil {
		return kernelTree{}, err
	}
	if err := call(ctx, work, "apt-get", "-o", "APT::Sandbox::User=root", "download", name); err != nil {
		return kernelTree{}, err
	}
	debs, err := filepath.Glob(filepath.Join(work, name+"_*.deb"))
	if err != nil || len(debs) != 1 {
		return kernelTree{}, fmt.Errorf("apt-get download %s left %v", name, debs)
	}
	k := kernelTree{directory: filepath.Join(work, "kernel"), version: strings.TrimPrefix(name, "linux-image-")}
	if err := call(ctx, work, "dpkg-deb", "-x", debs[0], k.directory); err != nil {
		return kernelTree{}, err
	}
	return k, call(ctx, work, "depmod", "-b", k.directory, k.version)
}

var dependsLine = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-\S+)$`)

// realKernel is the package with the files that kernelPackage stands for.
func realKernel(ctx context.Context) (string, error) {
	result, err := run.Exec{}.Run(ctx, run.Cmd{Path: "apt-cache", Args: []string{"depends", kernelPackage}})
	if err != nil {
		return "", err
	}
	match := dependsLine.FindSubmatch(result.Stdout)
	if match == nil {
		return "", fmt.Errorf("apt-cache depends %s names no kernel; run apt-get update", kernelPackage)
	}
	return string(match[1]), nil
}

func (k kernelTree) modules() string { return filepath.Join(k.directory, "lib/modules", k.version) }

// closure are the files of the modules and of all they need, dependencies first, as
// modules.dep lists them. What is built in has no file.
func (k kernelTree) closure(names []string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(k.modules(), "modules.dep"))
	if err != nil {
		return nil, err
	}
	needs, files := map[string][]string{}, map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		file, rest, _ := strings.Cut(lines.Text(), ":")
		needs[file] = strings.Fields(rest)
		files[moduleName(file)] = file
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules(), "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(builtin)) {
		files[moduleName(strings.TrimSpace(line))] = ""
	}
	var all []string
	for _, name := range names {
		file, known := files[moduleName(name)]
		if !known {
			return nil, fmt.Errorf("the kernel has no module %s", name)
		}
		if file == "" {
			continue
		}
		// modules.dep lists what must be loaded last first.
		chain := append([]string{file}, needs[file]...)
		slices.Reverse(chain)
		for _, f := range chain {
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".ko"), "-", "_")
}

// installModules puts the modules that a node may load into the tree.
func (k kernelTree) installModules(ctx context.Context, tree string) error {
	files, err := k.closure(append(slices.Clone(bootModules), nodeModules...))
	if err != nil {
		return err
	}
	target := filepath.Join(tree, "usr/lib/modules", k.version)
	for _, file := range append(files, "modules.builtin", "modules.builtin.modinfo", "modules.order") {
		if err := copyFile(filepath.Join(k.modules(), file), filepath.Join(target, file), 0o644); err != nil {
			return err
		}
	}
	return call(ctx, "", "depmod", "-b", tree, k.version)
}

// copyBootModules puts the modules of the initramfs into one directory, with the order in
// which they are loaded.
func (k kernelTree) copyBootModules(target string) error {
	files, err := k.closure(bootModules)
	if err != nil {
		return err
	}
	order := ""
	for _, file := range files {
		if err := copyFile(filepath.Join(k.modules(), file), filepath.Join(target, filepath.Base(file)), 0o644); err != nil {
			return err
		}
		order += filepath.Base(file) + "\n"
	}
	return os.WriteFile(filepath.Join(target, "order"), []byte(order), 0o644)
}

var xzMagic = []byte("\xfd7zXZ\x00")

// decompress takes the kernel proper out of the file that a boot loader would start: to
// decompress it on the emulated machine costs seconds.
func (k kernelTree) decompress(ctx context.Context, target string) error {
	data, err := os.ReadFile(filepath.Join(k.directory, "boot/vmlinuz-"+k.version))
	if err != nil {
		return err
	}
	at := bytes.Index(data, xzMagic)
	if at < 0 {
		return errors.New("the kernel is not compressed with xz")
	}
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	_, err = run.Exec{}.Run(ctx, run.Cmd{Path: "xz", Args: []string{"-dc", "--single-stream"}, Stdin: bytes.NewReader(data[at:]), Stdout: out})
	if err != nil {
		// What follows the stream is no error, but xz stops reading there.
		var failed *run.Error
		if !errors.As(err, &failed) || failed.Status != 0 {
			return errors.Join(err, out.Close())
		}
	}
	magic := make([]byte, 4)
	_, err = out.ReadAt(magic, 0)
	if err == nil && string(magic) != "\x7fELF" {
		err = errors.New("what was compressed is no ELF file")
	}
	return errors.Join(err, out.Close())
}

func copyFile(from, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
