// Package filevg is a volume group in files, for machines without a SAN: tests, a
// newcomer's first steps, a single node. It is an implementation of [lvm.Group] with
// the semantics of the real one, not a mock; the kernel needs loop devices, but no
// device-mapper.
//
// A volume group NAME is a directory of that name:
//
//	NAME/metadata.json   what volumes there are; replaced as a whole by every change
//	NAME/pv              the extents, one sparse file
//	NAME/lock            flock: exclusive for a change, shared for a report
//	NAME/dev/VOLUME      symlink to /dev/loopN while the volume is active
//
// A volume is a contiguous range of extents of pv, an active volume a loop device
// over that range. Extents are handed out from the lowest on and are never cleared:
// a new volume shows what its extents held before, as it would on a SAN.
//
// # What is true after a crash
//
// metadata.json alone says which volumes exist, the loop devices that the kernel
// lists over pv say which are active. A volume is activated after it was written into
// the metadata and deactivated before it is taken out. Whatever else a killed process
// or a reboot leaves (a symlink to a loop device that is another's by now, a loop
// device with the size before an extension, or over extents of no volume) is put right
// by the next operation; symlinks are only for people and programs that open a
// volume, this package never follows them.
//
// # Limits
//
// Exclusive and Shared differ in the report only: there is one node, and nobody to
// keep out. A volume is reported open when a process has the loop device open, when a
// file system on it is mounted or when another device is stacked on it; not seen are
// processes in another PID namespace and those that opened the device by a name of
// their own making. Activate(Off) and Remove see all openers, because the kernel
// counts them.
//
// When not to use it: for VMs on more than one node, and wherever the extra file
// system under the volumes costs too much. The directory must be on a local file system.
package filevg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"one-clvm/lvm"
)

// The files of a volume group.
const (
	metadataFile = "metadata.json"
	pvFile       = "pv"
	lockFile     = "lock"
	devDir       = "dev"
)

// Group is one file-backed volume group. It holds no state and no open file: any
// number of them, in any number of processes, may work on the same directory.
type Group struct {
	dir  string // absolute, without symlinks: the kernel names pv like this
	name string
}

var _ lvm.Group = (*Group)(nil)

// Create makes a volume group of size bytes (rounded down to whole extents) in dir,
// whose last element is its name. extentSize is in bytes, a multiple of 4096; 0 means
// 4 MiB. No disk space is used before something is written. fs.ErrExist when there is
// a volume group, or anything else, in dir; ErrBadName, ErrBadSize.
func Create(dir string, size int64, extentSize int64) (*Group, error) {
	if extentSize == 0 {
		extentSize = defaultExtentSize
	}
	name := filepath.Base(dir)
	fail := failer("create volume group", name, "")
	if err := lvm.ValidateGroupName(name); err != nil {
		return nil, fail(err)
	}
	if err := validateGeometry(extentSize, size/max(extentSize, 1)); err != nil {
		return nil, fail(fmt.Errorf("%w: %d bytes: %w", lvm.ErrBadSize, size, err))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fail(err)
	}
	g, err := at(dir)
	if err != nil {
		return nil, fail(err)
	}
	if err := g.initialize(newMetadata(extentSize, size/extentSize)); err != nil {
		return nil, fail(err)
	}
	return g, nil
}

// Open finds the volume group in dir and puts right what a crash left. ErrNoGroup
// when dir has no metadata.json, ErrDamaged or ErrVersion when it cannot be read.
func Open(dir string) (*Group, error) {
	fail := failer("open volume group", filepath.Base(dir), "")
	g, err := at(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(fmt.Errorf("%w: %w", lvm.ErrNoGroup, err))
	}
	if err != nil {
		return nil, fail(err)
	}
	if err := g.report(context.Background(), func(*session) error { return nil }); err != nil {
		return nil, fail(err)
	}
	return g, nil
}

// List names the volume groups in the directory root, sorted.
func List(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list volume groups: %w", err)
	}
	var names []string
	for _, entry := range entries {
		_, err := os.Stat(filepath.Join(root, entry.Name(), metadataFile))
		if err == nil && lvm.ValidateGroupName(entry.Name()) == nil {
			names = append(names, entry.Name())
		}
	}
	return slices.Clip(names), nil
}

// Destroy deactivates all volumes and removes the directory with everything in it.
// ErrInUse when a volume is open: then everything is as it was.
func (g *Group) Destroy(ctx context.Context) error {
	return g.change(ctx, "destroy volume group", "", func(s *session) error {
		for _, v := range s.meta.Volumes {
			if err := s.deactivate(v); err != nil {
				return fmt.Errorf("volume %s: %w", v.Name, err)
			}
		}
		// Without metadata there is no group; the rest is only space.
		if err := os.Remove(g.path(metadataFile)); err != nil {
			return err
		}
		s.undo.Disarm()
		return os.RemoveAll(g.dir)
	})
}

// at is the group in dir, which must exist, under the name that the kernel knows.
func at(dir string) (*Group, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(absolute)
	if err != nil {
		return nil, err
	}
	return &Group{dir: real, name: filepath.Base(absolute)}, nil
}

func (g *Group) path(elements ...string) string {
	return filepath.Join(append([]string{g.dir}, elements...)...)
}

// failer wraps an error as lvm.Error, unless it is one already.
func failer(op, group, volume string) func(error) error {
	return func(err error) error {
		var already *lvm.Error
		if err == nil || errors.As(err, &already) {
			return err
		}
		return &lvm.Error{Op: op, Group: group, Volume: volume, Err: err}
	}
}
