package domain

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"one-clvm/internal/lazyregexp"
)

// allowed are the elements of a domain, those of all versions of OpenNebula.
var allowed = set("name title description uuid memory currentMemory maxMemory memoryBacking memtune vcpu vcpus iothreads iothreadids " +
	"cputune numatune cpu os features clock on_poweroff on_reboot on_crash pm resource sysinfo metadata devices")

// devices are the elements of devices. What is missing here hands a part of the node to
// the guest, and would not move to another one (hostdev, filesystem, …).
var devices = set("emulator disk controller interface graphics video input channel console serial rng memballoon watchdog sound audio hub panic tpm iommu memory")

// why are reasons that help a person.
var why = map[string]string{
	"qemu:commandline": ": options of the emulator reach every file of the node; remove RAW/DATA from the VM",
	"qemu:override":    ": options of the emulator reach every file of the node; remove RAW/DATA from the VM",
	"seclabel":         ": the node's confinement of VMs is not the VM's to choose",
	"hostdev":          ": a device of one node does not move with the VM",
	"filesystem":       ": a directory of one node does not move with the VM",
	"shareable":        ": a volume has one writer",
	"backingStore":     ": a volume has no other files behind it",
}

func set(words string) map[string]bool {
	out := map[string]bool{}
	for _, word := range strings.Fields(words) {
		out[word] = true
	}
	return out
}

var (
	emulatorPath = lazyregexp.New(`^/usr/(bin|libexec)/(qemu-[a-z0-9_-]+|kvm)$`)
	firmwarePath = lazyregexp.New(`^/usr/share/[A-Za-z0-9/._+-]+$`)
	nvramName    = lazyregexp.New(`^[A-Za-z0-9_-]+\.(fd|bin|qcow2)$`)
)

// Of the sockets below libvirt's own directories only those of the VM's channels: next to them
// are the monitors, by which an emulator takes any order, also those of other VMs.
var (
	channelOfDomain = lazyregexp.New(`^/(?:var/lib|var/run|run)/libvirt/qemu/channel/(?:target/)?(?:domain-)?(?:[0-9]+-)?(one-[0-9]+)/[A-Za-z0-9_][A-Za-z0-9._+-]*$`)
	channelByName   = lazyregexp.New(`^/var/lib/libvirt/qemu/(?:channel/target/)?(one-[0-9]+)\.[A-Za-z0-9._+-]+$`)
)

// What libvirt adds by itself.
var (
	nvramOfDomain  = lazyregexp.New(`^/var/lib/libvirt/qemu/nvram/(one-[0-9]+)_VARS\.(?:fd|qcow2|json)$`)
	screenOfDomain = lazyregexp.New(`^/(?:var/lib|var/run|run)/libvirt/qemu/(?:domain-)?[0-9]+-(one-[0-9]+)/(?:vnc|spice)\.sock$`)
	terminal       = lazyregexp.New(`^/dev/pts/[0-9]+$`)
	partition      = lazyregexp.New(`^/machine(\.slice)?$`)
)

// checkPaths refuses every text and attribute that could be a path on the node, except
// where the place is known and the path is right. It is behind the lists of elements: a
// path that a future libvirt takes somewhere is refused, too.
func (d *Domain) checkPaths(element *etree.Element) error {
	if element.Space == "" && freeText[element.Tag] {
		return checkInert(element)
	}
	for _, attr := range element.Attr {
		if attr.Space == "xmlns" || attr.Key == "xmlns" || freeAttribute[attr.Key] {
			continue
		}
		couldBe := strings.Contains(attr.Value, "/") || pathAttributes[attr.Key] && attr.Value != ""
		if couldBe && !d.isPath(element.Tag+"/"+attr.Key, attr.Value) {
			return fmt.Errorf("%w: %s %s=%q leads to the node", ErrRefused, element.GetPath(), attr.Key, attr.Value)
		}
	}
	for _, token := range element.Child {
		switch token := token.(type) {
		case *etree.Element:
			if err := d.checkPaths(token); err != nil {
				return err
			}
		case *etree.CharData:
			text := strings.TrimSpace(token.Data)
			couldBe := strings.Contains(text, "/") || pathElements[element.Tag] && text != ""
			if couldBe && !d.isPath(element.Tag, text) {
				return fmt.Errorf("%w: %s %q leads to the node", ErrRefused, element.GetPath(), text)
			}
		case *etree.ProcInst, *etree.Directive:
			return fmt.Errorf("%w: %s has an instruction in it", ErrRefused, element.GetPath())
		}
	}
	return nil
}

// pathAttributes and pathElements are paths also where they have no slash: libvirt's directory
// is the node's root.
var (
	pathAttributes = set("path file socket template tty")
	pathElements   = set("emulator loader kernel initrd dtb nvram path table")
)

// freeText: what libvirt stores and shows, or hands to the guest, and never opens.
var freeText = set("title description metadata cmdline entry")

// freeAttribute: never a path, and users choose it.
var freeAttribute = set("passwd")

// checkInert: of what libvirt only stores, metadata may have elements: those of others.
func checkInert(element *etree.Element) error {
	for _, child := range element.ChildElements() {
		if element.Tag != "metadata" || child.Space == "" {
			return fmt.Errorf("%w: %s has the element %s", ErrRefused, element.GetPath(), child.FullTag())
		}
	}
	return nil
}

// isPath says whether a value is a path that may be at that place: ELEMENT or
// ELEMENT/ATTRIBUTE.
func (d *Domain) isPath(place, value string) bool {
	value = strings.ReplaceAll(value, "//", "/") // oned writes /var/lib/one//datastores
	if path.Clean(value) != value {
		return false
	}
	switch place {
	case "source/dev", "source/file": // of a disk: readDisks put it there
		return slices.ContainsFunc(d.Disks, func(disk Disk) bool { return disk.Path == value })
	case "emulator":
		return emulatorPath.MatchString(value)
	case "loader", "nvram/template":
		return firmwarePath.MatchString(value)
	case "nvram":
		name := path.Base(value)
		regular, exists := d.owner.Files[name] // libvirt makes one that is not there
		return d.inHome(value) && nvramName.MatchString(name) && (regular || !exists) || d.completed && d.ofDomain(nvramOfDomain, value)
	case "kernel", "initrd":
		return d.inHome(value) && path.Base(value) == place && d.owner.Files[place]
	case "source/path":
		return d.ofDomain(channelOfDomain, value) || d.ofDomain(channelByName, value) || d.completed && terminal.MatchString(value)
	case "backend":
		return value == "/dev/urandom" || value == "/dev/random"
	}
	return d.completed && d.isLibvirts(place, value)
}

// isLibvirts says whether libvirt itself puts such a path at that place.
func (d *Domain) isLibvirts(place, value string) bool {
	switch place {
	case "console/tty": // the emulator gets a new one
		return terminal.MatchString(value)
	case "listen/socket", "graphics/socket":
		return d.ofDomain(screenOfDomain, value)
	case "partition":
		return partition.MatchString(value)
	}
	return false
}

// ofDomain: a path that has the domain's name in it, at its place.
func (d *Domain) ofDomain(pattern lazyregexp.Regexp, value string) bool {
	found := pattern.FindStringSubmatch(value)
	return found != nil && found[1] == d.Name
}

// inHome: it lies in the VM's home itself.
func (d *Domain) inHome(value string) bool { return path.Dir(value) == path.Clean(d.owner.Home) }
