package vmm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/cluster/standalone"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/publish"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// What OpenNebula runs of its network drivers around its own verbs, for a VM that rgmanager starts or
// stops by itself. pre runs in libvirt's hook, before the domain. post and clean ask libvirt, which
// a hook must not: the hook leaves a process behind for them (Networks).

// due is the phase that a VM's networks need next on this node.
type due struct {
	phase phase
	home  string
}

// settled: none is needed.
const settled phase = "none"

const (
	networksPrefix = "networks-" // of the files that keep what is due
	phaseLimit     = time.Minute // of what the hook itself runs: libvirt waits for it
	// runningLimit is how long a domain that was started may take to run.
	runningLimit = 10 * time.Minute
)

// dueFile is where a VM's is kept; it goes with the node, as what it is about does.
func (h *LibvirtHook) dueFile(vm int) string {
	return filepath.Join(h.Config.LockDir, networksPrefix+opennebula.ServiceName(vm))
}

// readDue is what is due; the zero one where nothing is known.
func (h *LibvirtHook) readDue(vm int) (due, error) {
	text, err := os.ReadFile(h.dueFile(vm))
	if errors.Is(err, fs.ErrNotExist) {
		return due{}, nil
	}
	if err != nil {
		return due{}, fmt.Errorf("networks that are due: %w", err)
	}
	p, home, _ := strings.Cut(string(text), " ")
	return due{phase(p), home}, nil
}

// setDue keeps what is due, whole or not at all. Crash: before, what was due is; after, what is.
func (h *LibvirtHook) setDue(vm int, d due) error {
	failpoint.Hit("libvirthook.networks")
	file, err := publish.Create(h.dueFile(vm))
	if err != nil {
		return fmt.Errorf("networks that are due: %w", err)
	}
	_, err = file.WriteString(string(d.phase) + " " + d.home)
	if err == nil {
		err = file.Publish()
	}
	if err := errors.Join(err, file.Discard()); err != nil { // of what was published nothing
		return fmt.Errorf("networks that are due: %w", err)
	}
	failpoint.Hit("libvirthook.due")
	return nil
}

// lockNetworks keeps the phases of a VM apart: a clean of before, and the pre of the next start.
func (h *LibvirtHook) lockNetworks(ctx context.Context, vm int, patience time.Duration) (*os.File, error) {
	lock, err := cluster.LockFile(ctx, h.dueFile(vm)+".lock", h.Clock, patience)
	if err != nil {
		return nil, fmt.Errorf("another phase of its networks: %w", err)
	}
	return lock, nil
}

// before runs pre, for a domain that starts. A clean that has not begun yet is not needed any more.
func (h *LibvirtHook) before(ctx context.Context, vm int, home string) error {
	limit := h.PhaseLimit
	if limit == 0 {
		limit = phaseLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	lock, err := h.lockNetworks(ctx, vm, limit)
	if err != nil {
		return err
	}
	defer lock.Close() // the lock ends with it
	if err := h.setDue(vm, due{post, home}); err != nil {
		return err
	}
	n := h.networks(vm, home)
	n.unstarted = true
	return n.run(ctx, pre)
}

// arrived keeps the home of a VM that comes by a migration: OpenNebula, which has asked for it,
// runs pre and post.
func (h *LibvirtHook) arrived(ctx context.Context, vm int, home string) error {
	lock, err := h.lockNetworks(ctx, vm, phaseLimit)
	if err != nil {
		return err
	}
	defer lock.Close() // the lock ends with it
	return h.setDue(vm, due{settled, home})
}

// after has post run once the domain does.
func (h *LibvirtHook) after(ctx context.Context, vm int) error {
	if d, err := h.readDue(vm); err != nil || d.phase != post {
		return err
	}
	return h.later(ctx, post, vm)
}

// gone has clean run. Crash before the process is there: the next start's pre finds what there is.
func (h *LibvirtHook) gone(ctx context.Context, vm int) error {
	d, err := h.readDue(vm)
	if err != nil || d.home == "" {
		return err
	}
	if err := h.setDue(vm, due{clean, d.home}); err != nil {
		return err
	}
	return h.later(ctx, clean, vm)
}

func (h *LibvirtHook) later(ctx context.Context, p phase, vm int) error {
	if err := h.Later(ctx, string(p), opennebula.ServiceName(vm)); err != nil {
		return fmt.Errorf("leave %s of its networks to a process of its own: %w", p, err)
	}
	return nil
}

func (h *LibvirtHook) networks(vm int, home string) *networks {
	j := h.job(vm)
	j.q.Home = home
	return j.networks(j.q, h.log)
}

func (h *LibvirtHook) log(format string, args ...any) {
	fmt.Fprintln(h.Stderr, opennebula.Sanitize(fmt.Sprintf(format, args...)))
}

// Networks is what the hook leaves behind: a phase, post or clean, of a VM's networks. One that is not
// due any more is not run.
func (h *LibvirtHook) Networks(ctx context.Context, p, name string) error {
	vm, ours := vmOf(name)
	if !ours || opennebula.ServiceName(vm) != name || phase(p) != post && phase(p) != clean {
		return fmt.Errorf("networks %q of %q: needed are post or clean, and a VM's name", p, name)
	}
	ctx, cancel := context.WithTimeout(ctx, runningLimit+phaseLimit)
	defer cancel()
	if phase(p) == post {
		if runs, err := h.awaitRunning(ctx, vm); err != nil || !runs {
			return err
		}
	}
	lock, err := h.lockNetworks(ctx, vm, phaseLimit)
	if err != nil {
		return err
	}
	defer lock.Close() // the lock ends with it
	d, err := h.readDue(vm)
	if err != nil || d.phase != phase(p) {
		return err
	}
	if d.phase == post {
		return h.runPost(ctx, vm, d.home)
	}
	err = h.networks(vm, d.home).run(ctx, clean)
	if errors.Is(err, fs.ErrNotExist) { // OpenNebula has removed the home, and cleaned before
		err = nil
	}
	return errors.Join(err, h.setDue(vm, due{settled, ""}))
}

// awaitRunning waits for libvirt's word; false for a domain that is gone again.
func (h *LibvirtHook) awaitRunning(ctx context.Context, vm int) (bool, error) {
	deadline := h.Clock.Now().Add(runningLimit)
	service := h.service(vm)
	for {
		state, why := h.job(vm).virsh().State(ctx, service)
		switch {
		case state == cluster.Active:
			return true, nil
		case state == cluster.Absent || state == cluster.Crashed:
			return false, nil
		case !h.Clock.Now().Before(deadline):
			return false, fmt.Errorf("%s does not run after %s (%s %s): its networks are without post", service.Name, runningLimit, state, why)
		}
		if err := h.Clock.Sleep(ctx, time.Second); err != nil {
			return false, err
		}
	}
}

func (h *LibvirtHook) service(vm int) cluster.Service {
	q := Request{VM: vm, Start: lockWait, Shutdown: lockWait, Migrate: lockWait, Settle: lockWait}
	return q.service(&h.Config)
}

// runPost runs post; a VM without its security groups is not left running. Crash: the VM runs without
// them, and post stays due.
func (h *LibvirtHook) runPost(ctx context.Context, vm int, home string) error {
	err := h.networks(vm, home).run(ctx, post)
	failpoint.Hit("libvirthook.posted")
	if err == nil {
		if d, readErr := h.readDue(vm); readErr != nil || d.phase != post { // the domain is gone meanwhile
			return readErr
		}
		return h.setDue(vm, due{settled, home})
	}
	j := h.job(vm)
	x := &cluster.Executor{
		Stack: &standalone.Stack{Hypervisor: j.virsh()}, Runner: h.Runner, Clock: h.Clock, Log: h.log,
		Volumes: func(ctx context.Context, mode lvm.Mode) error { return j.activate(ctx, mode) },
	}
	return errors.Join(err, x.Do(context.WithoutCancel(ctx), cluster.Order{Verb: cluster.VerbCancel, Service: h.service(vm)}))
}
