package filevg

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// openDevices says which of the loop devices somebody uses: a process that has one
// open, a mounted file system, a device stacked on it.
func openDevices(devices []loopDevice) (map[int]bool, error) {
	open := map[int]bool{}
	if len(devices) == 0 {
		return open, nil
	}
	paths, err := openPaths()
	if err != nil {
		return nil, err
	}
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		held, err := heldByKernel(d)
		if err != nil {
			return nil, err
		}
		number, err := os.ReadFile(filepath.Join(sysBlock, d.name(), "dev"))
		if err != nil {
			return nil, err
		}
		open[d.number] = held || paths[d.path()] || mounts[strings.TrimSpace(string(number))]
	}
	return open, nil
}

// heldByKernel finds stacked devices, and mounted file systems in any mount namespace
// as far as their driver shows itself in sysfs (ext2 to ext4, xfs, f2fs, btrfs).
func heldByKernel(d loopDevice) (bool, error) {
	for _, pattern := range []string{
		filepath.Join(sysBlock, d.name(), "holders", "*"),
		filepath.Join("/sys/fs", "*", d.name()),
		filepath.Join("/sys/fs/btrfs", "*", "devices", d.name()),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) > 0 {
			return len(found) > 0, err
		}
	}
	return false, nil
}

// openPaths collects what processes have open under /dev/loop.
func openPaths() (map[string]bool, error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return nil, err
	}
	open := map[string]bool{}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil && !gone(err) {
			return nil, fmt.Errorf("look for open devices: %w", err)
		}
		if strings.HasPrefix(target, "/dev/loop") {
			open[target] = true
		}
	}
	return open, nil
}

// gone: the process or its descriptor ended, or it is not ours to look at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ESRCH)
}

func readMounts() (map[string]bool, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountedDevices(f)
}

// mountedDevices are the MAJOR:MINOR of all mounts, the third field of
// proc_pid_mountinfo(5). The source tells less: it is the name that the caller of
// mount(2) used.
func mountedDevices(r io.Reader) (map[string]bool, error) {
	devices := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 {
			devices[fields[2]] = true
		}
	}
	return devices, lines.Err()
}
