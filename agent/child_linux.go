package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/tarmode"
)

// childMemory is a soft limit for the child, bytes: both processes of a node's side
// together stay below 96 MiB.
const childMemory = 48 << 20

// Confined is the child: it mounts one file system in its private namespaces, makes
// it all that it can see, gives up its privileges, and packs or unpacks. stdin and
// stdout carry the payload; reports go to descriptor 3. It returns an exit status.
func Confined(spec string) int {
	debug.SetMemoryLimit(childMemory)
	reports := &reporter{w: json.NewEncoder(os.NewFile(3, "reports"))}
	err := confined(spec, reports)
	if err != nil {
		reports.send(report{Error: &RemoteError{Kind: kindOf(err), Text: err.Error()}})
		return 1
	}
	return 0
}

// reporter sends progress, at most one line in each interval, and the last word.
type reporter struct {
	mu   sync.Mutex
	w    *json.Encoder
	sent time.Time
}

func (r *reporter) send(line report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.w.Encode(line) // without the parent nobody would read it, and the child is killed
}

func (r *reporter) progress(bytes, members int64) {
	r.mu.Lock()
	due := time.Since(r.sent) >= aliveInterval/2
	if due {
		r.sent = time.Now()
	}
	r.mu.Unlock()
	if due {
		r.send(report{Bytes: bytes, Members: members})
	}
}

func confined(spec string, reports *reporter) error {
	var t task
	if err := json.Unmarshal([]byte(spec), &t); err != nil {
		return fmt.Errorf("task: %w", err)
	}
	root, err := enter(&t)
	if err != nil {
		return err
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	if t.Pack {
		return packTree(&t, root, reports)
	}
	return unpackTree(&t, root, reports)
}

// enter mounts the device and makes a nearly empty tmpfs with only it and /proc (of
// this PID namespace: the child itself) the root directory.
func enter(t *task) (*os.File, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("none", t.Root, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "size=64k,mode=700"); err != nil {
		return nil, fmt.Errorf("mount a root at %s: %w", t.Root, err)
	}
	disk, proc := filepath.Join(t.Root, "disk"), filepath.Join(t.Root, "proc")
	if err := errors.Join(os.Mkdir(disk, 0o700), os.Mkdir(proc, 0o700)); err != nil {
		return nil, err
	}
	if err := mountDisk(t, disk); err != nil {
		return nil, err
	}
	if err := unix.Mount("proc", proc, "proc", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("mount proc: %w", err)
	}
	if err := pivot(t.Root); err != nil {
		return nil, err
	}
	return os.Open("/disk")
}

func mountDisk(t *task, at string) error {
	flags, data := uintptr(unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC), makers[t.FSType].mount
	if t.Pack {
		flags, data = flags|unix.MS_RDONLY, makers[t.FSType].save
	}
	if err := unix.Mount(t.Device, at, t.FSType, flags, data); err != nil {
		return fmt.Errorf("mount %s as %s: %w", t.Device, t.FSType, err)
	}
	return nil
}

func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter %s: %w", root, err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("make %s the root: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Chdir("/")
}

// kept are the capabilities that owners, modes, devices and attributes need, and
// SYS_ADMIN for trusted.* attributes and the unmount; nothing is reachable with it
// but the disk.
var kept = []uint{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_SETFCAP, unix.CAP_SYS_ADMIN, unix.CAP_MAC_ADMIN}

// dropPrivileges empties the bounding set but for kept and forbids new privileges, on
// this and all later threads.
func dropPrivileges() error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("forbid new privileges: %w", errno)
	}
	var keep uint64
	for _, c := range kept {
		keep |= 1 << c
	}
	return setCapabilities(keep)
}

func unpackTree(t *task, root *os.File, reports *reporter) (err error) {
	widen(os.Stdin.Fd())
	plain, err := tarmode.Decompress(bufio.NewReaderSize(os.Stdin, 256<<10), t.Mode)
	if err != nil {
		return err
	}
	opt := tarmode.UnpackOptions{MaxSize: t.MaxSize, Progress: reports.progress}
	stats, err := tarmode.Unpack(context.Background(), root, plain, opt)
	if err != nil {
		return err
	}
	if stats.Members == 0 {
		return fmt.Errorf("%w: an archive without a member", tarmode.ErrFormat)
	}
	if err := joinClose(unmount(root), plain); err != nil {
		return err
	}
	reports.send(report{Bytes: stats.Bytes, Members: stats.Members, Done: true})
	return nil
}

// unmount flushes everything and takes the file system off its device.
func unmount(root *os.File) error {
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return fmt.Errorf("flush the file system: %w", err)
	}
	if err := root.Close(); err != nil {
		return err
	}
	if err := unix.Unmount("/disk", 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return nil
}

func packTree(t *task, root *os.File, reports *reporter) error {
	packed, err := tarmode.NewCompressor(os.Stdout, t.Mode.Compression(), t.Level)
	if err != nil {
		return err
	}
	opt := tarmode.PackOptions{Global: tarmode.Identity(t.UUID, t.Label), Progress: reports.progress}
	stats, err := tarmode.Pack(context.Background(), packed, root, opt)
	if err = joinClose(err, packed); err != nil {
		return err
	}
	reports.send(report{Bytes: stats.Bytes, Members: stats.Members, Done: true})
	return nil
}
