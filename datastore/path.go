package datastore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What users never read by registering it, whatever RESTRICTED_DIRS says: the drivers'
// configuration and keys, and everybody's images.
var alwaysRestricted = []string{"/var/lib/one", "/etc/one", "/root"}

// openLocal opens a file that a user has named. What counts is the file that was opened, by
// the kernel's word, and not a name with links that may be changed meanwhile: it must be a
// regular file in one of SAFE_DIRS, or in none of RESTRICTED_DIRS. ErrRefused.
func (c *call) openLocal(path string) (*os.File, error) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("%w: %q is not an absolute path", ErrRefused, path)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("image file: %w", err)
	}
	if err := c.allowed(file); err != nil {
		_ = file.Close() // only read
		return nil, err
	}
	return file, nil
}

func (c *call) allowed(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrRefused, file.Name())
	}
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err != nil {
		return fmt.Errorf("image file: %w", err)
	}
	safe, restricted := c.directories()
	if within(real, safe) || !within(real, restricted) {
		return nil
	}
	return fmt.Errorf("%w: %s is in a restricted directory: put the file into one of SAFE_DIRS of %s (%s)", ErrRefused, real, c.Datastore.Origin(), strings.Join(safe, " "))
}

func (c *call) directories() (safe, restricted []string) {
	if restricted = strings.Fields(c.Datastore.Template["RESTRICTED_DIRS"]); len(restricted) == 0 {
		restricted = []string{"/"}
	}
	restricted = append(restricted, alwaysRestricted...)
	if home, err := os.UserHomeDir(); err == nil {
		restricted = append(restricted, home)
	}
	return c.Datastore.SafeDirs(), restricted
}

// within says whether a path is in one of the directories, by whole names: /var/tmpX is not
// in /var/tmp. The directories' own links are followed.
func within(path string, directories []string) bool {
	for _, dir := range directories {
		if !filepath.IsAbs(dir) {
			continue
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		if dir = filepath.Clean(dir); dir == "/" || path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}
