package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoDiscard means: the device knows no discard.
var ErrNoDiscard = errors.New("the device does not know discard")

// Discard tells the device that the range is not needed any more. What it reads as
// afterwards nobody promises, not even to be the same twice: discarded is not zeroed.
// ErrNoDiscard, ErrPastEnd, the context's.
func Discard(ctx context.Context, f *os.File, off, length int64) error {
	fail := func(err error) error {
		return fmt.Errorf("discard %d bytes of %s at %d: %w", length, f.Name(), off, err)
	}
	if err := checkRange(f, off, length); err != nil {
		return fail(err)
	}
	z := zeroer{f: f, off: off, length: length, progress: func(int64) {}}
	err := z.chunks(ctx, offloadChunk, func(at, length int64) error {
		return ignoringInterrupts(func() error { return discard(f, at, length) })
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w (%w)", ErrNoDiscard, err)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func discard(f *os.File, at, length int64) error {
	if !isBlockDevice(f) {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length)
	}
	extent := [2]uint64{uint64(at), uint64(length)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&extent)))
	if errno != 0 {
		return errno
	}
	return nil
}
