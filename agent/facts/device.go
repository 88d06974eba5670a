package facts

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"one-clvm/lvm"
)

// active lists the volumes that device-mapper has, from sysfs: LVM is not asked, because it
// may know nothing of them any more.
func (w *collecting) active() ([]Active, error) {
	names, err := filepath.Glob(w.path("sys/block/dm-*"))
	if err != nil {
		return nil, err
	}
	all := []Active{}
	for _, path := range names {
		device := filepath.Base(path)
		uuid, ok := volumeUUID(w.read("sys/block/" + device + "/dm/uuid"))
		group, name, named := splitMapperName(w.read("sys/block/" + device + "/dm/name"))
		if !ok || !named {
			continue
		}
		all = append(all, Active{Group: group, Name: name, UUID: uuid, Device: device, Owner: owner(w.path("dev/" + device)),
			Suspended: w.read("sys/block/"+device+"/dm/suspended") == "1"})
	}
	slices.SortFunc(all, func(a, b Active) int { return strings.Compare(a.Group+"/"+a.Name, b.Group+"/"+b.Name) })
	return all, nil
}

// uuidLength of a volume group's or volume's UUID, without its hyphens.
const uuidLength = 32

// volumeUUID takes the volume's UUID out of the device's: LVM-, the group's, the volume's.
// A hidden half of a volume has a suffix, and is none.
func volumeUUID(device string) (uuid string, ok bool) {
	rest, ok := strings.CutPrefix(device, "LVM-")
	if !ok || len(rest) != 2*uuidLength {
		return "", false
	}
	rest = rest[uuidLength:]
	var parts []string
	for _, n := range []int{6, 4, 4, 4, 4, 4, 6} {
		parts = append(parts, rest[:n])
		rest = rest[n:]
	}
	return strings.Join(parts, "-"), true
}

// splitMapperName: a hyphen within a name is doubled.
func splitMapperName(name string) (group, volume string, ok bool) {
	for i := 0; i < len(name); i++ {
		if name[i] != '-' {
			continue
		}
		if i+1 < len(name) && name[i+1] == '-' {
			i++
			continue
		}
		undouble := strings.NewReplacer("--", "-").Replace
		return undouble(name[:i]), undouble(name[i+1:]), true
	}
	return "", "", false
}

// owner is USER:GROUP of a file, "" without it.
func owner(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	uid, gid := strconv.Itoa(int(stat.Uid)), strconv.Itoa(int(stat.Gid))
	if u, err := user.LookupId(uid); err == nil {
		uid = u.Username
	}
	if g, err := user.LookupGroupId(gid); err == nil {
		gid = g.Name
	}
	return uid + ":" + gid
}

// deviceName is the kernel's name of a device: /dev/mapper/mpatha is dm-3.
func (w *collecting) deviceName(path string) string {
	full := w.path(path)
	if resolved, err := filepath.EvalSymlinks(full); err == nil {
		full = resolved
	}
	return filepath.Base(full)
}

// missingDisk is how LVM calls one that it does not find.
const missingDisk = "[unknown]"

// inVolumes are the physical volumes inside logical ones.
func (w *collecting) inVolumes(physical []lvm.PhysicalVolume) []string {
	paths := []string{}
	for _, p := range physical {
		if w.isVolume(p.Path) {
			paths = append(paths, p.Path)
		}
	}
	return paths
}

// scsiRunning is the state of a SCSI disk that works.
const scsiRunning = "running"

// disksOf are the disks that physical volumes are on, and those that do not work. Physical
// volumes within logical ones are a guest's.
func (w *collecting) disksOf(physical []lvm.PhysicalVolume) []Disk {
	disks := []Disk{}
	for _, p := range physical {
		name := w.deviceName(p.Path)
		if !w.isVolume(p.Path) && p.Path != missingDisk {
			disks = append(disks, w.disk(name))
		}
	}
	// LVM does not see a disk that is not running.
	names, _ := filepath.Glob(w.path("sys/block/sd*")) // the pattern is good
	for _, path := range names {
		d := w.disk(filepath.Base(path))
		known := func(k Disk) bool { return k.Name == d.Name }
		if d.State != "" && d.State != scsiRunning && !slices.ContainsFunc(disks, known) {
			disks = append(disks, d)
		}
	}
	return disks
}

func (w *collecting) disk(name string) Disk {
	dir := "sys/class/block/" + name
	if _, err := os.Stat(w.path(dir + "/partition")); err == nil { // limits are those of the whole disk
		if target, err := filepath.EvalSymlinks(w.path(dir)); err == nil {
			name = filepath.Base(filepath.Dir(target))
			dir = "sys/class/block/" + name
		}
	}
	d := Disk{
		Name: name, State: w.read(dir + "/device/state"), Timeout: int(w.number(dir + "/device/timeout")),
		DiscardMax: w.number(dir + "/queue/discard_max_bytes"), WriteZeroesMax: w.number(dir + "/queue/write_zeroes_max_bytes"),
	}
	if strings.HasPrefix(w.read(dir+"/dm/uuid"), "mpath-") {
		d.Multipath = w.read(dir + "/dm/name")
		paths, _ := filepath.Glob(w.path(dir + "/slaves/*")) // the pattern is good
		for _, path := range paths {
			d.Paths = append(d.Paths, w.disk(filepath.Base(path)))
		}
	}
	return d
}

// isVolume says whether the path is that of a logical volume on this node.
func (w *collecting) isVolume(path string) bool {
	return strings.HasPrefix(w.read("sys/block/"+w.deviceName(path)+"/dm/uuid"), "LVM-")
}
