package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Sentinels of zeroing. Test with errors.Is.
var (
	// ErrNotZero: after everything was tried, a byte that should be zero is not. The
	// range must not be given to anybody.
	ErrNotZero = errors.New("range does not read as zeros")
	// ErrPastEnd: the range does not end within the device. Nothing was written.
	ErrPastEnd = errors.New("range goes past the end of the device")
)

// ZeroMode is how a range is zeroed.
type ZeroMode int

// The modes of zeroing.
const (
	// ZeroAuto lets the device do it, and writes where it cannot or does not.
	ZeroAuto ZeroMode = iota
	// ZeroWrite writes, for arrays whose offload is slow or not trusted.
	ZeroWrite
)

// ZeroReport says what Zero did.
type ZeroReport struct {
	// Offloaded: the device wrote the zeros by itself.
	Offloaded bool
	// Bytes done: the whole range, or how far it got before an error. After
	// ErrNotZero they mean nothing.
	Bytes int64
	// OffloadError is why the offload did not count, in mode ZeroAuto. It is
	// information: the zeros were written instead.
	OffloadError error
}

const (
	// What one call asks of the device: an array works on it without a chance to
	// cancel, and the first chunks of a large disk cost more calls than time.
	offloadChunk = 8 << 30
	writeChunk   = 4 << 20
)

// Zero makes length bytes from off on of a block device (or a regular file) read as
// zeros, and proves it by reading back samples that were set to something else
// before. f must be open for reading and writing; off and length must be multiples of
// the device's logical block size. progress, if not nil, is told the bytes done so
// far; they start again from 0 when writing has to replace the offload.
//
// Only an operation that guarantees zeros counts, never a discard:
// FALLOC_FL_PUNCH_HOLE on a block device (Linux 4.9) is blkdev_issue_zeroout without
// fallback; the device writes zeroes itself or the call fails with EOPNOTSUPP.
//
// Errors: ErrNotZero, ErrPastEnd, the context's, or what the device reported. The
// device's end is known before the first write, so ENOSPC is never that end: it is a
// thin pool or an array that is full. After an error the range holds anything, also
// marks of Zero.
func Zero(ctx context.Context, f *os.File, off, length int64, mode ZeroMode, progress func(done int64)) (ZeroReport, error) {
	fail := func(r ZeroReport, err error) (ZeroReport, error) {
		return r, fmt.Errorf("zero %d bytes of %s at %d: %w", length, f.Name(), off, err)
	}
	if progress == nil {
		progress = func(int64) {}
	}
	z := zeroer{f: f, off: off, length: length, progress: progress}
	if err := checkRange(f, off, length); err != nil {
		return fail(ZeroReport{}, err)
	}
	var report ZeroReport
	if mode == ZeroAuto {
		err := z.try(ctx, z.punch)
		if err == nil {
			return ZeroReport{Offloaded: true, Bytes: length}, nil
		}
		if ctx.Err() != nil {
			return fail(ZeroReport{Bytes: z.done}, ctx.Err())
		}
		report.OffloadError = err
	}
	err := z.try(ctx, z.write)
	report.Bytes = z.done
	if err != nil {
		return fail(report, errors.Join(err, report.OffloadError))
	}
	return report, nil
}

// zeroer is one call of Zero.
type zeroer struct {
	f           *os.File
	off, length int64
	done        int64
	progress    func(int64)
}

// try is one rung of the ladder: mark samples, write zeros, flush, see whether the marks
// are gone.
func (z *zeroer) try(ctx context.Context, zeros func(context.Context) error) error {
	z.done = 0
	if z.length == 0 {
		return nil
	}
	samples := pickSamples(z.off, z.length, defaultSamples)
	if err := markSamples(z.f, samples); err != nil {
		return fmt.Errorf("mark samples: %w", err)
	}
	if err := zeros(ctx); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(z.f.Fd())); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return checkSamples(z.f, samples)
}

// punch lets the device write the zeros.
func (z *zeroer) punch(ctx context.Context) error {
	return z.chunks(ctx, offloadChunk, func(at, length int64) error {
		err := ignoringInterrupts(func() error {
			return unix.Fallocate(int(z.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length)
		})
		if err != nil {
			return fmt.Errorf("offload at %d: %w", at, err)
		}
		return nil
	})
}

// write writes the zeros, past the page cache where that is possible: the zeros of a
// whole disk would push everything else out of it.
func (z *zeroer) write(ctx context.Context) error {
	out, err := reopenDirect(z.f, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer out.Close()
	zeros := alignedBuffer(writeChunk)
	return z.chunks(ctx, writeChunk, func(at, length int64) error {
		_, err := out.WriteAt(zeros[:length], at)
		return err
	})
}

// chunks walks over the range, in steps that a cancelled context ends in between.
func (z *zeroer) chunks(ctx context.Context, size int64, do func(at, length int64) error) error {
	for z.done < z.length {
		if err := ctx.Err(); err != nil {
			return err
		}
		length := min(size, z.length-z.done)
		if err := do(z.off+z.done, length); err != nil {
			return err
		}
		z.done += length
		z.progress(z.done)
	}
	return nil
}

// checkRange refuses what no device could do before anything is written.
func checkRange(f *os.File, off, length int64) error {
	size, err := DeviceSize(f)
	if err != nil {
		return err
	}
	if off < 0 || length < 0 {
		return fmt.Errorf("negative range: %d bytes at %d", length, off)
	}
	if off > size || length > size-off {
		return fmt.Errorf("%w: it has %d bytes", ErrPastEnd, size)
	}
	block, err := logicalBlock(f)
	if err != nil {
		return err
	}
	if off%block != 0 || length%block != 0 {
		return fmt.Errorf("range is not in whole blocks of %d bytes", block)
	}
	return nil
}

func ignoringInterrupts(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
