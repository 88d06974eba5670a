package lvmfake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"one-clvm/lvm"
)

// Times and numbers that no test depends on.
const (
	createdAt   = "2025-02-03 10:00:00 +0000"
	deviceMajor = "253"
)

func lvs(h *Host, out *reply, args arguments) {
	target := strings.Join(args.rest, " ")
	vgName, lvName, one := strings.Cut(target, "/")
	var rows []map[string]string
	if g := h.readable(out, vgName); g != nil {
		if one && g.find(lvName) == nil {
			out.fail(5, "Failed to find logical volume %q", target)
		}
		for _, v := range g.volumes {
			if !one || v.name == lvName {
				rows = append(rows, h.volumeFields(g, v))
			}
		}
	}
	slices.SortFunc(rows, func(a, b map[string]string) int { return strings.Compare(a["lv_name"], b["lv_name"]) })
	h.printReport(out, "lv", args, rows)
}

func vgs(h *Host, out *reply, args arguments) {
	var rows []map[string]string
	if len(args.rest) == 0 {
		for _, g := range h.store.groups {
			if g.seenBy(h) && (!g.shared() || h.locking != LockdNotConfigured) {
				rows = append(rows, h.groupFields(g))
			}
		}
	} else if g := h.readable(out, args.rest[0]); g != nil {
		rows = append(rows, h.groupFields(g))
	}
	h.printReport(out, "vg", args, rows)
}

// pvs lists the disks of all groups; those that LVM may not use only when asked for.
func pvs(h *Host, out *reply, args arguments) {
	var rows []map[string]string
	for i, g := range h.store.groups {
		if g.seenBy(h) && (!g.shared() || h.locking != LockdNotConfigured || args.has("--shared")) {
			rows = append(rows, map[string]string{"pv_uuid": g.PV, "pv_name": "/dev/sd" + string(rune('b'+i)), "vg_name": g.Name})
		}
	}
	h.printReport(out, "pv", args, rows)
}

// readable finds a group for a reading program, with the complaints that belong to it.
func (h *Host) readable(out *reply, name string) *group {
	g := h.group(name)
	switch {
	case g == nil:
		out.fail(5, "Volume group %q not found", name)
		out.complain("Cannot process volume group %s", name)
		return nil
	case g.LockType == LockCLVMD && h.locking != LockdStarted:
		out.fail(5, "connect() failed on local socket: No such file or directory")
		out.complain("Internal cluster locking initialisation failed.")
		out.complain("WARNING: Falling back to local file-based locking.")
		out.complain("Volume Groups with the clustered attribute will be inaccessible.")
		out.complain("Skipping clustered volume group %s", name)
		return nil
	case !g.shared():
		return g
	case h.locking == LockdNotConfigured:
		out.fail(5, "Cannot access VG %s with lock type %s that requires lvmlockd.", name, g.LockType)
		return nil
	case h.locking == LockdDown:
		out.complain("WARNING: lvmlockd process is not running.")
		out.complain("Reading VG %s without a lock.", name)
	case h.locking == LockdNotStarted:
		out.complain("Reading VG %s without a lock.", name)
	}
	return g
}

func (h *Host) groupFields(g *group) map[string]string {
	size := func(extents int64) string { return strconv.FormatInt(extents*g.ExtentSize, 10) }
	letter, lockType, shared, clustered := "-", "", "", ""
	switch {
	case g.shared():
		letter, lockType, shared = "s", g.LockType, "shared"
	case g.LockType == LockCLVMD:
		letter, clustered = "c", "clustered"
	}
	return map[string]string{
		"vg_name": g.Name, "vg_attr": "wz--n" + letter, "vg_lock_type": lockType, "vg_shared": shared, "vg_clustered": clustered,
		"vg_size": size(g.Extents), "vg_free": size(g.free()), "vg_extent_size": size(1),
		"vg_extent_count": strconv.FormatInt(g.Extents, 10), "vg_free_count": strconv.FormatInt(g.free(), 10),
		"lv_count": strconv.Itoa(len(g.volumes)), "vg_seqno": strconv.Itoa(g.seqno), "vg_tags": strings.Join(g.tags, ","),
	}
}

func (h *Host) volumeFields(g *group, v *volume) map[string]string {
	here := v.at(h)
	state, open, isOpen, minor := "-", "-", "", "-1"
	if v.base().at(h).active {
		state, minor = "a", strconv.Itoa(slices.Index(g.volumes, v))
	}
	if v.invalid && state == "a" {
		state = "I"
	}
	kind, origin, originSize := "-", "", ""
	switch {
	case v.origin != nil:
		kind, origin, originSize = "s", v.origin.name, strconv.FormatInt(v.content*g.ExtentSize, 10)
	case len(g.snapshots(v)) > 0:
		kind, originSize = "o", strconv.FormatInt(v.extents*g.ExtentSize, 10)
	}
	if here.open {
		open, isOpen = "o", "open"
	}
	fields := h.groupFields(g)
	for name, value := range map[string]string{
		"lv_name": v.name, "lv_uuid": v.uuid, "lv_size": strconv.FormatInt(v.extents*g.ExtentSize, 10),
		"lv_attr": kind + "wi-" + state + open + "----", "lv_active": h.activeField(g, v.base()), "lv_tags": strings.Join(v.tags, ","),
		"lv_path": "/dev/" + g.Name + "/" + v.name, "lv_time": createdAt, "lv_layout": "linear", "lv_role": "public",
		"lv_kernel_major": deviceMajor, "lv_kernel_minor": minor, "lv_device_open": isOpen, "lv_lockargs": g.lockArgs(v), "origin": origin, "origin_size": originSize,
	} {
		fields[name] = value
	}
	return fields
}

// activeField is lv_active: in a clustered group it tells of all nodes, otherwise only
// of this one.
func (h *Host) activeField(g *group, v *volume) string {
	here := v.at(h)
	if g.LockType != LockCLVMD {
		if here.active {
			return "active"
		}
		return ""
	}
	switch elsewhere := v.heldElsewhere(h); {
	case here.lock == lvm.Exclusive:
		return "local exclusive"
	case here.active:
		return "locally"
	case elsewhere == lvm.Exclusive:
		return "remote exclusive"
	case elsewhere == lvm.Shared:
		return "remotely"
	}
	return ""
}

// printReport prints rows as --reportformat json does: strings, one object a line,
// two leading blanks, steps of four.
func (h *Host) printReport(out *reply, section string, args arguments, rows []map[string]string) {
	list, _ := args.last("-o", "--options")
	if format, _ := args.last("--reportformat"); format != "json" || list == "" || !args.has("--nosuffix") {
		out.fail(3, "lvmfake: only --reportformat json with --nosuffix and explicit fields is implemented")
		return
	}
	out.stdout.WriteString(h.noise)
	known := h.volumeFields(&group{GroupSpec: GroupSpec{ExtentSize: 1}}, &volume{on: map[*Host]*presence{}})
	known["pv_uuid"], known["pv_name"] = "", ""
	var lines []string
	for _, row := range rows {
		var pairs []string
		for field := range strings.SplitSeq(list, ",") {
			pairs = append(pairs, quote(field)+":"+quote(row[field]))
		}
		lines = append(lines, "                  {"+strings.Join(pairs, ", ")+"}")
	}
	for field := range strings.SplitSeq(list, ",") {
		if _, ok := known[field]; !ok {
			out.stdout.WriteString("  {\n      \"report\": [\n      ]\n  }\n")
			out.fail(5, "Unrecognised field: %s", field)
			return
		}
	}
	body := strings.Join(lines, ",\n")
	if body != "" {
		body += "\n"
	}
	fmt.Fprintf(&out.stdout, "  {\n      \"report\": [\n          {\n              %q: [\n%s              ]\n          }\n      ]\n  }\n", section, body)
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // no string fails
	}
	return string(text)
}

func lvmVersion(h *Host, out *reply, args arguments) {
	if len(args.rest) != 1 || args.rest[0] != "version" {
		out.fail(2, "No such command.  Try 'help'.")
		return
	}
	out.say("LVM version:     %s", h.version)
	out.say("Library version: 1.02.185 (2022-05-18)")
	out.say("Driver version:  4.48.0")
}

// lvmlockctl prints the locks that this host holds, a section for each group whose
// lockspace is started.
func lvmlockctl(h *Host, out *reply, _ arguments) {
	if h.locking == LockdDown || h.locking == LockdNotConfigured {
		out.stdout.WriteString("Cannot connect to lvmlockd.\n")
		out.status = 255
		return
	}
	for _, g := range h.store.groups {
		if !g.shared() || h.locking == LockdNotStarted {
			continue
		}
		fmt.Fprintf(&out.stdout, "VG %s lock_type=%s fAkeVG-0000-1111-2222-3333-4444-000000\nLS %s lvm_%s\nLK VG un ver %d\n", g.Name, g.LockType, g.LockType, g.Name, g.seqno)
		for _, v := range g.volumes {
			if word := map[lvm.Mode]string{lvm.Exclusive: "ex", lvm.Shared: "sh"}[v.at(h).lock]; word != "" {
				fmt.Fprintf(&out.stdout, "LK LV %s %s\n", word, v.uuid)
			}
		}
		out.stdout.WriteString("\n")
	}
}
