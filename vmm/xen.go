package vmm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"one-clvm/cluster"
	"one-clvm/internal/beneath"
	"one-clvm/internal/failpoint"
	"one-clvm/internal/lazyregexp"
	"one-clvm/opennebula"
	"one-clvm/vmm/domain"
)

// xenDefinition is the file in the home that a Xen VM is restored from, where its home goes.
const xenDefinition = "domain.cfg"

// xenFiles are the VMs' files, in CFG_DIR, which the nodes share and only root writes: a VM's
// has the VM's name, and says whose it is.
type xenFiles struct {
	dir   string
	bases []string // directories of the homes
}

func (f xenFiles) open() (*home, error) {
	d, err := beneath.Open(f.dir)
	if err != nil {
		return nil, fmt.Errorf("CFG_DIR %s: is it there, and mounted on this node? %w", f.dir, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(d.Fd(), &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("CFG_DIR %s: %w", f.dir, err), d.Close())
	}
	if int(stat.Uid) != os.Geteuid() || stat.Mode&0o022 != 0 {
		return nil, errors.Join(fmt.Errorf("%w: others than root can write in CFG_DIR %s: run chown root %s; chmod go-w %s", cluster.ErrRefused, f.dir, f.dir, f.dir), d.Close())
	}
	return &home{d}, nil
}

// names are those of all VMs of the cluster, with their numbers.
func (f xenFiles) names() (map[string]int, error) {
	h, err := f.open()
	if err != nil {
		return nil, err
	}
	defer h.close()
	entries, err := h.entries()
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for name, regular := range entries {
		if !regular || !hostPattern.MatchString(name) {
			continue
		}
		text, err := h.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another VM's, which just ends
		}
		if err != nil {
			return nil, err
		}
		if vm, ok := domain.OwnerOfXen(text); ok {
			out[name] = vm
		}
	}
	return out, nil
}

// XenVMs are the VMs that have a file in CFG_DIR, by name. Only root can read them.
func XenVMs(dir string) (map[string]int, error) { return xenFiles{dir: dir}.names() }

// find is the name of a VM; "" for one without a file.
func (f xenFiles) find(vm int) (string, error) {
	all, err := f.names()
	if err != nil {
		return "", err
	}
	var found []string
	for name, owner := range all {
		if owner == vm {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("VM %d has the files %s in %s: remove all but the one that it runs by", vm, strings.Join(found, " and "), f.dir)
}

// write makes a VM's file. One of that name which is another's stays as it is, unless that
// VM has no home any more: what a failed verb leaves here goes nowhere else.
func (f xenFiles) write(vm int, name, text string) error {
	h, err := f.open()
	if err != nil {
		return err
	}
	defer h.close()
	old, err := h.read(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	owner, ours := domain.OwnerOfXen(old)
	if err == nil && (!ours || owner != vm && !f.homeless(owner)) {
		return fmt.Errorf("%w: %s/%s is there, and not of VM %d: put %%I into VM_FQDN_TEMPLATE, so that no two VMs have one name", cluster.ErrRefused, f.dir, name, vm)
	}
	return h.write(name, text)
}

// free: a file of that name is not there. One would go with the VM, and its domain, too.
func (f xenFiles) free(vm int, name string) error {
	_, err := os.Lstat(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: %s/%s is there, and has no line %s%d, by which it would be the VM's; nothing was changed: rename it", cluster.ErrRefused, f.dir, name, domain.Marker, vm)
	}
	return err
}

// homeless: all system datastores are mounted, and none has a home of the VM.
func (f xenFiles) homeless(vm int) bool {
	for _, base := range f.bases {
		stores, err := os.ReadDir(base)
		if err != nil || len(stores) == 0 {
			return false
		}
		found, err := filepath.Glob(filepath.Join(base, "*", strconv.Itoa(vm)))
		if err != nil || len(found) > 0 {
			return false
		}
	}
	return true
}

// xenName is the domain's: that of the VM's file, or of a VM that comes here the one that
// the front-end made of VM_FQDN_TEMPLATE, or that it was saved with. fresh says that the VM
// has no file here.
func (j *job) xenName(ctx context.Context) (name string, fresh bool, err error) {
	if name, err = j.xen.find(j.q.VM); err != nil || name != "" {
		return name, false, err
	}
	switch j.q.Verb {
	case cluster.VerbStart:
		if err := j.forXen(j.q.Domain); err != nil {
			return "", true, err
		}
		if j.q.Name == "" {
			return "", true, errors.New("the request has no name for the VM: is the driver's other end of the same version?")
		}
		return j.q.Name, true, nil
	case cluster.VerbRestore:
		stored, err := j.storedXen()
		if err != nil {
			return "", true, err
		}
		return stored.Name, true, nil
	}
	if err := j.notLost(ctx); err != nil {
		return "", true, err
	}
	name = opennebula.ServiceName(j.q.VM) // nothing of it is left here
	return name, true, j.xen.free(j.q.VM, name)
}

// mounted fails if a domain runs whose VM has a definition in a home, and none of its kind has a
// file in CFG_DIR: an empty directory would have all VMs off.
func (f xenFiles) mounted(running []string) error {
	for _, base := range f.bases {
		homes, err := filepath.Glob(filepath.Join(base, "[0-9]*", "[0-9]*"))
		if err != nil {
			return err
		}
		for _, dir := range homes {
			name, err := storedName(dir)
			if err == nil && slices.Contains(running, name) {
				return fmt.Errorf("CFG_DIR %s has no file of a VM, and domain %s of %s runs: is the file system mounted there?", f.dir, name, dir)
			}
		}
	}
	return nil
}

func storedName(dir string) (string, error) {
	h, err := openHome(dir)
	if err != nil {
		return "", err
	}
	defer h.close()
	text, err := h.read(xenDefinition)
	if err != nil {
		return "", err
	}
	found := xenNameLine.FindStringSubmatch(text)
	if found == nil {
		return "", fs.ErrNotExist
	}
	return found[1], nil
}

var xenNameLine = lazyregexp.New(`(?m)^\s*name\s*=\s*["']([^"'\n]+)["']`)

// prepareXen gives the service its name, and checks what is to be stored.
func (j *job) prepareXen(ctx context.Context) (name string, device cluster.Device, err error) {
	name, fresh, err := j.xenName(ctx)
	if err != nil {
		return "", device, err
	}
	switch {
	case j.q.Verb == cluster.VerbStart:
		j.xenChecked, err = j.checkXen(ctx, j.q.Domain, name)
	case j.q.Verb == cluster.VerbRestore:
		var text string
		if text, err = j.storedText(xenDefinition); err == nil {
			j.xenChecked, err = j.checkXen(ctx, text, name)
		}
	case j.q.Verb.ChangesHardware():
		device, err = j.prepareXenHardware(ctx, name)
	}
	if err == nil && fresh && j.xenChecked != nil {
		err = j.unused(ctx, name)
	}
	return name, device, err
}

// unused: a domain, or a service, that has the name of a VM which is only just coming is
// somebody else's, who would lose it by the next verb.
func (j *job) unused(ctx context.Context, name string) error {
	runs, err := j.runs(ctx, name)
	if err != nil {
		return err
	}
	if runs {
		return fmt.Errorf("%w: a domain %s runs that is not VM %d (it has no file in CFG_DIR %s); nothing was changed: end it, or put %%I into VM_FQDN_TEMPLATE", cluster.ErrRefused, name, j.q.VM, j.xen.dir)
	}
	return nil
}

// notLost: the VM is not off because CFG_DIR has no file of it: that may not be mounted. What
// the home says of its name is oneadmin's word, and only refused upon.
func (j *job) notLost(ctx context.Context) error {
	name, err := storedName(j.q.Home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	runs, err := j.runs(ctx, name)
	if err == nil && runs {
		err = fmt.Errorf("%w: CFG_DIR %s has no file of VM %d, and a domain %s runs: is the file system mounted there? If so, the domain is somebody else's: remove %s from the VM's home; nothing was changed", cluster.ErrRefused, j.xen.dir, j.q.VM, name, xenDefinition)
	}
	return err
}

// runs says whether a domain of that name runs here, or a service anywhere.
func (j *job) runs(ctx context.Context, name string) (bool, error) {
	stack, err := j.Stack(nil)
	if err != nil {
		return false, err
	}
	order := j.q.order(&j.Config)
	order.Service.Name, order.Service.Definition = name, path.Join(j.xen.dir, name)
	ctx, cancel := context.WithTimeout(ctx, order.Service.Patience.Settle)
	defer cancel()
	state, err := stack.Observe(ctx, order.Service)
	return state.Domain.Alive() || len(state.Service.Running) > 0, err
}

// storedXen is the definition in the home, unchecked but for its form.
func (j *job) storedXen() (*domain.Xen, error) {
	text, err := j.storedText(xenDefinition)
	if err != nil {
		return nil, err
	}
	return j.checkXen(context.Background(), text, "")
}

func (j *job) checkXen(ctx context.Context, text, name string) (*domain.Xen, error) {
	if err := j.forXen(text); err != nil {
		return nil, err
	}
	owner, err := j.owner(ctx)
	if err != nil {
		return nil, err
	}
	return domain.ReadXen(strings.NewReader(text), owner, name)
}

// forXen: oned writes what the driver's TYPE says, not what the node runs.
func (j *job) forXen(text string) error {
	if strings.HasPrefix(strings.TrimSpace(text), "<") {
		return fmt.Errorf("%w: it is a document for libvirt, and this node runs VMs by %s: have oned write files for Xen (TYPE = \"xen\" in VM_MAD), or set HYPERVISOR", domain.ErrRefused, j.Config.Xen)
	}
	return nil
}

// storeXen puts the checked file into the home, which it moves with, and where it is started
// from. A crash in between leaves a home that is ahead; the same verb again makes both one.
func (j *job) storeXen() error {
	text, err := j.xenChecked.Bytes()
	if err != nil {
		return err
	}
	h, err := j.keep(xenDefinition, text)
	if err != nil {
		return err
	}
	h.close()
	failpoint.Hit("vmm.kept")
	return j.xen.write(j.q.VM, j.xenChecked.Name, string(text))
}

// prepareXenHardware is prepareHardware for a Xen VM.
func (j *job) prepareXenHardware(ctx context.Context, name string) (device cluster.Device, err error) {
	if err := j.findHome(ctx); err != nil {
		return device, err
	}
	text, err := j.storedText(xenDefinition)
	if err != nil {
		return device, fmt.Errorf("%w: the VM was not deployed by this driver, or its home is not whole", err)
	}
	x, err := j.checkXen(ctx, text, name)
	if err != nil {
		return device, err
	}
	j.xenChecked, j.xenLimits = x, cluster.Hardware{CPUs: int(max(x.Number("vcpus"), x.Number("maxvcpus"), 1)), MemoryMiB: max(x.Number("memory"), x.Number("maxmem"))}
	device = xenDevice(x, &j.q)
	switch j.q.Verb {
	case cluster.VerbAttachDisk, cluster.VerbAttachNIC:
		err = x.Attach(j.q.Device)
		if device = xenDevice(x, &j.q); err == nil && device.Document == "" {
			err = fmt.Errorf("%w: the device has neither the target %q nor the address %q", domain.ErrRefused, j.q.Target, j.q.MAC)
		}
	case cluster.VerbDetachDisk:
		err = x.Detach(device.Target)
	case cluster.VerbDetachNIC:
		err = x.DetachNIC(device.MAC)
	case cluster.VerbResizeDisk, cluster.VerbInsert:
		return j.disk(ctx)
	case cluster.VerbResize:
		err = x.Resize(j.q.CPUs, j.q.MemoryMiB)
	}
	return device, err
}

// xenDevice is what the VM's file has under the request's target or address.
func xenDevice(x *domain.Xen, q *Request) cluster.Device {
	return cluster.Device{Target: q.Target, MAC: q.MAC, Document: x.Entry(q.Target, q.MAC), Path: x.Path(q.Target)}
}
