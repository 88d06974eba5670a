// Package lvmfake is a double of the LVM2 programs, for tests: lvs, vgs, lvcreate,
// lvremove, lvrename, lvextend, lvchange, lvm version and lvmlockctl. Texts, exit
// statuses and the shape of reports are those of LVM 2.03.16; the lock messages are
// those of lvmlockd, and of clvmd as far as they are known.
//
// A Store is the SAN and its lock manager; every Host on it is a run.Runner and sees
// the same volume groups, as the nodes of a cluster do. A volume has no content here.
package lvmfake

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"one-clvm/lvm"
)

// Lock types of a volume group.
const (
	LockNone    = ""        // local
	LockDLM     = "dlm"     // shared, by lvmlockd
	LockSanlock = "sanlock" // shared, by lvmlockd
	LockCLVMD   = "clvmd"   // clustered
)

// GroupSpec describes a volume group of the Store.
type GroupSpec struct {
	Name       string
	LockType   string
	ExtentSize int64 // bytes; 0 means 4 MiB
	Extents    int64
	PV         string // id of its one physical volume; "" for one of its own
	Host       string // the only host that sees it; "" for a disk on the SAN
}

// Store is what the hosts share. It is safe for concurrent use.
type Store struct {
	mutex  sync.Mutex
	groups []*group
	hosts  []*Host
	serial int
}

type group struct {
	GroupSpec
	volumes []*volume
	tags    []string
	seqno   int
}

type volume struct {
	name    string
	uuid    string
	extents int64
	tags    []string
	on      map[*Host]*presence
	inside  *group // made by a guest; nil for none

	// Of a snapshot; extents are then the space for what changes.
	origin  *volume
	content int64 // in extents
	invalid bool
}

// presence is a volume on one host.
type presence struct {
	active bool
	open   bool
	lock   lvm.Mode // held by the host; Off is none
}

// NewStore makes the SAN with empty volume groups.
func NewStore(groups ...GroupSpec) *Store {
	s := &Store{}
	for i, spec := range groups {
		if spec.ExtentSize == 0 {
			spec.ExtentSize = 4 << 20
		}
		if spec.PV == "" {
			spec.PV = fmt.Sprintf("fAkePV-0000-1111-2222-3333-4444-%06d", i)
		}
		s.groups = append(s.groups, &group{GroupSpec: spec, seqno: 1})
	}
	return s
}

func (s *Store) group(name string) *group {
	for _, g := range s.groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// seenBy says whether the group's disks are connected to a host.
func (g *group) seenBy(h *Host) bool { return g.Host == "" || g.Host == h.name }

// uuid in LVM's form, another one each time.
func (s *Store) uuid() string {
	s.serial++
	return fmt.Sprintf("fAke%02d-0000-1111-2222-3333-4444-%06d", s.serial%100, s.serial)
}

// shared says whether lvmlockd serves the group.
func (g *group) shared() bool { return g.LockType == LockDLM || g.LockType == LockSanlock }

func (g *group) find(name string) *volume {
	for _, v := range g.volumes {
		if v.name == name {
			return v
		}
	}
	return nil
}

func (g *group) free() int64 {
	free := g.Extents
	for _, v := range g.volumes {
		free -= v.extents
	}
	return free
}

// inExtents is a size in whole extents.
func (g *group) inExtents(size int64) int64 { return lvm.RoundUp(size, g.ExtentSize) / g.ExtentSize }

func (g *group) remove(v *volume) {
	g.volumes = slices.DeleteFunc(g.volumes, func(other *volume) bool { return other == v })
}

// at is the volume on a host.
func (v *volume) at(h *Host) *presence {
	if v.on[h] == nil {
		v.on[h] = &presence{}
	}
	return v.on[h]
}

// base is the volume that is activated and locked: of a snapshot its origin.
func (v *volume) base() *volume {
	if v.origin != nil {
		return v.origin
	}
	return v
}

// snapshots are those of a volume.
func (g *group) snapshots(v *volume) []*volume {
	var found []*volume
	for _, other := range g.volumes {
		if other.origin == v {
			found = append(found, other)
		}
	}
	return found
}

// Overflow makes a snapshot invalid, as a full one becomes.
func (s *Store) Overflow(vg, lv string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.must(vg, lv).invalid = true
}

// heldElsewhere is the strongest lock that another host has.
func (v *volume) heldElsewhere(h *Host) lvm.Mode {
	strongest := lvm.Off
	for other, p := range v.on {
		if other != h && p.lock != lvm.Off && strongest != lvm.Exclusive {
			strongest = p.lock
		}
	}
	return strongest
}

// SetTags puts tags on a volume behind the suite's back, as an administrator would.
func (s *Store) SetTags(vg, lv string, tags ...string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.must(vg, lv).tags = tags
}

// Extents tells how many extents a volume has; 0 without it.
func (s *Store) Extents(vg, lv string) int64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if g := s.group(vg); g != nil && g.find(lv) != nil {
		return g.find(lv).extents
	}
	return 0
}

// Names lists a group's volumes, in the order of their creation.
func (s *Store) Names(vg string) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var names []string
	for _, v := range s.group(vg).volumes {
		names = append(names, v.name)
	}
	return names
}

// must finds a volume that a test says is there; a test that is wrong shall stop.
func (s *Store) must(vg, lv string) *volume {
	g := s.group(vg)
	if g == nil || g.find(lv) == nil {
		panic("lvmfake: no volume " + strings.Join([]string{vg, lv}, "/"))
	}
	return g.find(lv)
}
