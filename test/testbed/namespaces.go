package testbed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where things are inside.
const (
	Home      = "/var/lib/one"     // oneadmin's
	Scratch   = "/var/lib/testbed" // on a real disk, readable by everybody
	state     = "/var/lib/one-clvm"
	installed = "/usr/libexec/one-clvm/tm-clvm"
	hostname  = "frontend"

	scratchName = "scratch" // of Scratch, in the machine's directory
)

// overlaid are the directories that an installation writes to.
var overlaid = []string{"/etc", "/usr", "/var/lib", "/var/log", "/var/spool"}

// initialize is process 1: it furnishes the namespaces, starts the program inside and
// reaps whatever is orphaned until that ends.
func initialize(directory string) int {
	if err := furnish(directory); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		return 1
	}
	_ = os.Setenv("TMPDIR", temporary(directory)) // the name is good: it cannot fail
	_ = os.Setenv("HOME", Scratch+"/root")
	process, err := startSelf("inside", directory, []*os.File{os.Stdin, os.Stdout, os.Stderr}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		return 1
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR) || pid != process.Pid && err == nil:
			continue
		case err != nil:
			fmt.Fprintln(os.Stderr, "testbed: wait:", err)
			return 1
		case status.Exited():
			return status.ExitStatus()
		}
		fmt.Fprintln(os.Stderr, "testbed: killed by", status.Signal())
		return 1
	}
}

func furnish(directory string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := overlay(filepath.Join(directory, "overlay")); err != nil {
		return err
	}
	if err := tmpfs("/run"); err != nil {
		return err
	}
	for _, dir := range []string{"/run/lock", "/run/sshd"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("run directory: %w", err)
		}
	}
	if err := bind(directory); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return loopbackUp()
}

func tmpfs(at string) error {
	if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", at, err)
	}
	return nil
}

// overlay puts a writable layer in memory over the directories that are written to. In
// memory, because an overlay's upper layer cannot be on an overlay, as a container's
// root is.
func overlay(at string) error {
	if err := os.Mkdir(at, 0o700); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if err := tmpfs(at); err != nil {
		return err
	}
	for i, lower := range overlaid {
		upper, work := fmt.Sprintf("%s/%d.upper", at, i), fmt.Sprintf("%s/%d.work", at, i)
		st, err := os.Stat(lower)
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		// The merged directory shows the upper one's mode.
		if err := errors.Join(os.Mkdir(upper, 0o700), os.Chmod(upper, st.Mode()), os.Mkdir(work, 0o700)); err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
		if err := unix.Mount("overlay", lower, "overlay", 0, options); err != nil {
			return fmt.Errorf("mount an overlay on %s: %w", lower, err)
		}
	}
	return nil
}

// bind puts directories of the real disk where large data is written.
func bind(directory string) error {
	for _, b := range []struct {
		name, target string
		mode         os.FileMode
	}{
		{"one", Home, 0o755}, {"state", state, 0o755}, {scratchName, Scratch, 0o755}, {"tmp", "/var/tmp", 0o777 | os.ModeSticky},
	} {
		source := filepath.Join(directory, b.name)
		if err := errors.Join(os.MkdirAll(source, 0o755), os.Chmod(source, b.mode), os.MkdirAll(b.target, 0o755)); err != nil {
			return fmt.Errorf("directory: %w", err)
		}
		if err := unix.Mount(source, b.target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", b.target, err)
		}
	}
	tmp := temporary(directory)
	if err := errors.Join(os.Mkdir(tmp, 0o755), os.Chmod(tmp, 0o777|os.ModeSticky), os.Mkdir(Scratch+"/root", 0o700)); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	return nil
}

// temporary is TMPDIR inside. Its name is the machine's own: the janitor knows by it whose
// a loop device is when the file behind it was removed.
func temporary(directory string) string { return filepath.Join(Scratch, filepath.Base(directory)) }

// loopbackUp brings up the only interface of the network namespace. All of 127.0.0.0/8
// and every port on it is the machine's own.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(socket) // nothing was sent
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}
