package lvmfake

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"one-clvm/internal/run"
)

// Locking is the state of lvmlockd on a host.
type Locking int

// The states of lvmlockd. They concern shared groups only; for a clustered group all
// but the first mean that clvmd is not running.
const (
	LockdStarted       Locking = iota // running, lockspaces of all shared groups started
	LockdNotStarted                   // running, no lockspace started
	LockdDown                         // configured, not running
	LockdNotConfigured                // use_lvmlockd=0: shared groups are invisible
)

// Host is one node. It runs the fake programs.
type Host struct {
	store   *Store
	name    string
	version string
	locking Locking
	noise   string
	scanLVs bool
	frozen  bool
	filter  string

	looksInside bool // of the call that runs
	mutex       sync.Mutex
	calls       []run.Cmd
	faults      []*Fault
}

var _ run.Runner = (*Host)(nil)

// Host adds a node with LVM 2.03.16 and everything running.
func (s *Store) Host(name string) *Host {
	h := &Host{store: s, name: name, version: "2.03.16(2) (2022-05-18)"}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.hosts = append(s.hosts, h)
	return h
}

// SetVersion changes the LVM version, in the form that "lvm version" prints.
func (h *Host) SetVersion(version string) { h.locked(func() { h.version = version }) }

// SetLocking changes the state of lvmlockd.
func (h *Host) SetLocking(state Locking) { h.locked(func() { h.locking = state }) }

// SetNoise puts a text before every report, as old versions do with warnings.
func (h *Host) SetNoise(text string) { h.locked(func() { h.noise = text }) }

// Open opens the volume's device on this host, as a VM does, until release is called.
func (h *Host) Open(vg, lv string) (release func()) {
	var v *volume
	set := func(open bool) { h.locked(func() { v.at(h).open = open }) }
	h.locked(func() { v = h.store.must(vg, lv) })
	set(true)
	return func() { set(false) }
}

// Freeze stops the node without fencing it: nobody answers there. Under clvmd every LVM
// command on every node then waits, until Thaw or Crash. A command that waits ends
// with its context; one that writes is left running then.
func (h *Host) Freeze() { h.locked(func() { h.frozen = true }) }

// Thaw ends Freeze.
func (h *Host) Thaw() { h.locked(func() { h.frozen = false }) }

// hung says whether a command of this host waits for a frozen node.
func (h *Host) hung() bool {
	h.store.mutex.Lock()
	defer h.store.mutex.Unlock()
	frozen := slices.ContainsFunc(h.store.hosts, func(other *Host) bool { return other.frozen })
	clustered := slices.ContainsFunc(h.store.groups, func(g *group) bool { return g.LockType == LockCLVMD })
	return h.frozen || frozen && clustered
}

// Crash takes the node down and fences it: devices and locks are gone.
func (h *Host) Crash() {
	h.locked(func() {
		h.frozen = false
		for _, g := range h.store.groups {
			for _, v := range g.volumes {
				delete(v.on, h)
			}
		}
	})
}

func (h *Host) locked(fn func()) {
	h.store.mutex.Lock()
	defer h.store.mutex.Unlock()
	fn()
}

// Calls are the programs that ran on this host, each as one line.
func (h *Host) Calls() []string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var lines []string
	for _, c := range h.calls {
		lines = append(lines, strings.Join(append([]string{c.Path}, c.Args...), " "))
	}
	return lines
}

// Writers are the calls that were marked as writing metadata.
func (h *Host) Writers() []string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var names []string
	for _, c := range h.calls {
		if c.Writer {
			names = append(names, c.Path)
		}
	}
	return names
}

// ForgetCalls empties the list of calls.
func (h *Host) ForgetCalls() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.calls = nil
}

// Run implements run.Runner.
func (h *Host) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	if err := ctx.Err(); err != nil {
		return run.Result{Status: -1}, failure(c, run.Result{Status: -1}, err)
	}
	h.mutex.Lock()
	h.calls = append(h.calls, c)
	fault := h.takeFault(filepath.Base(c.Path))
	h.mutex.Unlock()
	if fault == nil && strings.HasPrefix(filepath.Base(c.Path), "lv") && filepath.Base(c.Path) != "lvm" && h.hung() {
		fault = &Fault{Hang: true}
	}
	if fault == nil {
		return finish(c, h.perform(c))
	}
	return fault.apply(ctx, h, c)
}

// perform runs a program on the shared state, one at a time: LVM's own locks.
func (h *Host) perform(c run.Cmd) run.Result {
	h.store.mutex.Lock()
	defer h.store.mutex.Unlock()
	answer := &reply{}
	if program, ok := programs[filepath.Base(c.Path)]; ok {
		program.run(h, answer, c.Args)
	} else {
		answer.fail(2, "%s: no such command", c.Path)
	}
	return run.Result{Stdout: []byte(answer.stdout.String()), Stderr: []byte(answer.stderr.String()), Status: answer.status}
}

// finish hands the output over as the real runner does.
func finish(c run.Cmd, result run.Result) (run.Result, error) {
	if c.Stdout != nil {
		if _, err := c.Stdout.Write(result.Stdout); err != nil {
			return result, failure(c, result, err)
		}
	}
	if c.Stderr != nil {
		if _, err := c.Stderr.Write(result.Stderr); err != nil {
			return result, failure(c, result, err)
		}
	}
	if result.Status != 0 {
		return result, failure(c, result, fmt.Errorf("exit status %d", result.Status))
	}
	return result, nil
}

func failure(c run.Cmd, result run.Result, err error) *run.Error {
	return &run.Error{Argv: append([]string{c.Path}, c.Args...), Status: result.Status, Stderr: string(result.Stderr), Err: err}
}

// Fault is something that goes wrong with the next calls of a program.
type Fault struct {
	Program string // "lvcreate"; "" means any
	Calls   int    // how many calls it hits; 0 means one, -1 all
	Skip    int    // how many calls pass before

	// What happens, the first one that is set:
	Hang     bool   // until the context ends; a writer is left running then
	Hanging  func() // called when the program hangs, nil for nothing
	NoEffect bool   // status 0 and nothing done
	CutShort bool   // the program runs, the second half of its output is lost
	Status   int    // exit status, with Stderr; nothing done
	Stderr   string // without Status: the program runs and prints this, too

	// Effect lets the program do its work although it hangs or fails.
	Effect bool
}

// Inject adds a fault. Faults are used up in the order in which they were added.
func (h *Host) Inject(f Fault) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if f.Calls == 0 {
		f.Calls = 1
	}
	h.faults = append(h.faults, &f)
}

// Heal takes all faults away.
func (h *Host) Heal() {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.faults = nil
}

// takeFault finds the fault for a call and counts it down.
func (h *Host) takeFault(program string) *Fault {
	for i, f := range h.faults {
		if f.Program != "" && f.Program != program {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Calls--; f.Calls == 0 {
			h.faults = slices.Delete(h.faults, i, i+1)
		}
		return f
	}
	return nil
}

func (f *Fault) apply(ctx context.Context, h *Host, c run.Cmd) (run.Result, error) {
	result := run.Result{}
	if f.Effect || !f.Hang && !f.NoEffect && f.Status == 0 {
		result = h.perform(c)
	}
	switch {
	case f.Hang:
		if f.Hanging != nil {
			f.Hanging()
		}
		<-ctx.Done()
		result = run.Result{Status: -1}
		if c.Writer {
			return result, failure(c, result, errors.Join(run.ErrStillRunning, ctx.Err()))
		}
		return result, failure(c, result, ctx.Err())
	case f.NoEffect:
		return finish(c, run.Result{})
	case f.CutShort:
		result.Stdout = result.Stdout[:len(result.Stdout)/2]
		return finish(c, result)
	case f.Status != 0:
		result.Status = f.Status
		result.Stdout = nil
	}
	result.Stderr = append(result.Stderr, f.Stderr...)
	return finish(c, result)
}
