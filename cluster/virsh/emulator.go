package virsh

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"one-clvm/cluster"
)

// Emulated is what the processes of this node say of a domain, for a libvirt that does not
// answer: Active where one of them emulates it, Absent where none does. Unknown where they
// cannot tell: not QEMU's, not on this node, or not readable. root is "/" outside of tests.
func Emulated(root string, s cluster.Service) cluster.Domain {
	if !strings.HasPrefix(s.Hypervisor, "qemu:///") && !strings.HasPrefix(s.Hypervisor, "qemu+unix:///") {
		return cluster.Unknown
	}
	entries, err := os.ReadDir(filepath.Join(root, "proc"))
	if err != nil {
		return cluster.Unknown
	}
	state := cluster.Unknown // without a process it is no /proc
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(root, "proc", e.Name(), "cmdline"))
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH): // it has ended meanwhile
		case err != nil:
			return cluster.Unknown
		case emulates(line, s.Name):
			return cluster.Active
		default:
			state = cluster.Absent
		}
	}
	return state
}

// emulates reads a command line, whose words end with a zero byte. libvirt calls the emulator
// with -name guest=NAME,…, and with -name NAME before 1.3.
func emulates(line []byte, name string) bool {
	words := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
	program := filepath.Base(words[0])
	known := strings.Contains(program, "qemu") || strings.Contains(program, "kvm")
	for i := 1; i < len(words); i++ {
		if words[i-1] != "-name" {
			continue
		}
		value, _, _ := strings.Cut(words[i], ",")
		guest, named := strings.CutPrefix(value, "guest=")
		if guest == name && (named || known) {
			return true
		}
	}
	return false
}
