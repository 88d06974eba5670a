package lvm

import (
	"fmt"
	"strconv"
	"strings"
)

// DefaultPrefix begins the name of every volume of the suite unless the
// configuration says otherwise.
const DefaultPrefix = "lv-one"

// Kind is what a volume is for, as its name tells.
type Kind int

// The kinds of volumes, each with its form of name.
const (
	KindDisk       Kind = iota + 1 // PREFIX-VM-DISK, a snapshot of it PREFIX-VM-DISK_sN
	KindImage                      // PREFIXimg-IMAGE, a snapshot of it PREFIXimg-IMAGE_sN
	KindQuarantine                 // PREFIXdel-ID
	// Those of gfs2clvm, the suite's forerunner, which are read and never made.
	KindHashImage // PREFIXimg-HASH: an image of its versions 3.2 and 3.4
	KindOldImage  // PREFIX-IMAGE: an image of version 3.8
	KindOldClone  // PREFIX-IMAGE-VM-DISK: a VM's snapshot of that
)

func (k Kind) String() string {
	switch k {
	case KindDisk:
		return "disk"
	case KindImage:
		return "image"
	case KindQuarantine:
		return "quarantine"
	case KindHashImage, KindOldImage:
		return "image of gfs2clvm"
	case KindOldClone:
		return "disk of gfs2clvm"
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

// NoSnapshot is Name.Snapshot of a volume that is not a snapshot.
const NoSnapshot = -1

// Name is a volume's name taken apart. Only the fields of its Kind count: VM and Disk
// of a disk, Image of an image, ID of a volume in quarantine, Hash of a KindHashImage.
type Name struct {
	Prefix   string
	Kind     Kind
	VM, Disk int
	Image    int
	Snapshot int    // NoSnapshot (-1) for the volume itself
	ID       string // 8 to 32 of 0-9 a-f
	Hash     string // 32 of 0-9 a-f
}

// IsImage says that the name is an image's, whoever made it.
func (n Name) IsImage() bool {
	return n.Kind == KindImage || n.Kind == KindHashImage || n.Kind == KindOldImage
}

// IsOld says that gfs2clvm has made the volume, whose tags it had not.
func (n Name) IsOld() bool {
	return n.Kind == KindHashImage || n.Kind == KindOldImage || n.Kind == KindOldClone
}

// DiskName names disk DISK_ID of a VM.
func DiskName(prefix string, vm, disk int) Name {
	return Name{Prefix: prefix, Kind: KindDisk, VM: vm, Disk: disk, Snapshot: NoSnapshot}
}

// ImageName names the volume of an image.
func ImageName(prefix string, image int) Name {
	return Name{Prefix: prefix, Kind: KindImage, Image: image, Snapshot: NoSnapshot}
}

// QuarantineName names a deleted volume that waits to be wiped; id is 8 to 32 of 0-9 a-f.
func QuarantineName(prefix, id string) Name {
	return Name{Prefix: prefix, Kind: KindQuarantine, ID: id, Snapshot: NoSnapshot}
}

// WithSnapshot names snapshot n of the disk or image. A volume in quarantine has no
// snapshots, nor has what is one itself: their names stay.
func (n Name) WithSnapshot(number int) Name {
	if n.Kind != KindQuarantine && n.Kind != KindOldClone {
		n.Snapshot = number
	}
	return n
}

// SnapshotName is the name of snapshot number of the disk or image of that name.
func SnapshotName(name string, number int) string {
	return name + snapshotMark + strconv.Itoa(number)
}

// String is the volume's name. ParseName reads it back, or refuses it when a field is
// outside the grammar (a negative number, an ID that is not hexadecimal).
func (n Name) String() string {
	var s string
	switch n.Kind {
	case KindDisk:
		s = n.Prefix + "-" + strconv.Itoa(n.VM) + "-" + strconv.Itoa(n.Disk)
	case KindImage:
		s = n.Prefix + imageMark + strconv.Itoa(n.Image)
	case KindQuarantine:
		return n.Prefix + quarantineMark + n.ID
	case KindHashImage:
		s = n.Prefix + imageMark + n.Hash
	case KindOldImage:
		s = n.Prefix + "-" + strconv.Itoa(n.Image)
	case KindOldClone:
		return n.Prefix + "-" + strconv.Itoa(n.Image) + "-" + strconv.Itoa(n.VM) + "-" + strconv.Itoa(n.Disk)
	default:
		return n.Kind.String()
	}
	if n.Snapshot != NoSnapshot {
		return SnapshotName(s, n.Snapshot)
	}
	return s
}

const (
	imageMark      = "img-"
	quarantineMark = "del-"
	snapshotMark   = "_s"
)

// ParseName takes a volume's name apart. The whole name must match: lv-one-1-0 is not
// found in lv-one-10-0 or lv-one-1-0.bak. ErrBadName for everything that neither the suite
// with this prefix would have made nor gfs2clvm (Name.IsOld).
func ParseName(prefix, s string) (Name, error) {
	if err := ValidatePrefix(prefix); err != nil {
		return Name{}, err
	}
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return Name{}, badName(s, "does not begin with "+prefix)
	}
	if id, found := strings.CutPrefix(rest, quarantineMark); found {
		if !isID(id) {
			return Name{}, badName(s, "wants 8 to 32 of 0-9 a-f after "+prefix+quarantineMark)
		}
		return QuarantineName(prefix, id), nil
	}
	base, mark, isSnapshot := strings.Cut(rest, snapshotMark)
	name, ok := parseBase(prefix, base)
	if !ok {
		return Name{}, badName(s, fmt.Sprintf("is neither %s-VM-DISK nor %simg-IMAGE", prefix, prefix))
	}
	if !isSnapshot {
		return name, nil
	}
	if name.Kind == KindOldClone {
		return Name{}, badName(s, "would be a snapshot of one")
	}
	number, ok := parseNumber(mark)
	if !ok {
		return Name{}, badName(s, "wants a number after "+snapshotMark)
	}
	return name.WithSnapshot(number), nil
}

// parseBase reads img-IMAGE, img-HASH, -VM-DISK, and gfs2clvm's -IMAGE and -IMAGE-VM-DISK: how
// many numbers there are tells them apart.
func parseBase(prefix, base string) (Name, bool) {
	if image, found := strings.CutPrefix(base, imageMark); found {
		if len(image) == hashLength && isID(image) {
			return Name{Prefix: prefix, Kind: KindHashImage, Hash: image, Snapshot: NoSnapshot}, true
		}
		number, ok := parseNumber(image)
		return ImageName(prefix, number), ok
	}
	rest, found := strings.CutPrefix(base, "-")
	if !found {
		return Name{}, false
	}
	var numbers []int
	for text := range strings.SplitSeq(rest, "-") {
		number, ok := parseNumber(text)
		if !ok {
			return Name{}, false
		}
		numbers = append(numbers, number)
	}
	switch len(numbers) {
	case 1:
		return Name{Prefix: prefix, Kind: KindOldImage, Image: numbers[0], Snapshot: NoSnapshot}, true
	case 2:
		return DiskName(prefix, numbers[0], numbers[1]), true
	case 3:
		return Name{Prefix: prefix, Kind: KindOldClone, Image: numbers[0], VM: numbers[1], Disk: numbers[2], Snapshot: NoSnapshot}, true
	}
	return Name{}, false
}

// parseNumber reads an OpenNebula id: a 32-bit number, no sign, no leading zero, so
// that every id has one spelling.
func parseNumber(s string) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil && n >= 0 && s == strconv.FormatInt(n, 10)
}

func isID(s string) bool {
	return len(s) >= 8 && len(s) <= 32 && strings.Trim(s, "0123456789abcdef") == ""
}

const (
	hashLength      = 32 // MD5 in hexadecimal
	maxPrefixLength = 32
	maxNameLength   = 127 // NAME_LEN of LVM2 without the terminating zero
)

// What LVM2 keeps for itself (apply_lvname_restrictions in lib/metadata): beginnings,
// and parts anywhere in a name.
var (
	reservedPrefixes = []string{"snapshot", "pvmove", "lvmlock"}
	reservedParts    = []string{
		"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog",
		"_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_imeta", "_iorig",
		"_pmspare", "lvmthinpool",
	}
)

// ValidatePrefix checks the configured prefix: a letter, then up to 31 of
// A-Z a-z 0-9 _ . + -, the last one a letter or a digit, and nothing that LVM reserves.
// ErrBadName.
func ValidatePrefix(prefix string) error {
	if prefix == "" || len(prefix) > maxPrefixLength || !isLetter(prefix[0]) {
		return badName(prefix, fmt.Sprintf("is no prefix: it must begin with a letter and have 1 to %d characters", maxPrefixLength))
	}
	if last := prefix[len(prefix)-1]; !isLetter(last) && !isDigit(last) {
		return badName(prefix, "is no prefix: it must end with a letter or a digit")
	}
	return ValidateName(prefix)
}

// ValidateName checks a logical volume's name against LVM's own rules, whoever made
// it. ErrBadName.
func ValidateName(name string) error {
	if err := validateCharacters(name); err != nil {
		return err
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return badName(name, "begins with "+prefix+", which LVM reserves")
		}
	}
	for _, part := range reservedParts {
		if strings.Contains(name, part) {
			return badName(name, "contains "+part+", which LVM reserves")
		}
	}
	return nil
}

// ValidateGroupName checks a volume group's name against LVM's rules. ErrBadName.
func ValidateGroupName(group string) error { return validateCharacters(group) }

// ValidateNames checks both names, and that together they still fit into a
// device-mapper name, in which every hyphen of theirs is doubled. ErrBadName.
func ValidateNames(group, name string) error {
	if err := ValidateGroupName(group); err != nil {
		return err
	}
	if err := ValidateName(name); err != nil {
		return err
	}
	length := len(group) + len(name) + len("-") + strings.Count(group+name, "-")
	if length > maxNameLength {
		return badName(group+"/"+name, fmt.Sprintf("has a device-mapper name of %d characters, %d are allowed", length, maxNameLength))
	}
	return nil
}

func validateCharacters(name string) error {
	switch {
	case name == "":
		return badName(name, "is empty")
	case len(name) > maxNameLength:
		return badName(name, fmt.Sprintf("has %d characters, %d are allowed", len(name), maxNameLength))
	case name == "." || name == ".." || name[0] == '-':
		return badName(name, `may not begin with a hyphen, nor be "." or ".."`)
	}
	for _, r := range name {
		if r > 0x7f || !isLetter(byte(r)) && !isDigit(byte(r)) && !strings.ContainsRune("+_.-", r) {
			return badName(name, fmt.Sprintf("has %q; allowed are A-Z a-z 0-9 + _ . -", r))
		}
	}
	return nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func badName(name, why string) error { return fmt.Errorf("%w: %q %s", ErrBadName, name, why) }
