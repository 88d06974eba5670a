package vmm

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"one-clvm/cluster"
	"one-clvm/opennebula"
	"one-clvm/vmm/domain"
)

// prepareHardware makes the definition as it will be once the verb is done, and the device
// that it is about. Nothing is changed yet.
func (j *job) prepareHardware(ctx context.Context) (device cluster.Device, err error) {
	if err := j.findHome(ctx); err != nil {
		return device, err
	}
	text, err := j.storedText(definitionName)
	if err != nil {
		return device, fmt.Errorf("%w: the VM was not deployed by this driver, or its home is not whole", err)
	}
	if j.checked, err = j.check(ctx, text); err != nil {
		return device, err
	}
	switch j.q.Verb {
	case cluster.VerbAttachDisk, cluster.VerbAttachNIC:
		return j.attached()
	case cluster.VerbDetachDisk:
		return j.detachedDisk()
	case cluster.VerbDetachNIC:
		return j.detachedNIC()
	case cluster.VerbResizeDisk, cluster.VerbInsert:
		return j.disk(ctx)
	case cluster.VerbResize:
		err = j.checked.Resize(j.q.CPUs, j.q.MemoryMiB)
	}
	return cluster.Device{Target: j.q.Target}, err
}

func (j *job) attached() (device cluster.Device, err error) {
	device = cluster.Device{Target: j.q.Target, MAC: j.q.MAC}
	if err = j.checked.Attach(j.q.Device); err != nil {
		return device, err
	}
	if device.MAC != "" {
		nic := j.checked.NIC(device.MAC)
		if nic == nil {
			return device, fmt.Errorf("%w: the interface has not the MAC address %s", domain.ErrRefused, device.MAC)
		}
		device.Type = nic.Type
		device.Document, err = j.checked.NICDocument(device.MAC)
		return device, err
	}
	disk := j.checked.Disk(device.Target)
	if disk == nil {
		return device, fmt.Errorf("%w: the disk has not the target %s", domain.ErrRefused, device.Target)
	}
	device.Path = disk.Path
	device.Document, err = j.checked.DiskDocument(device.Target)
	return device, err
}

func (j *job) detachedDisk() (device cluster.Device, err error) {
	device = cluster.Device{Target: j.q.Target}
	if disk := j.checked.Disk(device.Target); disk != nil {
		device.Path = disk.Path
	}
	if device.Document, err = j.checked.DiskDocument(device.Target); err != nil {
		return device, err
	}
	return device, j.checked.Detach(device.Target)
}

func (j *job) detachedNIC() (device cluster.Device, err error) {
	device = cluster.Device{MAC: j.q.MAC, Type: "bridge"}
	if nic := j.checked.NIC(device.MAC); nic != nil {
		device.Type = nic.Type
	}
	if device.Document, err = j.checked.NICDocument(device.MAC); err != nil {
		return device, err
	}
	return device, j.checked.DetachNIC(device.MAC)
}

// disk is what the VM has under a DISK_ID: a volume, or a file in its home.
func (j *job) disk(ctx context.Context) (cluster.Device, error) {
	device := cluster.Device{Target: j.q.Target}
	owner, err := j.owner(ctx)
	if err != nil {
		return device, err
	}
	name := fmt.Sprintf("disk.%d", j.q.Disk)
	if device.Path = owner.Volumes[j.q.Disk]; device.Path != "" {
		return device, nil
	}
	if !owner.Files[name] {
		return device, fmt.Errorf("%w: VM %d has neither a volume nor a file for %s", domain.ErrRefused, j.q.VM, name)
	}
	device.Path = path.Join(j.q.Home, name)
	return device, nil
}

// definition is the name of the file in the home that says what the VM has.
func (j *job) definition() string {
	if j.Config.Xen != "" {
		return xenDefinition
	}
	return definitionName
}

// findHome is for verbs that do not tell it: the one of the VM that has a definition.
func (j *job) findHome(ctx context.Context) error {
	if j.q.Home != "" {
		return nil
	}
	ds := j.q.DS
	if ds == opennebula.None {
		var err error
		if ds, err = j.volumes.datastore(ctx); err != nil {
			return err
		}
	}
	var tried []string
	for _, base := range j.Config.HomeBases {
		dir := path.Join(base, strconv.Itoa(ds), strconv.Itoa(j.q.VM))
		h, err := openHome(dir)
		if err != nil {
			tried = append(tried, err.Error())
			continue
		}
		_, err = h.read(j.definition())
		h.close()
		if err == nil {
			j.q.DS, j.q.Home, j.volumes.ds, j.volumes.home = ds, dir, ds, dir
			return nil
		}
		tried = append(tried, err.Error())
	}
	return fmt.Errorf("no home of VM %d with a definition: %s", j.q.VM, strings.Join(tried, "; "))
}
