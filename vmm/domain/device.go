package domain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/internal/lazyregexp"
)

// nicTypes are the kinds of interfaces that oned makes. The others hand a device of the node
// to the guest (hostdev), or open sockets on it.
var nicTypes = []string{"bridge", "network", "ethernet", "direct"}

var nicAddress = lazyregexp.New(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)

// readNICs checks the network interfaces.
func (d *Domain) readNICs(root *etree.Element) error {
	for _, element := range root.FindElements("devices/interface") {
		nic := NIC{Type: element.SelectAttrValue("type", "")}
		if !slices.Contains(nicTypes, nic.Type) {
			return fmt.Errorf("%w: a network interface is of type %q, not one of %s", ErrRefused, nic.Type, strings.Join(nicTypes, ", "))
		}
		if mac := element.SelectElement("mac"); mac != nil {
			nic.MAC = strings.ToLower(mac.SelectAttrValue("address", ""))
			if !nicAddress.MatchString(nic.MAC) {
				return fmt.Errorf("%w: %q is not a MAC address", ErrRefused, nic.MAC)
			}
		}
		d.NICs = append(d.NICs, nic)
	}
	return nil
}

// Attach adds a disk or a network interface, in the way that Read would have taken it. One
// that is there already takes its place: the same verb may come twice.
func (d *Domain) Attach(document string) error {
	added := etree.NewDocument()
	added.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth / 2}
	if err := added.ReadFromString(document); err != nil {
		return fmt.Errorf("device of VM %d: %w: %w", d.owner.VM, ErrRefused, err)
	}
	root := added.Root()
	if root == nil || root.Space != "" || root.Tag != "disk" && root.Tag != "interface" {
		return fmt.Errorf("device of VM %d: %w: it is neither a disk nor an interface", d.owner.VM, ErrRefused)
	}
	fits := hasMAC(addressOf(root))
	if root.Tag == "disk" {
		fits = func(e *etree.Element) bool { return hasTarget(targetOf(root))(e) && d.sameDisk(e, root) }
	}
	return d.again(func(domain *etree.Element) error {
		remove(domain, root.Tag, fits)
		domain.SelectElement("devices").AddChild(root.Copy())
		return nil
	})
}

// sameDisk: both sources mean one disk of the owner.
func (d *Domain) sameDisk(a, b *etree.Element) bool {
	ids := []int{}
	for _, e := range []*etree.Element{a, b} {
		source := e.SelectElement("source")
		if source == nil {
			return false
		}
		id, ok := d.owner.disk(source.SelectAttrValue("file", source.SelectAttrValue("dev", "")))
		if !ok {
			return false
		}
		ids = append(ids, id)
	}
	return ids[0] == ids[1]
}

// Detach removes the disk with that target; one that is not there is fine.
func (d *Domain) Detach(target string) error {
	return d.again(func(root *etree.Element) error {
		remove(root, "disk", hasTarget(target))
		return nil
	})
}

// DetachNIC removes the interface with that MAC address; one that is not there is fine.
func (d *Domain) DetachNIC(mac string) error {
	return d.again(func(root *etree.Element) error {
		remove(root, "interface", hasMAC(mac))
		return nil
	})
}

// Resize changes what of its processors and of its memory the VM starts with; 0 leaves it.
func (d *Domain) Resize(cpus int, memoryMiB int64) error {
	return d.again(func(root *etree.Element) error {
		if cpus > 0 {
			vcpu := child(root, "vcpu", "1")
			most, err := strconv.Atoi(strings.TrimSpace(vcpu.Text()))
			if err != nil || cpus > most {
				return fmt.Errorf("%w: %d processors, where the domain has at most %q", ErrRefused, cpus, vcpu.Text())
			}
			vcpu.CreateAttr("current", strconv.Itoa(cpus))
		}
		if memoryMiB > 0 {
			current := child(root, "currentMemory", "")
			current.SetText(strconv.FormatInt(memoryMiB<<10, 10))
			current.CreateAttr("unit", "KiB")
		}
		return nil
	})
}

// Uses is what the domain has of its node when it starts; 0 unknown.
func (d *Domain) Uses() (cpus int, memoryMiB int64) {
	root := d.doc.Root()
	cpus = 1
	if vcpu := root.SelectElement("vcpu"); vcpu != nil {
		cpus, _ = strconv.Atoi(vcpu.SelectAttrValue("current", strings.TrimSpace(vcpu.Text())))
	}
	for _, name := range []string{"currentMemory", "memory"} {
		if e := root.SelectElement(name); e != nil {
			size, _ := strconv.ParseInt(strings.TrimSpace(e.Text()), 10, 64)
			return cpus, size * units[e.SelectAttrValue("unit", "KiB")] >> 10
		}
	}
	return cpus, 0
}

// units of memory that a document may have, in KiB.
var units = map[string]int64{"KiB": 1, "k": 1, "MiB": 1 << 10, "M": 1 << 10, "GiB": 1 << 20, "G": 1 << 20}

func child(parent *etree.Element, name, text string) *etree.Element {
	if e := parent.SelectElement(name); e != nil {
		return e
	}
	e := parent.CreateElement(name)
	e.SetText(text)
	return e
}

// DiskDocument is one disk of the domain for attach-device; "" for none.
func (d *Domain) DiskDocument(target string) (string, error) {
	return d.document("disk", hasTarget(target))
}

// NICDocument is one interface of the domain for attach-device; "" for none.
func (d *Domain) NICDocument(mac string) (string, error) {
	return d.document("interface", hasMAC(mac))
}

func (d *Domain) document(tag string, fits func(*etree.Element) bool) (string, error) {
	for _, element := range d.doc.Root().FindElements("devices/" + tag) {
		if !fits(element) {
			continue
		}
		doc := etree.NewDocument()
		doc.SetRoot(element.Copy())
		text, err := doc.WriteToString()
		return strings.TrimSpace(text) + "\n", err
	}
	return "", nil
}

// Disk is the one with that target; nil for none.
func (d *Domain) Disk(target string) *Disk {
	for i := range d.Disks {
		if d.Disks[i].Target == target {
			return &d.Disks[i]
		}
	}
	return nil
}

// NIC is the one with that MAC address; nil for none.
func (d *Domain) NIC(mac string) *NIC {
	for i := range d.NICs {
		if d.NICs[i].MAC == mac {
			return &d.NICs[i]
		}
	}
	return nil
}

// again changes a copy, checks it, and keeps it.
func (d *Domain) again(change func(root *etree.Element) error) error {
	doc := d.doc.Copy()
	if doc.Root().SelectElement("devices") == nil {
		doc.Root().CreateElement("devices")
	}
	after := &Domain{doc: doc, owner: d.owner}
	err := change(doc.Root())
	if err == nil {
		err = after.check()
	}
	if err != nil {
		return fmt.Errorf("domain of VM %d: %w", d.owner.VM, err)
	}
	*d = *after
	return nil
}

func remove(root *etree.Element, tag string, fits func(*etree.Element) bool) {
	for _, element := range root.FindElements("devices/" + tag) {
		if fits(element) {
			element.Parent().RemoveChild(element)
		}
	}
}

func targetOf(disk *etree.Element) string {
	if target := disk.SelectElement("target"); target != nil {
		return target.SelectAttrValue("dev", "")
	}
	return ""
}

func addressOf(nic *etree.Element) string {
	if mac := nic.SelectElement("mac"); mac != nil {
		return strings.ToLower(mac.SelectAttrValue("address", ""))
	}
	return ""
}

func hasTarget(target string) func(*etree.Element) bool {
	return func(e *etree.Element) bool { return targetOf(e) == target }
}

func hasMAC(mac string) func(*etree.Element) bool {
	return func(e *etree.Element) bool { return mac != "" && addressOf(e) == mac }
}
