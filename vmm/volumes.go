package vmm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"one-clvm/agent"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// Agents do what concerns volumes on this node, and on another one for a migration:
// requests to tm-clvm's agent, which has its own word on what may be done.
type Agents interface {
	Do(ctx context.Context, host string, q agent.Request) (agent.Result, error)
}

// Here is this node for Agents.
const Here = ""

// volumes are the volumes of one VM, in all groups of the node.
type volumes struct {
	agents Agents
	groups []string
	vm, ds int
	home   string
	// lockWait is how long another operation on the VM is waited for, seconds.
	lockWait int
	// managers are the groups' lock managers, as owned has seen them.
	managers map[string]string
}

func (v *volumes) request(op agent.Op, group string) agent.Request {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	return agent.Request{
		Op: op, Operation: hex.EncodeToString(id), Group: group, VM: v.vm, Disk: agent.AllDisks, DS: v.ds, Home: v.home, Patience: v.lockWait,
	}
}

// owned are the VM's disks by DISK_ID, as the groups' own reports tell: a link in the home
// proves nothing.
func (v *volumes) owned(ctx context.Context) (disks map[int]lvm.Volume, err error) {
	disks, v.managers = map[int]lvm.Volume{}, map[string]string{}
	for _, group := range v.groups {
		res, err := v.agents.Do(ctx, Here, v.request(agent.OpVolumes, group))
		if err != nil {
			return nil, fmt.Errorf("volumes of VM %d in %s: %w", v.vm, group, err)
		}
		if res.Info != nil {
			v.managers[group] = res.Info.LockManager
		}
		for _, volume := range res.Volumes {
			id, ok := v.diskOf(volume)
			if !ok {
				continue
			}
			if other, double := disks[id]; double {
				return nil, fmt.Errorf("disk %d of VM %d is both %s/%s and %s/%s: run tm-clvm audit", id, v.vm, other.Group, other.Name, volume.Group, volume.Name)
			}
			disks[id] = volume
		}
	}
	return disks, nil
}

// diskOf says which of the VM's disks a volume is: whole, in use, of its datastore.
func (v *volumes) diskOf(volume lvm.Volume) (int, bool) {
	t := volume.Tags
	if !t.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, v.vm), lvm.KeyTag(lvm.TagDS, v.ds)) || t.Has(lvm.TagBuilding) || t.Has(lvm.TagQuarantine) || volume.IsSnapshot() {
		return 0, false
	}
	id, err := strconv.Atoi(t.Get(lvm.TagDisk))
	return id, err == nil && id >= 0
}

// datastore is the system datastore of the VM's disks, None for a VM without disks.
func (v *volumes) datastore(ctx context.Context) (int, error) {
	found := opennebula.None
	for _, group := range v.groups {
		res, err := v.agents.Do(ctx, Here, v.request(agent.OpVolumes, group))
		if err != nil {
			return found, fmt.Errorf("volumes of VM %d in %s: %w", v.vm, group, err)
		}
		for _, volume := range res.Volumes {
			ds, err := strconv.Atoi(volume.Tags.Get(lvm.TagDS))
			if err != nil || !volume.Tags.Has(lvm.TagOurs, lvm.KeyTag(lvm.TagVM, v.vm)) || volume.Tags.Has(lvm.TagQuarantine) {
				continue
			}
			if found != opennebula.None && found != ds {
				return found, fmt.Errorf("disks of VM %d are in the datastores %d and %d: run tm-clvm audit", v.vm, found, ds)
			}
			found = ds
		}
	}
	return found, nil
}

// devices are the paths of the disks.
func devices(disks map[int]lvm.Volume) map[int]string {
	out := map[int]string{}
	for id, volume := range disks {
		out[id] = volume.Path
	}
	return out
}

// set brings all disks into a mode on a node. What it has done when one group fails stays:
// the caller takes it back.
func (v *volumes) set(ctx context.Context, host string, mode lvm.Mode, window *agent.Window) error {
	var failed error
	for _, group := range v.groups {
		q := v.request(agent.OpActivate, group)
		q.Activate, q.Link = mode, mode != lvm.Off
		if mode == lvm.Shared {
			q.Window = window
		}
		if _, err := v.agents.Do(ctx, host, q); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// proof: a lock manager gives a volume to this node only after the node that had it let go
// of it, or was fenced. Without one nothing is known: fail closed. disks are what owned has found.
func (v *volumes) proof(disks map[int]lvm.Volume) error {
	for _, disk := range disks {
		if manager := v.managers[disk.Group]; manager == "" || manager == lvm.NoLockManager {
			return fmt.Errorf("volume group %s has no lock manager: nothing proves that no other node uses the disks of %s; make it a shared one (vgchange --lock-type)", disk.Group, opennebula.ServiceName(v.vm))
		}
	}
	return nil
}
