package domain

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

func addressIn(text string) string {
	for pair := range strings.SplitSeq(text, ",") {
		if address, found := strings.CutPrefix(strings.TrimSpace(pair), "mac="); found {
			return strings.ToLower(address)
		}
	}
	return ""
}

func (x *Xen) list(key string) []string {
	for _, s := range x.settings {
		if s.key == key {
			return s.list
		}
	}
	return nil
}

// Number is a setting's; 0 for none.
func (x *Xen) Number(key string) int64 {
	for _, s := range x.settings {
		if s.key == key {
			n, _ := strconv.ParseInt(s.value, 10, 64) // take has let pass what is one
			return n
		}
	}
	return 0
}

// Attach adds a disk or an interface that comes as libvirt's document of it. One that is
// there already takes its place: the same verb may come twice.
func (x *Xen) Attach(document string) error {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{MaxDepth: maxDepth / 2}
	if err := doc.ReadFromString(document); err != nil || doc.Root() == nil {
		return fmt.Errorf("device of VM %d: %w: it is no document", x.owner.VM, errors.Join(ErrRefused, err))
	}
	root := doc.Root()
	switch root.Tag {
	case "disk":
		target, entry := targetOf(root), xenDisk(root)
		return x.change("disk", func(list []string) []string {
			return append(without(list, func(text string) bool { return xenTargetOf(text) == target && x.same(text, entry) }), entry)
		})
	case "interface":
		address := addressOf(root)
		return x.change("vif", func(list []string) []string {
			return append(without(list, func(text string) bool { return addressIn(text) == address }), xenNIC(root))
		})
	}
	return fmt.Errorf("device of VM %d: %w: it is neither a disk nor an interface", x.owner.VM, ErrRefused)
}

// same: both entries mean one disk of the owner.
func (x *Xen) same(a, b string) bool {
	first, ok := x.owner.disk(xenSource(a))
	second, too := x.owner.disk(xenSource(b))
	return ok && too && first == second
}

// xenDisk is the entry of a disk in a VM's file.
func xenDisk(root *etree.Element) string {
	source, mode, target := "", "w", targetOf(root)
	if e := root.SelectElement("source"); e != nil {
		source = e.SelectAttrValue("file", e.SelectAttrValue("dev", ""))
	}
	if root.SelectAttrValue("device", "") == "cdrom" {
		target += ":cdrom"
	}
	if root.SelectElement("readonly") != nil || strings.HasSuffix(target, ":cdrom") {
		mode = "r"
	}
	return "file:" + source + "," + target + "," + mode
}

// xenNIC is the entry of an interface.
func xenNIC(root *etree.Element) string {
	words := []string{"mac=" + addressOf(root)}
	for _, part := range [][3]string{{"source", "bridge", "bridge"}, {"model", "type", "model"}, {"target", "dev", "vifname"}} {
		if e := root.SelectElement(part[0]); e != nil && e.SelectAttrValue(part[1], "") != "" {
			words = append(words, part[2]+"="+e.SelectAttrValue(part[1], ""))
		}
	}
	return strings.Join(words, ",")
}

// Detach removes the disk with that target, DetachNIC the interface with that MAC address;
// one that is not there is fine.
func (x *Xen) Detach(target string) error {
	return x.change("disk", func(list []string) []string {
		return without(list, func(text string) bool { return xenTargetOf(text) == target })
	})
}

// DetachNIC see Detach.
func (x *Xen) DetachNIC(mac string) error {
	return x.change("vif", func(list []string) []string {
		return without(list, func(text string) bool { return addressIn(text) == mac })
	})
}

// Resize changes the processors and the memory that the VM starts with; 0 leaves it. What it
// may grow to stays.
func (x *Xen) Resize(cpus int, memoryMiB int64) error {
	settings := slices.Clone(x.settings)
	for _, c := range []struct {
		key, most string
		value     int64
	}{{"vcpus", "maxvcpus", int64(cpus)}, {"memory", "maxmem", memoryMiB}} {
		if c.value == 0 {
			continue
		}
		if x.Number(c.most) == 0 {
			settings = put(settings, setting{key: c.most, value: strconv.FormatInt(max(x.Number(c.key), 1), 10)})
		}
		settings = put(settings, setting{key: c.key, value: strconv.FormatInt(c.value, 10)})
	}
	return x.again(settings)
}

// Entry is the line of the disk with that target, or of the interface with that MAC address,
// in the VM's file; "" for none.
func (x *Xen) Entry(target, mac string) string {
	for _, text := range x.list("disk") {
		if target != "" && xenTargetOf(text) == target {
			return text
		}
	}
	for _, text := range x.list("vif") {
		if mac != "" && addressIn(text) == mac {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// Path is the device or file of the disk with that target; "" for none.
func (x *Xen) Path(target string) string {
	for _, disk := range x.Disks {
		if disk.Target == target {
			return disk.Path
		}
	}
	return ""
}

func xenTargetOf(entry string) string {
	fields := strings.Split(entry, ",")
	if len(fields) < 2 {
		return ""
	}
	target, _, _ := strings.Cut(fields[1], ":")
	return target
}

func xenSource(entry string) string {
	source, _, _ := strings.Cut(entry, ",")
	return source[strings.LastIndexByte(source, ':')+1:]
}

func without(list []string, drop func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(list), drop)
}

func put(settings []setting, s setting) []setting {
	i := slices.IndexFunc(settings, func(old setting) bool { return old.key == s.key })
	if i < 0 {
		return append(settings, s)
	}
	settings[i] = s
	return settings
}

// change makes a list anew.
func (x *Xen) change(key string, edit func([]string) []string) error {
	list := edit(x.list(key))
	if list == nil {
		list = []string{}
	}
	return x.again(put(slices.Clone(x.settings), setting{key: key, list: list}))
}

// again checks the settings, and keeps them.
func (x *Xen) again(settings []setting) error {
	for i, s := range settings {
		settings[i].list = slices.Clone(s.list)
		for _, text := range s.list {
			if !xenText.MatchString(text) {
				return fmt.Errorf("device of VM %d: %w: %.60q has a character that is not allowed", x.owner.VM, ErrRefused, text)
			}
		}
	}
	after, err := newXen(settings, x.owner, x.Name)
	if err == nil {
		*x = *after
	}
	return err
}
