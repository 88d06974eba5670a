package filevg

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/renameio/v2"
)

// errNeedsRepair: a report found what a killed process or a reboot left.
var errNeedsRepair = errors.New("left over from a crash")

// checkRepaired says errNeedsRepair unless repair would find nothing to do.
func (s *session) checkRepaired() error {
	if len(s.stray) > 0 {
		return errNeedsRepair
	}
	leftovers, err := s.leftovers()
	if err != nil {
		return err
	}
	if len(leftovers) > 0 {
		return errNeedsRepair
	}
	for _, v := range s.meta.Volumes {
		target, err := s.link(v.Name)
		if err != nil {
			return err
		}
		d, active := s.loops[v.UUID]
		if target != s.wantedLink(v) || active && d.byteRange != s.meta.bytes(v) {
			return errNeedsRepair
		}
	}
	return nil
}

// repair makes devices and links follow the metadata: the metadata is always right.
func (s *session) repair() error {
	if err := s.detachStray(); err != nil {
		return err
	}
	leftovers, err := s.leftovers()
	if err != nil {
		return err
	}
	for _, path := range leftovers {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	for _, v := range s.meta.Volumes {
		if err := errors.Join(s.repairSize(v), s.repairLink(v)); err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// detachStray removes loop devices that belong to no volume. One that is open stops
// everything: the extents under it may be given to a volume, which then would have
// two writers.
func (s *session) detachStray() error {
	for _, d := range s.stray {
		if err := detach(s.path(pvFile), d); err != nil {
			return fmt.Errorf("%s is over extents of no volume: %w; then run losetup -d %s", d.path(), err, d.path())
		}
	}
	s.stray = nil
	return nil
}

// repairSize finishes an Extend that was killed after it was written into the metadata.
func (s *session) repairSize(v volumeRecord) error {
	d, active := s.loops[v.UUID]
	want := s.meta.bytes(v)
	if !active || d.byteRange == want {
		return nil
	}
	if err := resize(s.path(pvFile), d, want.Length); err != nil {
		return err
	}
	d.byteRange = want
	s.loops[v.UUID] = d
	return nil
}

// repairLink makes the volume's symlink point to its loop device, or removes it.
func (s *session) repairLink(v volumeRecord) error {
	want := s.wantedLink(v)
	target, err := s.link(v.Name)
	if err != nil || target == want {
		return err
	}
	if want == "" {
		return os.Remove(s.devPath(v.Name))
	}
	return renameio.Symlink(want, s.devPath(v.Name))
}

// leftovers are the temporary files of killed writers, and links of no volume.
func (s *session) leftovers() ([]string, error) {
	var paths []string
	top, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range top {
		if isTemporary(entry.Name()) {
			paths = append(paths, s.path(entry.Name()))
		}
	}
	links, err := os.ReadDir(s.path(devDir))
	if err != nil {
		return nil, err
	}
	for _, entry := range links {
		if s.meta.find(entry.Name()) == nil {
			paths = append(paths, s.devPath(entry.Name()))
		}
	}
	return paths, nil
}
