package domain

import (
	"fmt"
	"path"
	"slices"

	"github.com/beevik/etree"

	"one-clvm/internal/lazyregexp"
	"one-clvm/opennebula"
)

var targetName = lazyregexp.New(`^[a-z]{2,3}[a-z]{1,3}$`) // vda, xvdb, sdaa

// diskParts are the elements of a disk. What is missing here leads elsewhere (backingStore,
// mirror, auth, …) or lets two VMs write (shareable).
var diskParts = map[string]bool{
	"source": true, "target": true, "driver": true, "address": true, "readonly": true, "serial": true, "wwn": true,
	"vendor": true, "product": true, "boot": true, "iotune": true, "alias": true, "blockio": true, "geometry": true,
}

func (d *Domain) readDisk(element *etree.Element) (Disk, error) {
	disk := Disk{ID: opennebula.None, Device: element.SelectAttrValue("device", "disk")}
	if target := element.SelectElement("target"); target != nil {
		disk.Target = target.SelectAttrValue("dev", "")
	}
	if !targetName.MatchString(disk.Target) {
		return disk, fmt.Errorf("%w: a disk has the target %q", ErrRefused, disk.Target)
	}
	seen := map[string]bool{}
	for _, part := range element.ChildElements() {
		if part.Space != "" || !diskParts[part.Tag] {
			return disk, fmt.Errorf("%w: disk %s: element %s is not allowed%s", ErrRefused, disk.Target, part.FullTag(), why[part.FullTag()])
		}
		if seen[part.Tag] {
			return disk, fmt.Errorf("%w: disk %s: two elements %s", ErrRefused, disk.Target, part.Tag)
		}
		seen[part.Tag] = true
	}
	return disk, d.readSource(element, &disk)
}

// readSource finds out what the disk is, and makes it what it has to be.
func (d *Domain) readSource(element *etree.Element, disk *Disk) error {
	kind := element.SelectAttrValue("type", "")
	if kind != "file" && kind != "block" {
		return fmt.Errorf("%w: disk %s: type %q: only disks that are volumes or files of the VM can be used", ErrRefused, disk.Target, kind)
	}
	source := element.SelectElement("source")
	if source == nil || len(source.Attr) == 0 {
		if disk.Device == "cdrom" || disk.Device == "floppy" {
			return nil // an empty drive
		}
		return fmt.Errorf("%w: disk %s has no source", ErrRefused, disk.Target)
	}
	if len(source.Attr) != 1 || len(source.ChildElements()) > 0 || source.Attr[0].Space != "" || !slices.Contains([]string{"file", "dev"}, source.Attr[0].Key) {
		return fmt.Errorf("%w: disk %s: its source has more than a path", ErrRefused, disk.Target)
	}
	text := source.Attr[0].Value
	id, ok := d.owner.disk(text)
	if !ok {
		return fmt.Errorf("%w: disk %s: %q is neither a volume of VM %d nor a disk in %s", ErrRefused, disk.Target, text, d.owner.VM, d.owner.Home)
	}
	disk.ID = id
	if device, found := d.owner.Volumes[id]; found {
		disk.Path, disk.Volume = device, true
		if d.completed && text != device {
			return fmt.Errorf("%w: disk %s: %q leads to its volume %s by way of a link", ErrRefused, disk.Target, text, device)
		}
		return d.useVolume(element, source, disk)
	}
	name := fmt.Sprintf("disk.%d", id)
	if !d.owner.Files[name] {
		return fmt.Errorf("%w: disk %s: VM %d has neither a volume nor a file for %s: deploy it again", ErrRefused, disk.Target, d.owner.VM, name)
	}
	disk.Path = path.Join(d.owner.Home, name)
	element.CreateAttr("type", "file")
	source.Attr = nil
	source.CreateAttr("file", disk.Path)
	return d.useFile(element, disk)
}

// useVolume: a device, raw whatever its first bytes are, past the node's page cache, which
// the other nodes do not share.
func (d *Domain) useVolume(element, source *etree.Element, disk *Disk) error {
	if disk.Device == "lun" {
		return fmt.Errorf("%w: disk %s: device lun would let the guest send SCSI commands to the SAN", ErrRefused, disk.Target)
	}
	if format := formatOf(element); d.completed && format != "raw" {
		return fmt.Errorf("%w: disk %s: a volume of the format %s could name other files of the node", ErrRefused, disk.Target, format)
	}
	element.CreateAttr("type", "block")
	source.Attr = nil
	source.CreateAttr("dev", disk.Path)
	driver := element.SelectElement("driver")
	if driver == nil {
		driver = element.CreateElement("driver")
		driver.CreateAttr("name", "qemu")
	}
	driver.CreateAttr("type", "raw")
	if driver.SelectAttrValue("cache", "") != "directsync" {
		driver.CreateAttr("cache", "none")
	}
	return nil
}

// useFile: a file in the home is a CD or a floppy disk, or raw. A format that can name other
// files would be read by the emulator.
func (d *Domain) useFile(element *etree.Element, disk *Disk) error {
	driver := element.SelectElement("driver")
	if driver == nil {
		driver = element.CreateElement("driver")
		driver.CreateAttr("name", "qemu")
	}
	if format := formatOf(element); format != "raw" {
		return fmt.Errorf("%w: disk %s: a file of the format %s is not allowed, only raw", ErrRefused, disk.Target, format)
	}
	driver.CreateAttr("type", "raw")
	return nil
}

// formatOf is that of a disk, which libvirt takes for raw where none is said.
func formatOf(disk *etree.Element) string {
	if driver := disk.SelectElement("driver"); driver != nil {
		return driver.SelectAttrValue("type", "raw")
	}
	return "raw"
}
