package lvmfake

import (
	"slices"
	"strconv"
	"strings"

	"one-clvm/lvm"
)

// maxExtents of a volume: LVM counts them in 32 bits.
const maxExtents = 1<<32 - 1

func lvcreate(h *Host, out *reply, args arguments) {
	size, ok := parseSize(out, args)
	name, _ := args.last("-n", "--name")
	if !ok || !validName(out, name) || !oneArgument(out, args) {
		return
	}
	if args.has("-s", "--snapshot") {
		h.snapshot(out, args, name, size)
		return
	}
	g := h.writable(out, args.rest[0])
	if g == nil {
		return
	}
	activate, _ := args.last("-a", "--activate")
	zero, zeroGiven := args.last("-Z", "--zero")
	wipe, _ := args.last("-W", "--wipesignatures")
	if activate == "n" && (zeroGiven && zero == "y" || wipe == "y") {
		out.complain("Cannot zero inactive logical volume with option -Zy or -Wy.")
		return // with status 0: LVM 2.03.16 means it
	}
	if size%g.ExtentSize != 0 {
		out.say("Rounding up size to full physical extent %.2f MiB", float64(g.inExtents(size)*g.ExtentSize)/(1<<20))
	}
	switch extents := g.inExtents(size); {
	case g.find(name) != nil:
		out.fail(5, "Logical Volume %q already exists in volume group %q", name, g.Name)
	case extents > maxExtents:
		out.fail(5, "Volume too large (%s) for extent size %s. Upper limit is less than %s.", inMiB(size), inMiB(g.ExtentSize), inMiB(maxExtents*g.ExtentSize))
	case extents > g.free():
		out.fail(5, "Volume group %q has insufficient free space (%d extents): %d required.", g.Name, g.free(), extents)
	default:
		v := &volume{name: name, uuid: h.store.uuid(), extents: extents, on: map[*Host]*presence{}}
		v.tags = retag(v.tags, args)
		g.volumes = append(g.volumes, v)
		g.seqno++
		if activate == "n" || zero == "n" {
			out.complain("WARNING: Logical volume %s/%s not zeroed.", g.Name, name)
		}
		h.activate(out, g, v, strings.TrimSpace(activate))
		out.say("Logical volume %q created.", name)
	}
}

func lvremove(h *Host, out *reply, args arguments) {
	g, v := h.target(out, args)
	if v == nil {
		return
	}
	switch here := v.at(h); {
	case here.open:
		out.fail(5, "Logical volume %s/%s in use.", g.Name, v.name)
	case v.base().at(h).active && !args.has("-y", "--yes", "-f", "--force"):
		out.fail(5, "Logical volume %s/%s not removed.", g.Name, v.name)
	case h.lockForChange(out, g, v):
		for _, s := range g.snapshots(v) {
			g.remove(s)
			out.say("Logical volume %q successfully removed.", s.name)
		}
		g.remove(v)
		g.seqno++
		out.say("Logical volume %q successfully removed.", v.name)
	}
}

func lvrename(h *Host, out *reply, args arguments) {
	if len(args.rest) != 3 {
		out.fail(3, "Old and new logical volume names required")
		return
	}
	from, to := args.rest[1], args.rest[2]
	if !validName(out, to) {
		return
	}
	g := h.writable(out, args.rest[0])
	if g == nil {
		return
	}
	v := g.find(from)
	switch {
	case v == nil:
		out.fail(5, "Existing logical volume %q not found in volume group %q", from, g.Name)
	case g.find(to) != nil:
		out.fail(5, "Logical Volume %q already exists in volume group %q", to, g.Name)
	case h.lockForChange(out, g, v):
		v.name = to
		g.seqno++
		out.say("Renamed %q to %q in volume group %q", from, to, g.Name)
	}
}

func lvextend(h *Host, out *reply, args arguments) {
	size, ok := parseSize(out, args)
	if !ok || !oneArgument(out, args) {
		return
	}
	vgName, lvName, _ := strings.Cut(args.rest[0], "/")
	g := h.writable(out, vgName)
	if g == nil {
		return
	}
	v := g.find(lvName)
	if v == nil {
		out.fail(5, "Logical volume %s not found in volume group %s.", lvName, vgName)
		return
	}
	if size%g.ExtentSize != 0 {
		out.say("Rounding size to boundary between physical extents: %.2f MiB.", float64(g.inExtents(size)*g.ExtentSize)/(1<<20))
	}
	extents := g.inExtents(size)
	switch {
	case len(g.snapshots(v)) > 0 && v.at(h).active:
		out.fail(5, "Snapshot origin volumes can be resized only while inactive: try lvchange -an.")
	case extents&maxExtents == 0:
		out.fail(5, "New size of 0 not permitted.") // it counts in 32 bits
	case extents < v.extents:
		out.fail(5, "New size given (%d extents) not larger than existing size (%d extents)", extents, v.extents)
	case extents == v.extents:
		out.fail(5, "New size (%d extents) matches existing size (%d extents).", extents, v.extents)
	case extents-v.extents > g.free():
		out.fail(5, "Insufficient free space: %d extents needed, but only %d available", extents-v.extents, g.free())
	case h.lockForChange(out, g, v):
		v.extents = extents
		g.seqno++
		out.say("Logical volume %s/%s successfully resized.", g.Name, v.name)
	}
}

func lvchange(h *Host, out *reply, args arguments) {
	g, v := h.target(out, args)
	if v == nil {
		return
	}
	if mode, ok := args.last("-a", "--activate"); ok {
		h.activate(out, g, v, mode)
		return
	}
	v.tags = retag(v.tags, args)
	g.seqno++
	out.say("Logical volume %s/%s changed.", g.Name, v.name)
}

func vgchange(h *Host, out *reply, args arguments) {
	if !oneArgument(out, args) {
		return
	}
	g := h.writable(out, args.rest[0])
	if g == nil {
		return
	}
	g.tags = retag(g.tags, args)
	g.seqno++
	out.say("Volume group %q successfully changed", g.Name)
}

func retag(tags []string, args arguments) []string {
	for _, tag := range args.values["--addtag"] {
		if !slices.Contains(tags, tag) {
			tags = append(slices.Clone(tags), tag)
		}
	}
	for _, tag := range args.values["--deltag"] {
		tags = slices.DeleteFunc(slices.Clone(tags), func(have string) bool { return have == tag })
	}
	return tags
}

// writable finds a group for a program that changes it.
func (h *Host) writable(out *reply, name string) *group {
	g := h.group(name)
	if g == nil || !g.shared() || h.locking == LockdStarted || h.locking == LockdNotConfigured {
		return h.readable(out, name)
	}
	if h.locking == LockdDown {
		out.complain("WARNING: lvmlockd process is not running.")
	}
	out.fail(5, "Cannot access VG %s due to failed lock.", name)
	return nil
}

// target finds the one volume VG/LV that the arguments name.
func (h *Host) target(out *reply, args arguments) (*group, *volume) {
	if !oneArgument(out, args) {
		return nil, nil
	}
	vgName, lvName, _ := strings.Cut(args.rest[0], "/")
	g := h.writable(out, vgName)
	if g == nil {
		return nil, nil
	}
	v := g.find(lvName)
	if v == nil {
		out.fail(5, "Failed to find logical volume %q", args.rest[0])
	}
	return g, v
}

func oneArgument(out *reply, args arguments) bool {
	if len(args.rest) != 1 {
		out.fail(3, "Please specify one volume group or logical volume path.")
		return false
	}
	return true
}

func validName(out *reply, name string) bool {
	for _, prefix := range []string{"snapshot", "pvmove"} {
		if strings.HasPrefix(name, prefix) {
			out.fail(3, "Names starting %q are reserved. Please choose a different LV name.", prefix)
			return false
		}
	}
	if err := lvm.ValidateName(name); err != nil {
		out.fail(3, "Logical volume name %q is invalid.", name)
		return false
	}
	return true
}

func parseSize(out *reply, args arguments) (int64, bool) {
	text, _ := args.last("-L", "--size")
	size, err := lvm.ParseSize(text)
	exact, exactErr := strconv.ParseInt(strings.TrimSuffix(text, "b"), 10, 64)
	var complaint string
	switch {
	case text == "":
		complaint = "Size requires number argument."
	case strings.HasPrefix(text, "-"):
		complaint = "Size may not be negative."
	case strings.HasSuffix(text, "b") && exactErr == nil && exact%lvm.SectorSize != 0:
		complaint = "Size is not a multiple of 512. Try using " + strconv.FormatInt(exact/512*512, 10) + " or " + strconv.FormatInt(exact/512*512+512, 10) + "."
	case exactErr == nil && exact == 0:
		out.fail(3, "--size may not be zero.")
		return 0, false
	case err != nil:
		complaint = "Can't parse size argument."
	default:
		return size, true
	}
	out.fail(3, "%s", complaint)
	out.complain("Invalid argument for --size: %s", text)
	out.complain("Error during parsing of command line.")
	return 0, false
}
