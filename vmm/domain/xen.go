package domain

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
)

// Xen is a VM's file for xl and xm, checked. xm executes such a file as Python: so it is not
// handed on, but written anew from what was understood of it.
type Xen struct {
	Name  string
	Disks []Disk

	owner    Owner
	settings []setting
}

// setting is one assignment: a word, or a list of texts.
type setting struct {
	key   string
	value string
	list  []string
}

// Marker says whose file it is, with the VM's id after it; the original drivers wrote the same.
const Marker = "#O VM_ID = "

var (
	xenAssignment = lazyregexp.New(`^([a-z_]+)\s*=\s*(.*)$`)
	xenNumber     = lazyregexp.New(`^(0|[1-9][0-9]{0,9})$`)
	xenText       = lazyregexp.New(`^[ !#$%&()*+,./0-9:;<=>?@A-Z\[\]^_a-z{|}~-]*$`) // no quote, no backslash, nothing that is not printable
	xenWord       = lazyregexp.New(`^[A-Za-z0-9_.: -]*$`)                           // scripts of the node read it
	xenName       = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)
	xenTarget     = lazyregexp.New(`^(xvd|hd|sd)[a-z]{1,2}[0-9]{0,2}$`)
	xenBootloader = lazyregexp.New(`^(/usr/(lib/xen[A-Za-z0-9._-]*/)?bin/)?pygrub$`)
	xenKernel     = lazyregexp.New(`^(/boot/|/usr/lib/xen[A-Za-z0-9._-]*/boot/)[A-Za-z0-9._+-]+$`)
)

// xenWords are the settings that oned writes and that lead to nothing on the node.
var xenWords = set("memory maxmem vcpus maxvcpus cpus cpu_weight cpu_cap builder boot acpi apic pae hap viridian localtime usb root extra " +
	"on_poweroff on_reboot on_crash vnc vnclisten vncdisplay vncpasswd vncunused keymap sdl stdvga timer_mode")

var (
	xenInterface = set("mac ip bridge model type rate vifname")
	xenGraphics  = set("type vnc vnclisten vncdisplay vncpasswd vncunused keymap sdl")
)

// ReadXen checks a VM's file as oned writes it, gives the domain its name, and puts the
// devices of the owner's volumes into it. Without a name the file's own stays. ErrRefused.
func ReadXen(r io.Reader, owner Owner, name string) (*Xen, error) {
	settings, err := parseXen(io.LimitReader(r, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("configuration of VM %d: %w", owner.VM, err)
	}
	return newXen(settings, owner, name)
}

func newXen(settings []setting, owner Owner, name string) (*Xen, error) {
	x := &Xen{owner: owner}
	for _, s := range settings {
		if err := x.take(s, owner); err != nil {
			return nil, fmt.Errorf("configuration of VM %d: %w", owner.VM, err)
		}
	}
	if name != "" {
		x.Name = name
	}
	if !xenName.MatchString(x.Name) || x.Name == "Domain-0" { // which is the node itself
		return nil, fmt.Errorf("configuration of VM %d: %w: %.80q is no name of a domain", owner.VM, ErrRefused, x.Name)
	}
	return x, nil
}

// parseXen reads assignments of numbers, quoted texts, and lists of quoted texts, which may
// take several lines.
func parseXen(r io.Reader) ([]setting, error) {
	var settings []setting
	lines := bufio.NewScanner(r)
	seen := map[string]bool{}
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		match := xenAssignment.FindStringSubmatch(line)
		if match == nil || seen[match[1]] {
			return nil, fmt.Errorf("%w: line %d is no assignment, or a second one: %.60q", ErrRefused, n, line)
		}
		seen[match[1]] = true
		s, rest := setting{key: match[1]}, match[2]
		if strings.HasPrefix(rest, "[") {
			for ; !strings.HasSuffix(rest, "]"); n++ {
				if !lines.Scan() {
					return nil, fmt.Errorf("%w: the list %s has no end", ErrRefused, s.key)
				}
				rest = strings.TrimSpace(rest + " " + strings.TrimSpace(lines.Text()))
			}
		}
		if err := s.read(rest); err != nil {
			return nil, fmt.Errorf("%w: line %d: %s: %w", ErrRefused, n, s.key, err)
		}
		settings = append(settings, s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return settings, nil
}

func (s *setting) read(text string) (err error) {
	inner, isList := strings.CutPrefix(text, "[")
	if !isList {
		if xenNumber.MatchString(text) {
			s.value = text
			return nil
		}
		value, rest, err := quoted(text)
		if err == nil && rest != "" {
			return fmt.Errorf("%.60q follows its value", rest)
		}
		s.value = value
		return err
	}
	s.list = []string{}
	inner = strings.TrimSpace(strings.TrimSuffix(inner, "]"))
	for inner != "" {
		var value string
		if value, inner, err = quoted(inner); err != nil {
			return err
		}
		s.list = append(s.list, value)
		next, more := strings.CutPrefix(inner, ",")
		if inner != "" && !more {
			return fmt.Errorf("%.60q follows a text of its list", inner)
		}
		inner = strings.TrimSpace(next)
	}
	return nil
}

// quoted takes one quoted text off the beginning.
func quoted(text string) (value, rest string, err error) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		return "", "", fmt.Errorf("%.60q is neither a number nor a quoted text", text)
	}
	end := strings.IndexByte(text[1:], text[0])
	if end < 0 {
		return "", "", fmt.Errorf("%.60q has no end", text)
	}
	value, rest = text[1:1+end], strings.TrimSpace(text[2+end:])
	if !xenText.MatchString(value) {
		return "", "", fmt.Errorf("%.60q has a character that is not allowed", value)
	}
	return value, rest, nil
}

func (x *Xen) take(s setting, owner Owner) (err error) {
	if (s.list != nil) != slices.Contains([]string{"disk", "vif", "vfb"}, s.key) {
		return fmt.Errorf("%w: %s is a list, or should be one", ErrRefused, s.key)
	}
	switch s.key {
	case "name":
		x.Name = s.value
		return nil
	case "disk":
		for i, text := range s.list {
			if s.list[i], err = x.disk(text, owner); err != nil {
				return err
			}
		}
	case "vif":
		err = checkPairs(s, xenInterface)
	case "vfb":
		err = checkPairs(s, xenGraphics)
	case "serial", "usbdevice":
		if !slices.Contains([]string{"pty", "tablet", "mouse", "keyboard"}, s.value) {
			err = fmt.Errorf("%w: %s = %q would be a device of the node", ErrRefused, s.key, s.value)
		}
	case "kernel", "ramdisk":
		inHome := path.Dir(s.value) == path.Clean(owner.Home) && owner.Files[path.Base(s.value)]
		if !inHome && !xenKernel.MatchString(s.value) {
			err = fmt.Errorf("%w: %s %q is neither a file of the VM nor one of /boot", ErrRefused, s.key, s.value)
		}
	case "bootloader":
		if !xenBootloader.MatchString(s.value) {
			err = fmt.Errorf("%w: bootloader %q is a program that root would run", ErrRefused, s.value)
		}
	default:
		if !xenWords[s.key] || strings.Contains(s.value, "/") && s.key != "root" && s.key != "extra" {
			err = fmt.Errorf("%w: %s = %q is not allowed", ErrRefused, s.key, s.value)
		}
	}
	x.settings = append(x.settings, s)
	return err
}

func checkPairs(s setting, allowed map[string]bool) error {
	for _, text := range s.list {
		for _, pair := range strings.Split(text, ",") {
			name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || !allowed[name] || strings.Contains(value, "/") || s.key == "vif" && !xenWord.MatchString(value) {
				return fmt.Errorf("%w: %s: %q is not allowed", ErrRefused, s.key, pair)
			}
		}
	}
	return nil
}

// disk is DRIVER:PATH,TARGET,MODE. A volume becomes phy: and its device, whatever driver
// oned wrote: a link in the home would not be there on another node.
func (x *Xen) disk(text string, owner Owner) (string, error) {
	fields := strings.Split(text, ",")
	if len(fields) != 3 || fields[2] != "r" && fields[2] != "w" {
		return "", fmt.Errorf("%w: disk %q is not DRIVER:PATH,TARGET,MODE", ErrRefused, text)
	}
	target, kind, _ := strings.Cut(fields[1], ":")
	if !xenTarget.MatchString(target) || kind != "" && kind != "cdrom" && kind != "disk" {
		return "", fmt.Errorf("%w: a disk has the target %q", ErrRefused, fields[1])
	}
	source := xenSource(text)
	id, ok := owner.disk(source)
	if !ok {
		return "", fmt.Errorf("%w: disk %s: %s is no disk of the VM", ErrRefused, target, source)
	}
	disk := Disk{ID: id, Target: target, Device: "disk", Path: owner.Volumes[id], Volume: owner.Volumes[id] != ""}
	driver := "phy"
	if !disk.Volume {
		disk.Path, driver = path.Clean(source), "file"
		if !owner.Files[path.Base(disk.Path)] {
			return "", fmt.Errorf("%w: disk %s: %s is neither a volume of the VM nor a file in its home", ErrRefused, target, source)
		}
	}
	for _, other := range x.Disks {
		if other.Path == disk.Path || other.Target == disk.Target {
			return "", fmt.Errorf("%w: disks %s and %s are the same", ErrRefused, other.Target, target)
		}
	}
	x.Disks = append(x.Disks, disk)
	return fmt.Sprintf("%s:%s,%s,%s", driver, disk.Path, fields[1], fields[2]), nil
}

// Bytes is the file as it may be handed to Xen.
func (x *Xen) Bytes() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%d\nname = %q\n", Marker, x.owner.VM, x.Name)
	for _, s := range x.settings {
		switch {
		case s.list != nil:
			texts := make([]string, 0, len(s.list))
			for _, text := range s.list {
				texts = append(texts, strconv.Quote(text))
			}
			fmt.Fprintf(&out, "%s = [%s]\n", s.key, strings.Join(texts, ", "))
		case xenNumber.MatchString(s.value):
			fmt.Fprintf(&out, "%s = %s\n", s.key, s.value)
		default:
			fmt.Fprintf(&out, "%s = %q\n", s.key, s.value)
		}
	}
	return out.Bytes(), nil
}

// OwnerOfXen says whose file it is: only the whole line counts, or VM 1 would have VM 10's.
func OwnerOfXen(text string) (vm int, ok bool) {
	for line := range strings.Lines(text) {
		if number, found := strings.CutPrefix(strings.TrimSpace(line), Marker); found {
			vm, err := strconv.Atoi(number)
			return vm, err == nil && vm >= 0
		}
	}
	return 0, false
}
