package lvm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The tags of this suite. A volume's life is in its tags: they move with the SAN and
// survive any crash.
const (
	// TagOurs is on every volume that the suite made.
	TagOurs = "one"
	// TagBuilding is on a volume whose content is not complete yet. It is set by the
	// command that creates the volume and dropped by the last step.
	TagBuilding = "building"
	// TagParked is on the disks of a stopped or undeployed VM.
	TagParked = "parked"
	// TagQuarantine is on a volume that was deleted and is not yet known to be wiped.
	TagQuarantine = "quarantine"
	// TagFreeSpace is on a volume in quarantine that nobody deleted: it holds free space
	// of the group while that is wiped.
	TagFreeSpace = "free-space"
	// TagWipeFailed is on a volume in quarantine whose device could not be wiped.
	TagWipeFailed = "wipe-failed"
)

// TagClean is on a volume group all of whose free space is known to read as zeros. (LVM
// keeps groups' tags apart from volumes', but people use them: hence the longer name.)
const TagClean = "one-clvm-clean"

// Keys of the tags that have a value: KEY=VALUE.
const (
	TagVM     = "vm"    // VM id
	TagDisk   = "disk"  // DISK_ID within the VM
	TagDS     = "ds"    // id of the system datastore whose volume group this is
	TagImage  = "image" // image id, for a volume that is an image
	TagFSType = "fs"    // file system that the suite made on it
	TagOp     = "op"    // id of the operation that made it
	// TagMigrating is on a volume that may be shared for a live migration:
	// SOURCE:TARGET:UNIXTIME, the time until which it may.
	TagMigrating = "migrating"
	// TagSnapshot is the number of a snapshot, TagParent that of the snapshot that the disk
	// came from when it was taken.
	TagSnapshot = "snapshot"
	TagParent   = "parent"
	// TagClone is on a disk that is a snapshot of an image: the image's id.
	TagClone = "clone"
	TagWiper = "wiper" // host name of the node that took it into quarantine
	TagWiped = "wiped" // bytes from its beginning that are known to be wiped
)

// Tags is a set of LVM tags, in LVM's order (sorted).
type Tags []string

// NewTags makes a set.
func NewTags(tags ...string) Tags { return Tags(nil).With(tags...) }

// KeyTag makes KEY=VALUE of a number.
func KeyTag(key string, value int) string { return key + "=" + strconv.Itoa(value) }

// DiskTags are the tags that say whose disk a volume is.
func DiskTags(vm, disk, systemDS int) Tags {
	return NewTags(TagOurs, KeyTag(TagVM, vm), KeyTag(TagDisk, disk), KeyTag(TagDS, systemDS))
}

// Has says whether all of want are in the set.
func (t Tags) Has(want ...string) bool {
	for _, w := range want {
		if !slices.Contains(t, w) {
			return false
		}
	}
	return true
}

// Get finds the value of KEY=VALUE; "" if there is none.
func (t Tags) Get(key string) string {
	for _, tag := range t {
		if value, ok := strings.CutPrefix(tag, key+"="); ok {
			return value
		}
	}
	return ""
}

// With is a new set with add in it.
func (t Tags) With(add ...string) Tags {
	out := append(slices.Clone(t), add...)
	slices.Sort(out)
	return slices.Compact(out)
}

// Without is a new set with del removed.
func (t Tags) Without(del ...string) Tags {
	return slices.DeleteFunc(slices.Clone(t), func(tag string) bool { return slices.Contains(del, tag) })
}

// Validate checks every tag against what LVM allows: 1 to 1024 of
// A-Z a-z 0-9 _ + . - / = ! : & #, not starting with a hyphen. ErrBadTag.
func (t Tags) Validate() error {
	for _, tag := range t {
		if tag == "" || len(tag) > 1024 || tag[0] == '-' {
			return fmt.Errorf("%w: %q", ErrBadTag, tag)
		}
		for _, r := range tag {
			ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+.-/=!:&#", r)
			if !ok {
				return fmt.Errorf("%w: %q has %q", ErrBadTag, tag, r)
			}
		}
	}
	return nil
}
