package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// In the initramfs.
const (
	moduleList = "/modules/order" // names of the files beside it, one a line
	configTree = "/config"        // a directory of files for each of profile.Profile.Trees
	newRoot    = "/root"
)

// rootDevice holds the file system that all nodes share; nobody writes to it.
const rootDevice = "/dev/vda"

// boot is the initramfs: load what is needed to see the disk, put a file system in
// memory over it, and go on from there.
func boot() error {
	for _, m := range []mount{
		{"proc", "/proc", "proc", ""}, {"sysfs", "/sys", "sysfs", ""}, {"devtmpfs", "/dev", "devtmpfs", ""},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	options, err := readOptions()
	if err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := await(rootDevice); err != nil {
		return err
	}
	if err := findSAN(); err != nil {
		return err
	}
	if err := mountRoot(); err != nil {
		return err
	}
	for _, tree := range options.profile.Trees() {
		if err := copyTree(filepath.Join(configTree, tree), newRoot); err != nil {
			return err
		}
	}
	if err := copyFile(initName, newRoot+installed, 0o755); err != nil {
		return err
	}
	return switchRoot()
}

type mount struct{ source, target, kind, options string }

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.target, m.kind, 0, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s (%s): %w", m.target, m.kind, err)
	}
	return nil
}

// findSAN looks for the disks of the SAN one after the other: the kernel probes all at
// once, and then now and then calls the second sda.
func findSAN() error {
	for lun, name := range []string{"sda", "sdb"} {
		if err := os.WriteFile("/sys/class/scsi_host/host0/scan", []byte(fmt.Sprintf("0 0 %d", lun)), 0); err != nil {
			return err
		}
		if err := await("/sys/block/" + name); err != nil {
			return err
		}
	}
	return nil
}

// await waits for something that the kernel makes.
func await(path string) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("there is no " + path)
		}
	}
}

// moduleParameters are given to modules as they are loaded: only what is built into the
// kernel reads them from its command line.
var moduleParameters = map[string]string{
	"scsi_mod.ko": "scan=manual", // findSAN does it
}

// loadModules loads the modules in the order of the list, which has dependencies first.
func loadModules() error {
	list, err := os.Open(moduleList)
	if err != nil {
		return err
	}
	defer list.Close() // only read
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		path := filepath.Join(filepath.Dir(moduleList), lines.Text())
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(file.Fd()), moduleParameters[lines.Text()], 0)
		_ = file.Close() // only read
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("module %s: %w", path, err)
		}
	}
	return lines.Err()
}

func mountRoot() error {
	for _, directory := range []string{"/lower", "/upper", newRoot} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(rootDevice, "/lower", "ext4", unix.MS_RDONLY|unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s: %w", rootDevice, err)
	}
	if err := (mount{"tmpfs", "/upper", "tmpfs", "size=75%"}).do(); err != nil {
		return err
	}
	for _, directory := range []string{"/upper/files", "/upper/work"} {
		if err := os.Mkdir(directory, 0o755); err != nil {
			return err
		}
	}
	if err := (mount{"overlay", newRoot, "overlay", "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work"}).do(); err != nil {
		return err
	}
	for _, directory := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(directory, newRoot+directory, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", directory, err)
		}
	}
	return nil
}

func switchRoot() error {
	// The memory of the initramfs is given back.
	for _, path := range []string{initName, filepath.Dir(moduleList), configTree} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Exec(installed, []string{installed, "init"}, environment)
}

// copyTree puts the files of a tree over those below target. Modes are those of the
// tree, the owner is root.
func copyTree(source, target string) error {
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if path == source && errors.Is(err, fs.ErrNotExist) {
				return nil // nothing of its own
			}
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		to := target + strings.TrimPrefix(path, source)
		switch {
		case entry.IsDir():
			return os.MkdirAll(to, info.Mode().Perm())
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return errors.Join(os.RemoveAll(to), os.Symlink(link, to))
		}
		return copyFile(path, to, info.Mode().Perm())
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return putFile(to, data, mode)
}

// putFile makes the file and the directories above it.
func putFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
