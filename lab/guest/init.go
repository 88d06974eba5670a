package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"one-clvm/lab/profile"
)

// environment of all that runs on a node.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
}

// initialize is process 1: mounts and network, then the rest in a child of its own, so
// that waiting for orphans does not take the child's own children away.
func initialize() error {
	o, err := readOptions()
	if err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	if err := setNames(o); err != nil {
		return err
	}
	if err := startNetwork(o); err != nil {
		return err
	}
	_, err = os.StartProcess(installed, []string{installed, "serve"}, &os.ProcAttr{
		Env: environment, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(-1, &status, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err) // no child is left: the kernel stops the node
		}
	}
}

func mountAll() error {
	for _, m := range []mount{
		{"tmpfs", "/run", "tmpfs", "mode=755"}, {"tmpfs", "/tmp", "tmpfs", "mode=1777"},
		{"devpts", "/dev/pts", "devpts", "ptmxmode=666"}, {"tmpfs", "/dev/shm", "tmpfs", "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", ""},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, directory := range []string{"/run/sshd", "/run/lock", "/run/lvm", "/run/udev", "/run/corosync", "/run/lab", "/var/log/corosync"} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return err
		}
	}
	for _, link := range []struct{ target, name string }{
		{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"},
		{installed, filepath.Join("/usr/sbin", fenceName)},
	} {
		if err := os.Symlink(link.target, link.name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// setNames gives the node its names: for people, and for what tells machines apart.
func setNames(o options) error {
	if err := unix.Sethostname([]byte(o.name())); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	useLVMLockd := 0
	if o.profile.LockManager != profile.LockNone {
		useLVMLockd = 1
	}
	for path, text := range map[string]string{
		"/etc/hostname":   o.name() + "\n",
		"/etc/machine-id": fmt.Sprintf("%032x\n", o.node),
		// The number is that of sanlock's leases.
		"/etc/lvm/lvmlocal.conf":    fmt.Sprintf("local { host_id = %d }\nglobal { use_lvmlockd = %d }\n", o.node, useLVMLockd),
		"/etc/sanlock/sanlock.conf": fmt.Sprintf("our_host_name = %s\n", o.name()),
	} {
		if err := putFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return giveHome()
}

// oneadmin is the user and group of OpenNebula's packages.
const oneadmin = 9869

// giveHome makes oneadmin's home oneadmin's.
func giveHome() error {
	const home = "/var/lib/one"
	if err := os.MkdirAll(filepath.Join(home, "datastores/0"), 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, oneadmin, oneadmin)
	})
}
