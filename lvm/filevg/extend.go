package filevg

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"one-clvm/lvm"
)

// Extend implements lvm.Group. The volume grows where it lies if the extents behind
// it are free, open or not. Otherwise it moves to a free range that is large enough,
// which an open volume cannot (ErrInUse); its old extents keep their bytes.
func (g *Group) Extend(ctx context.Context, name string, size int64) (v lvm.Volume, err error) {
	err = g.change(ctx, "extend", name, func(s *session) error {
		record, err := s.existing(name)
		if err != nil {
			return err
		}
		count, err := s.meta.extents(size)
		if err != nil {
			return err
		}
		if err := s.extensible(record); err != nil {
			return err
		}
		if err := s.extend(record, count); err != nil {
			return err
		}
		v, err = s.reread(name, func(v lvm.Volume) bool { return v.Size >= size })
		return err
	})
	return v, err
}

func (s *session) extend(v volumeRecord, count int64) error {
	switch {
	case count < v.Count:
		return fmt.Errorf("%w: %d extents asked for, it has %d", lvm.ErrNotLarger, count, v.Count)
	case count == v.Count:
		return nil
	case s.meta.roomBehind(v, count):
		return s.extendInPlace(v, count)
	}
	start, ok := s.meta.firstFit(count)
	if !ok {
		return s.noSpace(count)
	}
	return s.relocate(v, start, count)
}

func (s *session) extendInPlace(v volumeRecord, count int64) error {
	err := s.commit(func(m *metadata) { m.find(v.Name).Count = count })
	if err != nil {
		return err
	}
	return s.repairSize(*s.meta.find(v.Name))
}

// relocate copies the volume to extents from start on and then makes them the
// volume's. Until that commit the old place is the volume, and the new one free space.
func (s *session) relocate(v volumeRecord, start, count int64) error {
	_, active := s.loops[v.UUID]
	if err := s.deactivate(v); err != nil {
		return fmt.Errorf("the extents behind it are taken, and it cannot move: %w", err)
	}
	from := s.meta.bytes(v)
	to := byteRange{Offset: start * s.meta.ExtentSize, Length: from.Length}
	if err := s.soil(); err != nil {
		return err
	}
	if err := copyRange(s.ctx, s.path(pvFile), from, to.Offset); err != nil {
		return fmt.Errorf("copy %d bytes to other extents: %w", from.Length, err)
	}
	err := s.commit(func(m *metadata) { moved := m.find(v.Name); moved.Start, moved.Count = start, count })
	if err != nil || !active {
		return err
	}
	return s.activate(*s.meta.find(v.Name))
}

// copyRange copies a range of pv to another place in pv: the data, onto zeros. What
// the target held before would otherwise show through the holes.
func copyRange(ctx context.Context, pv string, from byteRange, to int64) error {
	f, err := os.OpenFile(pv, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := lvm.Zero(ctx, f, to, from.Length, lvm.ZeroAuto, nil); err != nil {
		return err
	}
	for at := from.Offset; at < from.Offset+from.Length; {
		data, end, err := nextData(f, at, from.Offset+from.Length)
		if err != nil {
			return err
		}
		if err := copyData(ctx, f, data, end-data, to-from.Offset); err != nil {
			return err
		}
		at = end
	}
	return f.Sync()
}

// nextData is the first run of data from at on; data == end == limit: only a hole.
func nextData(f *os.File, at, limit int64) (data, end int64, err error) {
	data, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return limit, limit, nil // no data up to the end of the file
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look for data at %d: %w", at, err)
	}
	if data >= limit {
		return limit, limit, nil
	}
	end, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("look for a hole at %d: %w", data, err)
	}
	return data, min(end, limit), nil
}

const copyChunk = 4 << 20

func copyData(ctx context.Context, f *os.File, at, length, shift int64) error {
	buf := make([]byte, min(length, copyChunk))
	for done := int64(0); done < length; done += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(length-done, copyChunk)]
		if _, err := f.ReadAt(buf, at+done); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf, at+done+shift); err != nil {
			return err
		}
	}
	return nil
}
