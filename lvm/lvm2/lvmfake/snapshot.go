package lvmfake

import (
	"fmt"
	"strings"

	"one-clvm/lvm"
)

// snapshot is lvcreate -s -L SIZE -n NAME VG/ORIGIN.
func (h *Host) snapshot(out *reply, args arguments, name string, size int64) {
	vgName, originName, _ := strings.Cut(args.rest[0], "/")
	g := h.writable(out, vgName)
	if g == nil {
		return
	}
	origin := g.find(originName)
	if origin == nil {
		out.fail(5, "Logical volume %s not found in volume group %s.", originName, vgName)
		return
	}
	chunk := int64(4 << 10)
	if text, ok := args.last("-c", "--chunksize"); ok {
		var err error
		if chunk, err = lvm.ParseSize(text); err != nil {
			out.fail(3, "Invalid argument for --chunksize: %s", text)
			return
		}
	}
	extents := g.inExtents(size)
	if largest := g.largestCOW(origin, chunk); extents > largest {
		out.say("Reducing COW size %s down to maximum usable size %s.", inMiB(extents*g.ExtentSize), inMiB(largest*g.ExtentSize))
		extents = largest
	}
	switch {
	case origin.origin != nil:
		out.fail(5, "Snapshots of snapshots are not supported.")
	case g.find(name) != nil:
		out.fail(5, "Logical Volume %q already exists in volume group %q", name, g.Name)
	case extents > g.free():
		out.fail(5, "Volume group %q has insufficient free space (%d extents): %d required.", g.Name, g.free(), extents)
	case h.lockOrigin(out, g, origin):
		v := &volume{name: name, uuid: h.store.uuid(), extents: extents, origin: origin, content: origin.extents, on: map[*Host]*presence{}}
		v.tags = retag(v.tags, args)
		g.volumes = append(g.volumes, v)
		g.seqno++
		out.say("Logical volume %q created.", name)
	}
}

func inMiB(bytes int64) string { return fmt.Sprintf("%.2f MiB", float64(bytes)/(1<<20)) }

// largestCOW is cow_max_extents of lib/metadata/snapshot_manip.c, in extents: two chunks
// of header and table, and a chunk of table for each chunk/16 chunks of data.
func (g *group) largestCOW(origin *volume, chunk int64) int64 {
	chunks := (origin.extents*g.ExtentSize + chunk - 1) / chunk
	return g.inExtents((2 + chunks + chunks/(chunk/16)) * chunk)
}

// lockOrigin takes the origin exclusively, and keeps that lock under lvmlockd.
func (h *Host) lockOrigin(out *reply, g *group, origin *volume) bool {
	if g.LockType == LockNone {
		return true
	}
	if conflict(lvm.Exclusive, origin.heldElsewhere(h)) || origin.at(h).lock == lvm.Shared {
		out.fail(5, "LV locked by other host: %s/%s", g.Name, origin.name)
		out.complain("Failed to lock origin LV %s/%s", g.Name, origin.name)
		return false
	}
	origin.at(h).lock = lvm.Exclusive
	return true
}
