package vmm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/cluster"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
	"one-clvm/lvm"
	"one-clvm/opennebula"
	"one-clvm/vmm/domain"
)

// LibvirtHook is /etc/libvirt/hooks/qemu, for a cluster manager that starts domains without
// a step for their volumes: rgmanager. libvirt calls it before a domain is started here, by
// whomever, and does not start it if the hook fails; and again when the domain is gone. It
// must not call libvirt.
type LibvirtHook struct {
	Config Config
	Groups []string // allowed volume groups
	Agents Agents
	Runner run.Runner
	Clock  cluster.Clock
	Stderr io.Writer // what libvirt logs
	// Later starts this program's command networks, with a phase and a domain, and does not wait
	// for it: libvirt waits for its hook.
	Later      func(ctx context.Context, phase, name string) error
	PhaseLimit time.Duration // of a network driver that libvirt waits for; 0 a minute
}

// lockWait is how long another operation on the VM is waited for, seconds.
const lockWait = 60

// What libvirt does when the hook has something to do.
const (
	hookArrives  = "migrate begin"
	hookPrepares = "prepare begin"
	hookStarted  = "started begin"
	hookReleases = "release end"
)

// HookCall is one call of libvirt's hook.
type HookCall struct {
	vm   int
	what string // "": nothing to do
}

// ParseHookCall reads how libvirt has called: the domain's name, what it does and which part of
// that. There is nothing to do for domains that are not OpenNebula's, and for all else that
// libvirt does.
func ParseHookCall(argv []string) HookCall {
	if len(argv) < 3 {
		return HookCall{}
	}
	vm, ours := vmOf(argv[0])
	what := argv[1] + " " + argv[2]
	if !ours || opennebula.ServiceName(vm) != argv[0] || !slices.Contains([]string{hookArrives, hookPrepares, hookStarted, hookReleases}, what) {
		return HookCall{}
	}
	return HookCall{vm, what}
}

// Idle says that there is nothing to do, and nothing that may fail: libvirt kills the guests
// whose hook fails when it is started again and finds them (reconnect).
func (c HookCall) Idle() bool { return c.what == "" }

// MayRefuse says whether libvirt may be told of a failure: it then does not start a domain that
// does not run yet.
func (c HookCall) MayRefuse() bool { return c.what == hookArrives || c.what == hookPrepares }

// Do is one call, with the domain on document.
func (h *LibvirtHook) Do(ctx context.Context, c HookCall, document io.Reader) error {
	var err error
	switch c.what {
	case hookArrives:
		err = h.announce(c.vm)
	case hookPrepares:
		err = h.prepare(ctx, c.vm, document)
	case hookStarted:
		err = h.after(ctx, c.vm)
	case hookReleases:
		err = errors.Join(h.job(c.vm).activate(ctx, lvm.Off), h.gone(ctx, c.vm))
	}
	if err != nil {
		return fmt.Errorf("VM %d: %s: %w", c.vm, c.what, err)
	}
	return nil
}

func (h *LibvirtHook) job(vm int) *job {
	a := &Agent{Config: h.Config, Groups: h.Groups, Agents: h.Agents, Runner: h.Runner, Clock: h.Clock}
	return &job{Agent: a, q: Request{VM: vm}, volumes: volumes{agents: h.Agents, groups: h.Groups, vm: vm, lockWait: lockWait}}
}

// prepare: the disks are the VM's own, and active on this node alone. A domain that comes by
// a migration finds them shared, in the window that the transfer manager has opened; without
// one the lock manager refuses, and the migration ends where it began. It refuses any other
// start on disks that are shared, too: the VM may run on the other node still.
func (h *LibvirtHook) prepare(ctx context.Context, vm int, document io.Reader) error {
	j := h.job(vm)
	ds, err := j.volumes.datastore(ctx)
	if err != nil {
		return err
	}
	if ds != opennebula.None {
		j.volumes.ds, j.volumes.home = ds, h.Config.homeOf(ds, vm)
	}
	disks, err := j.volumes.owned(ctx)
	if err != nil {
		return err
	}
	homes, err := h.Config.homesOf(ds, vm)
	if err != nil {
		return err
	}
	home, err := j.homeFor(document, homes, disks)
	if err != nil {
		return err
	}
	arriving, err := h.arriving(vm)
	if err != nil {
		return err
	}
	if arriving && inWindow(disks, h.Clock.Now()) {
		return h.arrived(ctx, vm, home)
	}
	if err := h.before(ctx, vm, home); err != nil || len(disks) == 0 {
		return err
	}
	if err := j.volumes.proof(disks); err != nil {
		return err
	}
	return j.volumes.set(ctx, Here, lvm.Exclusive, nil)
}

// arrival is how long a migration that is announced may take until the domain is prepared,
// which libvirt does next.
const arrival = time.Minute

func (h *LibvirtHook) announcement(vm int) string {
	return filepath.Join(h.Config.LockDir, "arriving-"+opennebula.ServiceName(vm))
}

// announce keeps until when the domain that libvirt prepares next comes by a migration.
// Crash: what is left, or cut off, is over by itself.
func (h *LibvirtHook) announce(vm int) error {
	if err := os.MkdirAll(h.Config.LockDir, 0o700); err != nil {
		return fmt.Errorf("announce the migration: %w", err)
	}
	failpoint.Hit("libvirthook.announcing")
	until := strconv.FormatInt(h.Clock.Now().Add(arrival).Unix(), 10)
	if err := os.WriteFile(h.announcement(vm), []byte(until), 0o600); err != nil {
		return fmt.Errorf("announce the migration: %w", err)
	}
	failpoint.Hit("libvirthook.announced")
	return nil
}

// arriving says whether a migration of the VM is announced, and forgets it: it counts for one
// start. One that cannot be read is none.
func (h *LibvirtHook) arriving(vm int) (bool, error) {
	text, err := os.ReadFile(h.announcement(vm))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = os.Remove(h.announcement(vm))
	}
	if err != nil {
		return false, fmt.Errorf("announced migration: %w", err)
	}
	failpoint.Hit("libvirthook.arriving")
	until, err := strconv.ParseInt(string(text), 10, 64)
	return err == nil && h.Clock.Now().Before(time.Unix(until, 0)), nil
}

// inWindow: all disks are shared for a live migration whose window is not over.
func inWindow(disks map[int]lvm.Volume, now time.Time) bool {
	for _, volume := range disks {
		window := volume.Tags.Get(lvm.TagMigrating)
		until, err := strconv.ParseInt(window[strings.LastIndexByte(window, ':')+1:], 10, 64)
		if volume.Mode != lvm.Shared || err != nil || !now.Before(time.Unix(until, 0)) {
			return false
		}
	}
	return true
}

// homesOf are the VM's homes: that of its datastore, or, where it has no disks that tell, all that
// are there.
func (c *Config) homesOf(ds, vm int) ([]string, error) {
	if ds != opennebula.None {
		return []string{c.homeOf(ds, vm)}, nil
	}
	var homes []string
	for _, base := range c.HomeBases {
		found, err := filepath.Glob(filepath.Join(base, "[0-9]*", strconv.Itoa(vm)))
		if err != nil {
			return nil, fmt.Errorf("homes below %s: %w", base, err)
		}
		homes = append(homes, found...)
	}
	return homes, nil
}

// homeFor checks the domain: it has what is the VM's own, and nothing else. The file that a
// cluster starts a VM from lies where oneadmin can write. The result is the home that it fits.
func (j *job) homeFor(document io.Reader, homes []string, disks map[int]lvm.Volume) (string, error) {
	text, err := io.ReadAll(io.LimitReader(document, maxDefinition))
	if err != nil {
		return "", fmt.Errorf("domain on standard input: %w", err)
	}
	refused := fmt.Errorf("%w: the VM has no home on this node: is its system datastore mounted?", domain.ErrRefused)
	for _, home := range homes {
		files, err := filesIn(home)
		if err != nil {
			return "", err
		}
		refused = domain.CheckCompleted(bytes.NewReader(text), domain.Owner{VM: j.q.VM, Home: home, Volumes: devices(disks), Files: files})
		if refused == nil {
			return home, nil
		}
	}
	return "", refused
}

// filesIn are the entries of a home. A domain that has its disks on the SAN alone may come to a node
// without the home.
func filesIn(dir string) (map[string]bool, error) {
	h, err := openHome(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer h.close()
	return h.entries()
}
