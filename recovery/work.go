package recovery

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/opennebula"
)

// Work is what still works for VMs on this front-end, as far as it shows: a driver's
// processes, and what oned has begun since it started.
type Work struct {
	Processes []Process
	Self      int       // this process
	OnedStart time.Time // zero: no oned runs here
	// LastLine is when oned last wrote into a VM's log on this machine; zero: never.
	LastLine func(vm int) time.Time
	// Hung is a person's word that what oned has begun since its start is not at work either.
	Hung bool
}

// Process is one of this machine.
type Process struct {
	PID     int
	Name    string
	Command []string
	Start   time.Time
}

// of says what still works for a VM; "" nothing. In a failed state oned waits for a person.
func (w Work) of(vm *opennebula.VM) string {
	for _, p := range w.Processes {
		if p.PID != w.Self && isDriver(p.Command) && names(p.Command, vm.ID) {
			return fmt.Sprintf("process %d (%s)", p.PID, p.Name)
		}
	}
	waitsForPerson := vm.State != opennebula.StateActive || failedState(vm.LCMState) || vm.LCMState == opennebula.LCMUnknown
	if waitsForPerson || w.Hung || w.OnedStart.IsZero() {
		return ""
	}
	if last := w.lastSign(vm); last.After(w.OnedStart) {
		return fmt.Sprintf("oned, which began this at %s and runs since %s (if its driver hangs: --hung),", last.Format(time.DateTime), w.OnedStart.Format(time.DateTime))
	}
	return ""
}

// lastSign is when oned last showed that it deals with a VM: by its log, or, where it writes none
// (LOG with SYSTEM="syslog"), by the VM's record.
func (w Work) lastSign(vm *opennebula.VM) time.Time {
	if line := w.LastLine(vm.ID); !line.IsZero() || vm.Last() == nil {
		return line
	}
	return vm.Last().Since
}

// isDriver: a script of the transfer managers, of a hypervisor's or of network drivers, or the
// suite's programs.
func isDriver(command []string) bool {
	return slices.ContainsFunc(command, func(word string) bool {
		return strings.Contains(word, "/tm/") || strings.Contains(word, "/vmm/") || strings.Contains(word, "/vnm/") || strings.Contains(word, "tm-clvm") || strings.Contains(word, "vmm-rhcs")
	})
}

// names says whether the number is a word of the command, also of one within quotes.
func names(command []string, vm int) bool {
	isEnd := func(r rune) bool { return strings.ContainsRune(" \t\n'\"/:", r) }
	for _, word := range command {
		if slices.Contains(strings.FieldsFunc(word, isEnd), strconv.Itoa(vm)) {
			return true
		}
	}
	return false
}

// ReadWork reads /proc, and the logs that oned writes a VM.
func ReadWork(logs string) (Work, error) {
	w := Work{Self: os.Getpid(), LastLine: func(vm int) time.Time {
		info, err := os.Stat(filepath.Join(logs, strconv.Itoa(vm)+".log"))
		if err != nil {
			return time.Time{} // oned of this machine has never had to do with it
		}
		return info.ModTime()
	}}
	boot, err := bootTime()
	if err != nil {
		return w, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return w, fmt.Errorf("processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, ok := readProcess(pid, boot)
		if !ok {
			continue // it has ended
		}
		w.Processes = append(w.Processes, p)
		if p.Name == "oned" && p.Start.After(w.OnedStart) {
			w.OnedStart = p.Start
		}
	}
	return w, nil
}

// ticksPerSecond is what Linux counts a process's start in, on all machines.
const ticksPerSecond = 100

func readProcess(pid int, boot time.Time) (Process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, statErr := os.ReadFile(filepath.Join(dir, "stat"))
	command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if statErr != nil || err != nil || begin < 0 || end < begin {
		return Process{}, false
	}
	fields := strings.Fields(string(stat[end+1:])) // from the third on
	if len(fields) < 20 {
		return Process{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	words := strings.Split(strings.TrimRight(string(command), "\x00"), "\x00")
	start := boot.Add(time.Duration(ticks) * time.Second / ticksPerSecond)
	return Process{PID: pid, Name: string(stat[begin+1 : end]), Command: words, Start: start}, err == nil
}

func bootTime() (time.Time, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, fmt.Errorf("start of the machine: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if seconds, ok := strings.CutPrefix(line, "btime "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
			if err == nil {
				return time.Unix(n, 0), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("start of the machine: no btime in /proc/stat")
}
