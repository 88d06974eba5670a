package plan

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Temporary is a file without a name on the file system of a directory (TMP_ROOT): it goes with
// this process.
func Temporary(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(temporary)"), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("temporary file in %s (TMP_ROOT): %w", dir, err)
	}
	file, err := os.CreateTemp(dir, "one-clvm-")
	if err != nil {
		return nil, fmt.Errorf("temporary file in %s (TMP_ROOT): %w", dir, err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
