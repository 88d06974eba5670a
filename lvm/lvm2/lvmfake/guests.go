package lvmfake

import (
	"regexp"
	"strings"
)

// MakeGuestGroup lets a guest make a volume group inside its disk, with a physical
// volume on the volume vg/lv. A node on which the volume is active sees that group,
// too, unless its LVM is told not to look at volumes.
func (s *Store) MakeGuestGroup(vg, lv string, guest GroupSpec) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if guest.ExtentSize == 0 {
		guest.ExtentSize = 4 << 20
	}
	s.must(vg, lv).inside = &group{GroupSpec: guest, seqno: 1, volumes: []*volume{
		{name: "root", uuid: s.uuid(), extents: guest.Extents, on: map[*Host]*presence{}},
	}}
}

// SetScanLVs is devices/scan_lvs in the node's lvm.conf; off by default from 2.03 on.
func (h *Host) SetScanLVs(on bool) { h.locked(func() { h.scanLVs = on }) }

// SetFilter is devices/filter in the node's lvm.conf, as lvmconfig prints it, without
// the key: ["a|^/dev/sd|"].
func (h *Host) SetFilter(list string) { h.locked(func() { h.filter = list }) }

// group finds a group as this host sees it in this call: the one that a guest made
// hides the node's own, the worst of what LVM may do with two groups of one name.
func (h *Host) group(name string) *group {
	for _, g := range h.store.groups {
		for _, v := range g.volumes {
			if h.looksInside && v.inside != nil && v.inside.Name == name && v.at(h).active {
				return v.inside
			}
		}
	}
	for _, g := range h.store.groups {
		if g.Name == name && g.seenBy(h) {
			return g
		}
	}
	return nil
}

var filterPattern = regexp.MustCompile(`"([ar])\|((?:[^"\\|]|\\.)*)\|"`)

// looksIntoVolumes says whether LVM with this --config scans volumes for physical
// volumes. Versions before 2.02.182 do, unless their filter rejects every name that a
// volume has.
func (h *Host) looksIntoVolumes(config string) bool {
	if h.version >= "2.02.182" {
		return !strings.Contains(config, "scan_lvs=0") && (h.scanLVs || h.version < "2.03")
	}
	filter := h.filter
	if _, given, ok := strings.Cut(config, "filter="); ok {
		filter = given
	}
	rejected := false
	for _, name := range []string{"/dev/vg-one/x", "/dev/mapper/vg--one-x", "/dev/dm-7"} {
		for _, pattern := range filterPattern.FindAllStringSubmatch(filter, -1) {
			if !regexp.MustCompile(pattern[2]).MatchString(name) {
				continue
			}
			if pattern[1] == "a" {
				return true // one name that is accepted is enough
			}
			rejected = true
			break
		}
	}
	return !rejected
}

// lvmconfig prints a setting of lvm.conf.
func lvmconfig(h *Host, out *reply, args arguments) {
	if len(args.rest) != 1 || args.rest[0] != "devices/filter" || h.filter == "" {
		out.fail(5, "Configuration node %s not found", strings.Join(args.rest, " "))
		return
	}
	out.stdout.WriteString("filter=" + h.filter + "\n")
}
