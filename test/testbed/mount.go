package testbed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Mount mounts a device or an image that a symbolic link of a VM's home may point to,
// read-only unless writable. The function that it returns unmounts.
func Mount(device, fstype string, writable bool) (directory string, unmount func() error, err error) {
	real, err := filepath.EvalSymlinks(device)
	if err != nil {
		return "", nil, fmt.Errorf("mount: %w", err)
	}
	directory, err = os.MkdirTemp("", "mount-")
	if err != nil {
		return "", nil, fmt.Errorf("mount: %w", err)
	}
	flags := uintptr(unix.MS_RDONLY)
	if writable {
		flags = 0
	}
	if err := unix.Mount(real, directory, fstype, flags, ""); err != nil {
		return "", nil, errors.Join(fmt.Errorf("mount %s (%s): %w", real, fstype, err), os.Remove(directory))
	}
	return directory, func() error {
		if err := unix.Unmount(directory, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", directory, err)
		}
		return os.Remove(directory)
	}, nil
}
