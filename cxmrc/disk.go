package cxmrc

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"one-clvm/lvm"
)

// FSTypes are the file systems that the suite can make.
var FSTypes = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "swap", "vfat"}

// ErrFSType means a file system that cannot or must not be made.
var ErrFSType = errors.New("bad file system type")

// FSType decides on the file system of a disk: what the disk says, else the image,
// else byDefault (DEFAULT_FSTYPE). Empty, none and save_as say nothing. allowed limits
// the choice; nil allows all FSTypes.
func FSType(diskFS, imageFS, byDefault string, allowed []string) (string, error) {
	if allowed == nil {
		allowed = FSTypes
	}
	fstype := byDefault
	for _, name := range []string{diskFS, imageFS} {
		if namesFS(name) {
			fstype = name
			break
		}
	}
	if !slices.Contains(FSTypes, fstype) || !slices.Contains(allowed, fstype) {
		return "", fmt.Errorf("%w %q: use one of %s", ErrFSType, fstype, strings.Join(allowed, ", "))
	}
	return fstype, nil
}

func namesFS(name string) bool {
	switch strings.ToLower(name) {
	case "", "none", "save_as":
		return false
	}
	return true
}

// DiskSizeInput is all that is said about a disk's size.
type DiskSizeInput struct {
	Disk     int64  // DISK/SIZE, MiB; 0 unknown
	Original int64  // DISK/ORIGINAL_SIZE, MiB; 0 unknown
	Template string // SIZE of the image's template, in LVM's syntax; "" for none
	Default  int64  // DEFAULT_LV_SIZE, bytes
	Content  int64  // what the content needs at least, bytes; 0 unknown
}

// DiskSize decides on the size of a disk, in bytes, and says where it comes from: what
// the user enlarged the disk to, else the SIZE of the image's template, else DISK/SIZE,
// else DEFAULT_LV_SIZE; and never less than the content needs, because a disk that was
// cut off is worse than one larger than asked for.
func DiskSize(in DiskSizeInput) (bytes int64, origin string, err error) {
	bytes, origin, err = in.wanted()
	if err != nil {
		return 0, "", err
	}
	if in.Content > bytes {
		return in.Content, fmt.Sprintf("the image's content (%s is too small)", origin), nil
	}
	return bytes, origin, nil
}

func (in DiskSizeInput) wanted() (int64, string, error) {
	switch {
	case in.Original > 0 && in.Disk > in.Original:
		return mebibytes(in.Disk, "DISK/SIZE, enlarged by the user")
	case in.Template != "":
		size, err := lvm.ParseSize(in.Template)
		if err != nil {
			return 0, "", fmt.Errorf("SIZE in the image's template: %w; correct it with oneimage update", err)
		}
		return size, "SIZE in the image's template", nil
	case in.Disk != 0:
		return mebibytes(in.Disk, "DISK/SIZE")
	case in.Default > 0:
		return in.Default, "DEFAULT_LV_SIZE", nil
	}
	return 0, "", fmt.Errorf("size of the disk: %w: neither the disk, the image nor DEFAULT_LV_SIZE tells it", lvm.ErrBadSize)
}

func mebibytes(n int64, origin string) (int64, string, error) {
	if n <= 0 || n > math.MaxInt64>>20 {
		return 0, "", fmt.Errorf("%s: %w: %d MiB", origin, lvm.ErrBadSize, n)
	}
	return n << 20, origin, nil
}
