// Package domain reads the libvirt document of a VM, refuses whatever in it reaches beyond
// the VM's own (files of the host, other VMs' volumes, programs, options of the emulator),
// and names the VM's volumes by their devices.
//
// The document comes from oned, but users write parts of it (RAW, disks, names), and the
// copy that a cluster starts VMs from lies where oneadmin can write. Root starts the
// result: so it is checked each time it is read, by a list of what is allowed.
package domain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/opennebula"
)

// ErrRefused means: the document is none of a VM of OpenNebula, or has something that this
// driver does not let a VM have. Test with errors.Is.
var ErrRefused = errors.New("domain refused")

const (
	maxDocument = 4 << 20 // bytes
	maxDepth    = 32
)

// Owner says whose domain a document must be, and what the VM has.
type Owner struct {
	VM   int
	Home string // directory in the system datastore
	// Volumes are the devices of the VM's disks on the SAN, by DISK_ID.
	Volumes map[int]string
	// Files are the entries of the home, by name; true for a regular file. Nothing else
	// there may be a disk: a link could lead to any file of the node.
	Files map[string]bool
}

// Disk is a disk of a domain.
type Disk struct {
	ID     int // DISK_ID, or None for an empty drive
	Target string
	Device string // disk, cdrom, floppy, lun
	Path   string // device or file; empty for an empty drive
	Volume bool   // on the SAN
}

// NIC is a network interface of a domain.
type NIC struct {
	Type string // bridge, …
	MAC  string // lower case; "" where libvirt is to choose it
}

// Domain is a document that was checked.
type Domain struct {
	Name  string
	UUID  string
	Disks []Disk
	NICs  []NIC

	doc       *etree.Document
	owner     Owner
	completed bool // by libvirt, which starts it as it stands: nothing in it may be put right
}

// Read checks a document and puts the devices of the owner's volumes into it. ErrRefused.
func Read(r io.Reader, owner Owner) (*Domain, error) {
	doc, err := parse(r)
	if err != nil {
		return nil, fmt.Errorf("domain of VM %d: %w", owner.VM, err)
	}
	d := &Domain{doc: doc, owner: owner}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("domain of VM %d: %w", owner.VM, err)
	}
	return d, nil
}

func parse(r io.Reader) (*etree.Document, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%w: it is larger than %d MiB", ErrRefused, maxDocument>>20)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return nil, fmt.Errorf("%w: it is no XML: if oned writes files for Xen, this node has to run VMs by xl or xm (HYPERVISOR)", ErrRefused)
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth}
	if err := doc.ReadFromBytes(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, token := range doc.Child {
		if _, ok := token.(*etree.Directive); ok {
			return nil, fmt.Errorf("%w: it has a document type", ErrRefused)
		}
	}
	if root := doc.Root(); root == nil || root.Tag != "domain" || root.Space != "" {
		return nil, fmt.Errorf("%w: its root is not domain", ErrRefused)
	}
	return doc, nil
}

func (d *Domain) check() error {
	root := d.doc.Root()
	if kind := root.SelectAttrValue("type", ""); kind != "kvm" && kind != "qemu" {
		return fmt.Errorf("%w: type %q, not kvm or qemu", ErrRefused, kind)
	}
	names := root.SelectElements("name")
	want := opennebula.ServiceName(d.owner.VM)
	if len(names) != 1 || names[0].Text() != want {
		return fmt.Errorf("%w: its name is not %s", ErrRefused, want)
	}
	d.Name, d.UUID = want, textOf(root, "uuid")
	if err := d.checkElements(root); err != nil {
		return err
	}
	if err := d.readDisks(root); err != nil {
		return err
	}
	if err := d.readNICs(root); err != nil {
		return err
	}
	return d.checkPaths(root)
}

// checkElements holds the document's first two floors to what oned writes there.
func (d *Domain) checkElements(root *etree.Element) error {
	for _, child := range root.ChildElements() {
		if child.Space != "" || !allowed[child.Tag] {
			return fmt.Errorf("%w: element %s is not allowed%s", ErrRefused, child.FullTag(), why[child.FullTag()])
		}
		if child.Tag != "devices" {
			continue
		}
		for _, device := range child.ChildElements() {
			if device.Space != "" || !devices[device.Tag] {
				return fmt.Errorf("%w: device %s is not allowed%s", ErrRefused, device.FullTag(), why[device.FullTag()])
			}
		}
	}
	return nil
}

func (d *Domain) readDisks(root *etree.Element) error {
	for _, element := range root.FindElements("devices/disk") {
		disk, err := d.readDisk(element)
		if err != nil {
			return err
		}
		for _, other := range d.Disks {
			if disk.Path != "" && disk.Path == other.Path {
				return fmt.Errorf("%w: disks %s and %s are both %s", ErrRefused, other.Target, disk.Target, disk.Path)
			}
			if disk.Target == other.Target {
				return fmt.Errorf("%w: two disks are %s", ErrRefused, disk.Target)
			}
		}
		d.Disks = append(d.Disks, disk)
	}
	return nil
}

func textOf(parent *etree.Element, name string) string {
	if child := parent.SelectElement(name); child != nil {
		return strings.TrimSpace(child.Text())
	}
	return ""
}

// Bytes is the document as it may be handed to libvirt.
func (d *Domain) Bytes() ([]byte, error) {
	var out bytes.Buffer
	_, err := d.doc.WriteTo(&out)
	return out.Bytes(), err
}

// Volumes are the devices of the domain's disks on the SAN, sorted.
func (d *Domain) Volumes() []string {
	var out []string
	for _, disk := range d.Disks {
		if disk.Volume {
			out = append(out, disk.Path)
		}
	}
	slices.Sort(out)
	return out
}

// disk finds out which of the owner's disks a path means: HOME/disk.N as oned writes it, or
// the device that this package put there.
func (o *Owner) disk(text string) (id int, ok bool) {
	p := path.Clean(text)
	if !strings.HasPrefix(text, "/") || slices.Contains(strings.Split(text, "/"), "..") {
		return opennebula.None, false
	}
	if number, found := strings.CutPrefix(p, path.Clean(o.Home)+"/disk."); found {
		id, err := strconv.Atoi(number)
		return id, err == nil && id >= 0 && strconv.Itoa(id) == number
	}
	for _, id := range slices.Sorted(maps.Keys(o.Volumes)) {
		if o.Volumes[id] == p {
			return id, true
		}
	}
	return opennebula.None, false
}
