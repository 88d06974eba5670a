package filevg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/lvm"
)

// Loop devices by the ioctls of linux/loop.h. No program is needed, and a device is
// never taken for another's: before anything is done to it, the kernel is asked over
// which inode and which range it really is.

const (
	loopControl   = "/dev/loop-control"
	loopBlockSize = 512 // LVM's usual logical block

	// Others may take a free loop device first, or have one open for a moment (udev
	// looks at every new block device): so many tries, so far apart.
	loopTries = 100
	loopPause = 10 * time.Millisecond
)

// loopDevice is an attached loop device.
type loopDevice struct {
	number int
	byteRange
}

func (d loopDevice) name() string { return "loop" + strconv.Itoa(d.number) }
func (d loopDevice) path() string { return "/dev/" + d.name() }

// attach makes a loop device over a range of pv.
func attach(pv string, r byteRange) (loopDevice, error) {
	backing, err := os.OpenFile(pv, os.O_RDWR, 0)
	if err != nil {
		return loopDevice{}, err
	}
	defer backing.Close()
	f, number, err := attachAny(backing, loopInfo(r))
	if err != nil {
		return loopDevice{}, err
	}
	return loopDevice{number, r}, f.Close()
}

// Attach makes a loop device over a whole file, which is there until it is closed and
// nobody else has it open or mounted.
func Attach(file *os.File) (*os.File, error) {
	f, _, err := attachAny(file, unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR})
	return f, err
}

// attachAny attaches a free loop device, and has it open.
func attachAny(backing *os.File, info unix.LoopInfo64) (f *os.File, number int, err error) {
	for try := 1; ; try++ {
		f, number, err := attachFree(backing, info)
		if err == nil {
			return f, number, nil
		}
		if !errors.Is(err, unix.EBUSY) || try == loopTries {
			return nil, 0, fmt.Errorf("attach a loop device: %w", err)
		}
		time.Sleep(loopPause) // another process took it: the next one is free
	}
}

func attachFree(backing *os.File, info unix.LoopInfo64) (f *os.File, number int, err error) {
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer control.Close()
	number, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", loopControl, err)
	}
	f, err = os.OpenFile(loopDevice{number: number}.path(), os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	err = makeRoots(f)
	if err == nil {
		if err = configure(f, backing, info); err != nil {
			err = fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, number, nil
}

// makeRoots takes the device from whomever its last volume was given to: the next one to
// use it may be somebody who knows nothing of volumes.
func makeRoots(f *os.File) error {
	if err := errors.Join(f.Chown(0, 0), f.Chmod(0o660)); err != nil {
		return fmt.Errorf("owner of %s: %w", f.Name(), err)
	}
	return nil
}

// configure connects the loop device in one step where the kernel can (Linux 5.8).
func configure(f, backing *os.File, info unix.LoopInfo64) error {
	err := unix.IoctlLoopConfigure(int(f.Fd()), &unix.LoopConfig{Fd: uint32(backing.Fd()), Size: loopBlockSize, Info: info})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		return configureInSteps(f, backing, info)
	}
	return err
}

// configureInSteps is for older kernels. Killed between the steps, it leaves a device
// over all of pv; it matches no volume, and the next change detaches it.
func configureInSteps(f, backing *os.File, info unix.LoopInfo64) error {
	fd := int(f.Fd())
	if err := unix.IoctlSetInt(fd, unix.LOOP_SET_FD, int(backing.Fd())); err != nil {
		return err
	}
	err := retryAgain(func() error { return unix.IoctlLoopSetStatus64(fd, &info) })
	if err != nil {
		return errors.Join(err, unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0))
	}
	return nil
}

// loopInfo has no flags: no partition scan of what a guest wrote, no direct I/O, and
// no autoclear, so that the device stays while nobody has it open.
func loopInfo(r byteRange) unix.LoopInfo64 {
	return unix.LoopInfo64{Offset: uint64(r.Offset), Sizelimit: uint64(r.Length)}
}

// detach removes the loop device. ErrInUse when somebody has it open; then it stays.
func detach(pv string, d loopDevice) error {
	for try := 1; ; try++ {
		err := detachOnce(pv, d)
		if err == nil {
			return awaitDetached(pv, d)
		}
		if !errors.Is(err, errOpen) {
			return err
		}
		if try == loopTries {
			return fmt.Errorf("%w: %s is open; close it first (fuser -v %s tells who)", lvm.ErrInUse, d.path(), d.path())
		}
		time.Sleep(loopPause)
	}
}

// errOpen: somebody has the device open, perhaps for a moment only.
var errOpen = errors.New("device is open")

func detachOnce(pv string, d loopDevice) error {
	f, err := os.OpenFile(d.path(), os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %s is mounted or held; unmount it first", lvm.ErrInUse, d.path())
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := verify(f, pv, d); err != nil {
		return err
	}
	// What others wrote and closed reaches pv even where the last close does not flush.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", d.path(), err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		return fmt.Errorf("detach %s: %w", d.path(), err)
	}
	if err := cancelAutoclear(f); err != nil {
		return err
	}
	return makeRoots(f)
}

// cancelAutoclear looks what LOOP_CLR_FD did. With other openers it only marks the
// device to go away after the last of them; such a device would vanish some time
// later, and until then it is in use: the mark is taken back.
func cancelAutoclear(f *os.File) error {
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if errors.Is(err, unix.ENXIO) {
		return nil // detached, or it will be by closing f
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	info.Flags &^= unix.LO_FLAGS_AUTOCLEAR
	err = retryAgain(func() error { return unix.IoctlLoopSetStatus64(int(f.Fd()), info) })
	if err != nil {
		return fmt.Errorf("keep %s: %w", f.Name(), err)
	}
	return errOpen
}

// awaitDetached waits until the device has let pv go: that is the work of the last
// close, which may be that of a child just forked by another goroutine.
func awaitDetached(pv string, d loopDevice) error {
	for range loopTries {
		r, over, err := readLoop(filepath.Join(sysBlock, d.name(), "loop"), pv)
		if err != nil || !over || r != d.byteRange {
			return err
		}
		time.Sleep(loopPause)
	}
	return fmt.Errorf("%s is still over %s", d.path(), pv)
}

// resize sets the length of the range; the device may be open and mounted.
func resize(pv string, d loopDevice, length int64) error {
	f, err := os.OpenFile(d.path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := verify(f, pv, d); err != nil {
		return err
	}
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("%s: %w", d.path(), err)
	}
	info.Sizelimit = uint64(length)
	err = retryAgain(func() error { return unix.IoctlLoopSetStatus64(int(f.Fd()), info) })
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: this kernel does not resize %s while it is open", lvm.ErrInUse, d.path())
	}
	if err != nil {
		return fmt.Errorf("resize %s: %w", d.path(), err)
	}
	return nil
}

// over asks the kernel whether the device is over the very file pv.
func over(pv string, d loopDevice) (bool, error) {
	f, err := os.Open(d.path())
	if isDetached(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if isDetached(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", d.path(), err)
	}
	var st unix.Stat_t
	if err := unix.Stat(pv, &st); err != nil {
		return false, fmt.Errorf("%s: %w", pv, err)
	}
	return info.Device == st.Dev && info.Inode == st.Ino, nil
}

// verify asks the kernel whether f is the device that d says: its number may have
// been given to something else since.
func verify(f *os.File, pv string, d loopDevice) error {
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	var st unix.Stat_t
	if err := unix.Stat(pv, &st); err != nil {
		return fmt.Errorf("%s: %w", pv, err)
	}
	same := info.Device == st.Dev && info.Inode == st.Ino && info.Offset == uint64(d.Offset) && info.Sizelimit == uint64(d.Length)
	if !same {
		return fmt.Errorf("%s is not over %d bytes of %s at %d any more; try again", f.Name(), d.Length, pv, d.Offset)
	}
	return nil
}

// retryAgain repeats a LOOP_SET_STATUS64 that finds pages being written (EAGAIN on
// kernels before 5.11).
func retryAgain(call func() error) error {
	var err error
	for range loopTries {
		if err = retryInterrupted(call); !errors.Is(err, unix.EAGAIN) {
			return err
		}
		time.Sleep(loopPause)
	}
	return err
}
