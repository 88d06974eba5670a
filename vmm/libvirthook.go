package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"

	"github.com/beevik/etree"

	"one-clvm/cluster"
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
	Clock  cluster.Clock
}

// lockWait is how long another operation on the VM is waited for, seconds.
const lockWait = 60

// Do is one call: the domain's name, what libvirt does and which part of it, with the domain
// on document. Domains that are not OpenNebula's are let pass.
func (h *LibvirtHook) Do(ctx context.Context, argv []string, document io.Reader) error {
	if len(argv) < 3 {
		return errors.New("a hook of libvirt is called with a domain, an operation and its part")
	}
	vm, ours := vmOf(argv[0])
	if !ours || opennebula.ServiceName(vm) != argv[0] {
		return nil
	}
	var err error
	switch argv[1] + " " + argv[2] {
	case "prepare begin":
		err = h.prepare(ctx, vm, document)
	case "release end":
		err = h.job(vm).activate(ctx, lvm.Off)
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("VM %d: %s: %w", vm, argv[1], err)
	}
	return nil
}

func (h *LibvirtHook) job(vm int) *job {
	a := &Agent{Config: h.Config, Groups: h.Groups, Agents: h.Agents, Clock: h.Clock}
	return &job{Agent: a, q: Request{VM: vm}, volumes: volumes{agents: h.Agents, groups: h.Groups, vm: vm, lockWait: lockWait}}
}

// prepare: the disks are the VM's own, and active on this node alone. A domain that comes by
// a migration finds them shared, in the window that the transfer manager has opened; without
// one the lock manager refuses, and the migration ends where it began.
func (h *LibvirtHook) prepare(ctx context.Context, vm int, document io.Reader) error {
	j := h.job(vm)
	ds, err := j.volumes.datastore(ctx)
	if err != nil {
		return err
	}
	if ds != opennebula.None {
		j.volumes.ds, j.volumes.home = ds, path.Join(h.Config.HomeBases[0], strconv.Itoa(ds), strconv.Itoa(vm))
	}
	disks, err := j.volumes.owned(ctx)
	if err != nil {
		return err
	}
	if err := onlyOwn(document, disks, path.Join(h.Config.HomeBases[0], "*", strconv.Itoa(vm), "*")); err != nil {
		return err
	}
	shared := 0
	for _, volume := range disks {
		if volume.Mode == lvm.Shared {
			shared++
		}
	}
	if len(disks) == 0 || shared == len(disks) {
		return nil
	}
	if err := j.volumes.proof(ctx, disks); err != nil {
		return err
	}
	return j.volumes.set(ctx, Here, lvm.Exclusive, nil)
}

// harmless attributes of a disk's source name no other place.
var harmless = []string{"startupPolicy", "index"}

// onlyOwn: every disk is a volume of the VM, or a file in its home. The file that a cluster
// starts a VM from lies where oneadmin can write.
func onlyOwn(document io.Reader, disks map[int]lvm.Volume, files string) error {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: 32}
	if _, err := doc.ReadFrom(io.LimitReader(document, maxDefinition)); err != nil {
		return fmt.Errorf("%w: %w", domain.ErrRefused, err)
	}
	if doc.Root() == nil || doc.Root().Tag != "domain" {
		return fmt.Errorf("%w: the hook was given no domain", domain.ErrRefused)
	}
	own := map[string]bool{}
	for _, volume := range disks {
		own[volume.Path] = true
	}
	for _, source := range doc.Root().FindElements("devices/disk//source") {
		for _, a := range source.Attr {
			if slices.Contains(harmless, a.Key) {
				continue
			}
			inHome, err := path.Match(files, path.Clean(a.Value))
			if !own[a.Value] && (!inHome || err != nil) {
				return fmt.Errorf("%w: the disk %s=%s is neither a volume of the VM nor a file in its home", domain.ErrRefused, a.Key, a.Value)
			}
		}
	}
	for _, tag := range []string{"hostdev", "filesystem", "shmem"} {
		if doc.Root().FindElement("devices/"+tag) != nil {
			return fmt.Errorf("%w: it has a device %s, which is one of the node", domain.ErrRefused, tag)
		}
	}
	for _, child := range doc.Root().ChildElements() {
		if child.Space != "" {
			return fmt.Errorf("%w: it has options of the emulator (%s)", domain.ErrRefused, child.FullTag())
		}
	}
	return nil
}
