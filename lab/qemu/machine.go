// Package qemu runs one emulated machine: its command line, its process, its monitor.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
)

// Program is the emulator.
const Program = "qemu-system-x86_64"

// Spec is what a machine is made of. Its files lie in Directory, under its name.
type Spec struct {
	Name      string
	Directory string

	Kernel, Initramfs, RootFS string
	CommandLine               []string // added to the kernel's
	// Memory is a file, mapped; MemorySize bytes are the machine's. With MemoryShared
	// the file gets what the machine writes; else only this machine sees it.
	Memory       string
	MemorySize   int64
	MemoryShared bool

	// Disks are shared with the other machines.
	Disks []Disk
	// Private is a connected datagram socket to the other machine; nil for none.
	Private *os.File
	Index   int // 1 for the first machine; for addresses

	// Ports are virtio serial ports: the name inside, and the socket outside.
	Ports []Port

	// Incoming starts it stopped, to be given a state by Load.
	Incoming bool
}

// Disk is a SCSI disk backed by a raw file.
type Disk struct{ ID, File string }

// Port is a virtio serial port. Listen: QEMU listens on the socket, for one at a time;
// else it connects, again and again.
type Port struct {
	Name, Socket string
	Listen       bool
}

// Devices that faults are about.
const (
	ManagementLink = "management"
	PrivateLink    = "private"
)

// processor has what costs the emulator nothing extra. Without it: copying with rep movsb
// (erms), which goes byte by byte; page tables of five levels (la57); and protections
// whose every switch ends a piece of translated code.
const processor = "max,-erms,-la57,-smap,-smep,-pku"

// kernelOptions save time where every instruction is emulated. norandmaps: a program at
// the same addresses as before is translated already.
const kernelOptions = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr ipv6.disable=1 apparmor=0 selinux=0 " +
	"no_timer_check tsc=reliable random.trust_cpu=on cryptomgr.notests nowatchdog net.ifnames=0 rcupdate.rcu_expedited=1 " +
	"raid=noautodetect norandmaps init_on_alloc=0"

// Machine is a QEMU process.
type Machine struct {
	Spec   Spec
	ended  chan struct{}
	endErr error
	cancel context.CancelFunc
}

func (s Spec) file(suffix string) string { return filepath.Join(s.Directory, s.Name+suffix) }

// Console is the file that gets what the machine writes to its serial console.
func (s Spec) Console() string { return s.file(".console") }

// Monitor is the socket of QEMU's monitor.
func (s Spec) Monitor() string { return s.file(".qmp") }

// PIDFile is where QEMU writes its process id.
func (s Spec) PIDFile() string { return s.file(".pid") }

// Arguments is QEMU's command line.
func (s Spec) Arguments() []string {
	share := "off"
	if s.MemoryShared {
		share = "on"
	}
	memory := fmt.Sprintf("%dM", s.MemorySize>>20)
	args := []string{
		"-name", s.Name, "-accel", "tcg,tb-size=512", "-cpu", processor, "-smp", "1",
		"-M", "q35,usb=off,vmport=off,smbus=off,i8042=off,hpet=on,memory-backend=ram",
		"-m", memory, "-object", "memory-backend-file,id=ram,size=" + memory + ",mem-path=" + s.Memory + ",share=" + share,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=allow",
		"-kernel", s.Kernel, "-initrd", s.Initramfs, "-append", strings.Join(append([]string{kernelOptions + clockOption()}, s.CommandLine...), " "),
		"-serial", "file:" + s.Console(), "-qmp", "unix:" + s.Monitor() + ",server=on,wait=off", "-pidfile", s.PIDFile(),
		"-blockdev", "driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=" + s.RootFS + ",file.locking=off,cache.no-flush=on",
		"-device", "virtio-blk-pci,drive=root",
		"-device", "virtio-scsi-pci,id=san,num_queues=1",
		"-device", "virtio-serial-pci,id=ports",
		"-device", "virtio-rng-pci",
		"-netdev", "user,id=" + ManagementLink + ",restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22",
		"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=52:54:00:00:00:%02x,romfile=", ManagementLink, s.Index),
	}
	for i, d := range s.Disks {
		args = append(args,
			// No cache of its own: what one machine has written the other reads. That
			// is the host's page cache; a crash of the host is none of the lab's faults.
			"-blockdev", "driver=raw,node-name="+d.ID+",file.driver=file,file.filename="+d.File+",file.locking=off,cache.no-flush=on,discard=unmap",
			"-device", fmt.Sprintf("scsi-hd,id=%s,drive=%s,bus=san.0,lun=%d,share-rw=on,serial=%s,wwn=%#x,vendor=LAB,product=SAN,rerror=report,werror=report",
				d.device(), d.ID, i, s.serial(d), s.wwn(d)))
	}
	for i, p := range s.Ports {
		how := "reconnect=1"
		if p.Listen {
			how = "server=on,wait=off"
		}
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=port%d,path=%s,%s", i, p.Socket, how),
			"-device", fmt.Sprintf("virtserialport,bus=ports.0,nr=%d,chardev=port%d,name=%s", i+1, i, p.Name))
	}
	// The second interface is there also on a machine that is alone.
	private := "hubport,hubid=0,id=" + PrivateLink
	if s.Private != nil {
		private = "dgram,id=" + PrivateLink + ",local.type=fd,local.str=3"
	}
	args = append(args, "-netdev", private, "-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=52:54:00:00:01:%02x,romfile=", PrivateLink, s.Index))
	if s.Incoming {
		args = append(args, "-S", "-incoming", "defer")
	}
	return args
}

func (d Disk) device() string { return d.ID + "-device" }

// A disk's identity is the same on every machine and path.
func (s Spec) serial(d Disk) string { return fmt.Sprintf("LABSAN%d", slices.Index(s.Disks, d)) }

func (s Spec) wwn(d Disk) int { return 0x5000c50012340000 + slices.Index(s.Disks, d) }

// Start starts the machine. It dies with this process.
func Start(s Spec) (*Machine, error) {
	for _, stale := range []string{s.Monitor(), s.PIDFile()} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Machine{Spec: s, ended: make(chan struct{}), cancel: cancel}
	c := run.Cmd{Path: Program, Args: s.Arguments(), DiesWithCaller: true}
	if s.Private != nil {
		c.Files = []*os.File{s.Private}
	}
	go func() {
		defer close(m.ended)
		_, m.endErr = run.Exec{}.Run(ctx, c)
	}()
	for {
		if m.listens() {
			return m, nil
		}
		select {
		case <-m.ended:
			cancel()
			return nil, fmt.Errorf("start %s: %w", s.Name, m.endErr)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// listens says whether the process has written its id and answers on its monitor.
func (m *Machine) listens() bool {
	text, err := os.ReadFile(m.Spec.PIDFile())
	if err != nil || !strings.HasSuffix(string(text), "\n") {
		return false
	}
	connection, err := net.Dial("unix", m.Spec.Monitor()) //nolint:noctx // at once
	if err != nil {
		return false
	}
	return connection.Close() == nil
}

// Ended is closed when the process has ended.
func (m *Machine) Ended() <-chan struct{} { return m.ended }

// Kill kills the process, whatever it does, and waits for its end.
func (m *Machine) Kill() {
	m.cancel()
	<-m.ended
}

// PID is the process of a machine of that specification, which may have been started by
// another program. ErrNotRunning when there is none.
func (s Spec) PID() (int, error) {
	text, err := os.ReadFile(s.PIDFile())
	if errors.Is(err, os.ErrNotExist) {
		return 0, ErrNotRunning
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s.PIDFile(), err)
	}
	// The number may belong to another process by now.
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(command), s.PIDFile()) {
		return 0, ErrNotRunning
	}
	return pid, nil
}

// ErrNotRunning says that there is no such process.
var ErrNotRunning = errors.New("the machine does not run")

// Signal sends a signal to the process: SIGKILL is a power cut, SIGSTOP a freeze,
// SIGCONT its end.
func (s Spec) Signal(signal unix.Signal) error {
	pid, err := s.PID()
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	if err := unix.Kill(pid, signal); err != nil {
		return fmt.Errorf("%s: %s to process %d: %w", s.Name, signal, pid, err)
	}
	return nil
}

// PowerOff kills the process and waits until it is gone. A machine that does not run is
// off.
func (s Spec) PowerOff() error {
	err := s.powerOff()
	if errors.Is(err, ErrNotRunning) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("power off %s: %w", s.Name, err)
	}
	return nil
}

func (s Spec) powerOff() error {
	pid, err := s.PID()
	if err != nil {
		return err
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(process) // nothing was written
	// From here on the number cannot become another process's; until here it could.
	if _, err := s.PID(); err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil {
		return err
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
