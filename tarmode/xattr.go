package tarmode

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxXattr is the kernel's bound of a value and of a list of names (XATTR_SIZE_MAX,
// XATTR_LIST_MAX of limits.h).
const maxXattr = 64 << 10

// xfsACL is how XFS shows an ACL a second time, in its own form, next to
// system.posix_acl_access and system.posix_acl_default (fs/xfs/xfs_acl.h). On another
// file system it would mean nothing.
const xfsACL = "trusted.SGI_ACL_"

// fileXattrs reads the extended attributes of an open file; nil: none.
func fileXattrs(fd int) (map[string][]byte, error) {
	return readXattrs(
		func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) },
		func(key string, buf []byte) (int, error) { return unix.Fgetxattr(fd, key, buf) },
	)
}

// linkXattrs does it for what cannot be opened, such as symbolic links.
func linkXattrs(dir int, name string) (map[string][]byte, error) {
	path := linkPath(dir, name)
	return readXattrs(
		func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		func(key string, buf []byte) (int, error) { return unix.Lgetxattr(path, key, buf) },
	)
}

func readXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) (map[string][]byte, error) {
	size, err := list(nil) // 0 for most files, so this is the only call for them
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && size == 0 {
		return nil, nil
	}
	buf := make([]byte, maxXattr)
	if err == nil {
		size, err = list(buf)
	}
	if err != nil {
		return nil, fmt.Errorf("list xattrs: %w", err)
	}
	names := bytes.Split(bytes.TrimSuffix(buf[:size:size], []byte{0}), []byte{0})
	xattrs := make(map[string][]byte, len(names))
	value := make([]byte, maxXattr)
	for _, name := range names {
		if bytes.HasPrefix(name, []byte(xfsACL)) {
			continue
		}
		n, err := get(string(name), value)
		if err != nil {
			return nil, fmt.Errorf("get xattr %s: %w", name, err)
		}
		xattrs[string(name)] = bytes.Clone(value[:n])
	}
	return xattrs, nil
}
