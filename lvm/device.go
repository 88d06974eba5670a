package lvm

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DeviceSize is the size in bytes of a block device (BLKGETSIZE64) or a regular file.
func DeviceSize(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	switch {
	case st.Mode().IsRegular():
		return st.Size(), nil
	case !isBlockDevice(f):
		return 0, fmt.Errorf("%s is neither a block device nor a file", f.Name())
	}
	var size uint64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, fmt.Errorf("size of %s: %w", f.Name(), errno)
	}
	return int64(size), nil
}

// logicalBlock is the smallest unit in bytes that the device reads and writes; 1 for
// a regular file.
func logicalBlock(f *os.File) (int64, error) {
	if !isBlockDevice(f) {
		return 1, nil
	}
	size, err := unix.IoctlGetUint32(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return 0, fmt.Errorf("logical block size of %s: %w", f.Name(), err)
	}
	return int64(size), nil
}

func isBlockDevice(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0
}
