package adoption

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"one-clvm/agent/facts"
	"one-clvm/audit"
	"one-clvm/lvm"
)

// Conversion is what a lock manager for a group needs, and what must rest meanwhile.
type Conversion struct {
	Manager string   // that it has
	Needs   []string // on which node, what
	Stops   []string // VMs and volumes that must be off while the group's lock manager changes
}

// ConversionOf judges the change of a group without a lock manager to lvmlockd with dlm, or with
// sanlock where that runs. LVM wants every volume of the group inactive on every node for it.
func ConversionOf(s *audit.State, nodes map[string]*facts.Facts) Conversion {
	c := Conversion{Manager: lvm.NoLockManager}
	if info := s.Nodes[0].Report.Info; info != nil {
		c.Manager = info.LockManager
	}
	if c.Manager != lvm.NoLockManager {
		return c
	}
	for _, n := range s.Nodes {
		name := n.Names[0]
		if f := nodes[name]; f != nil {
			c.Needs = append(c.Needs, needs(name, f)...)
			continue
		}
		c.Needs = append(c.Needs, name+": it did not tell what it has")
	}
	for _, host := range sorted(s.Unasked) {
		c.Needs = append(c.Needs, host+": it could not be asked, and must see no active volume of the group")
	}
	c.Stops = stops(s)
	return c
}

func sorted[T any](m map[string]T) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// needs is what one node lacks for lvmlockd.
func needs(name string, f *facts.Facts) []string {
	var all []string
	lack := func(missing bool, what string) {
		if missing {
			all = append(all, name+": "+what)
		}
	}
	lack(!f.Tools["lvmlockctl"], "lvmlockd (package lvm2-lockd)")
	lack(f.LVM == nil || f.LVM.Settings["use_lvmlockd"] != "1", "use_lvmlockd = 1 in lvm.conf, and lvmlockd started")
	if f.Sanlock == nil {
		lack(f.Cluster == nil, "corosync (or sanlock instead of it and of dlm)")
		lack(f.DLM == nil, "dlm_controld (package dlm-controld)")
		lack(f.DLM != nil && len(f.FenceDevices) == 0, "a fence device in dlm.conf")
	}
	return all
}

// stops are the VMs with disks that are active, and the other active volumes.
func stops(s *audit.State) []string {
	var all []string
	for _, v := range merged(s) {
		if len(v.holders) == 0 {
			continue
		}
		what := "volume " + v.Name
		if name, err := lvm.ParseName(s.Prefix, v.Name); err == nil && name.Kind == lvm.KindDisk {
			what = fmt.Sprintf("VM %d", name.VM)
		}
		what += " on " + v.holders[0].Names[0]
		if !slices.Contains(all, what) {
			all = append(all, what)
		}
	}
	return all
}

// Saving is what a deployment of an image writes: fs_lvm all of the disk, the suite its data.
type Saving struct {
	Image  int
	Source string
	Disk   int64 // bytes of the disk that is made of it
	Data   int64 // bytes that are allocated in its file
	Disks  int   // of VMs in the group that were made of it
}

// Savings measures the images of the VMs' disks in the group, by number. stat is os.Stat; what it
// does not find on this machine, or cannot tell the data of, is left out.
func Savings(s *audit.State, stat func(string) (fs.FileInfo, error)) []Saving {
	byImage := map[int]*Saving{}
	for _, vm := range s.VMs {
		if last := vm.Last(); last == nil || s.Bases[last.DatastoreID] == "" {
			continue
		}
		for _, disk := range vm.Disks {
			if disk.Volatile() || !strings.HasPrefix(disk.Source, "/") || disk.Size == 0 {
				continue
			}
			found := byImage[disk.ImageID]
			if found == nil {
				data, ok := allocated(disk.Source, stat)
				if !ok {
					continue
				}
				found = &Saving{Image: disk.ImageID, Source: disk.Source, Data: data}
				byImage[disk.ImageID] = found
			}
			found.Disk = max(found.Disk, disk.Size<<20)
			found.Disks++
		}
	}
	var all []Saving
	for _, saving := range byImage {
		saving.Data = min(saving.Data, saving.Disk)
		all = append(all, *saving)
	}
	slices.SortFunc(all, func(a, b Saving) int { return a.Image - b.Image })
	return all
}

// allocated is how many bytes of a file its file system keeps: holes are none.
func allocated(path string, stat func(string) (fs.FileInfo, error)) (int64, bool) {
	info, err := stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return min(st.Blocks*512, info.Size()), true
}
