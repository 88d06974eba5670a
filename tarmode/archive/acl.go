package archive

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The kernel's binary ACL, as the value of system.posix_acl_access and
// system.posix_acl_default (include/uapi/linux/posix_acl_xattr.h): a version, then
// entries of tag, permissions and id, all little-endian, in the order of the tags.
const (
	aclVersion   = 2
	aclHeadSize  = 4
	aclEntrySize = 8
	aclNobody    = 0xffffffff // id of entries that need none
)

// The tags.
const (
	aclOwner  = 0x01
	aclUser   = 0x02
	aclOwning = 0x04 // the owning group
	aclGroup  = 0x08
	aclMask   = 0x10
	aclOther  = 0x20
)

type aclEntry struct {
	tag, permissions uint16
	id               uint32
}

func (e aclEntry) named() bool { return e.tag == aclUser || e.tag == aclGroup }

// parseACL turns the text form (acl(5), short or long, entries separated by commas or
// newlines, comments after #) into the kernel's. The optional fourth field of star is
// the numeric id. nil: the text has no entries.
func parseACL(text string) ([]byte, error) {
	var entries []aclEntry
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for word := range strings.SplitSeq(line, ",") {
			word = strings.TrimSpace(word)
			if word == "" {
				continue
			}
			entry, err := parseACLEntry(word)
			if err != nil {
				return nil, err
			}
			entries = append(entries, entry)
		}
	}
	if entries == nil {
		return nil, nil
	}
	return packACL(entries)
}

// parseACLEntry reads TAG:[QUALIFIER]:PERMISSIONS[:ID].
func parseACLEntry(word string) (aclEntry, error) {
	fields := strings.Split(word, ":")
	if fields[0] == "default" || fields[0] == "d" {
		fields = fields[1:]
	}
	if len(fields) == 2 { // Solaris has no qualifier in mask:rwx and other:rwx
		fields = []string{fields[0], "", fields[1]}
	}
	if len(fields) < 3 || len(fields) > 4 {
		return aclEntry{}, badACL(word)
	}
	tag := aclTag(fields[0], fields[1] != "")
	permissions, ok := parsePermissions(fields[2])
	if tag == 0 || !ok {
		return aclEntry{}, badACL(word)
	}
	entry := aclEntry{tag, permissions, aclNobody}
	if !entry.named() {
		return entry, nil
	}
	var err error
	entry.id, err = aclID(word, fields)
	return entry, err
}

func badACL(word string) error {
	return fmt.Errorf("%w: ACL entry %.80q", ErrCorrupt, word)
}

// aclTag is 0 for a word that is none.
func aclTag(word string, qualified bool) uint16 {
	switch {
	case (word == "user" || word == "u") && qualified:
		return aclUser
	case word == "user" || word == "u":
		return aclOwner
	case (word == "group" || word == "g") && qualified:
		return aclGroup
	case word == "group" || word == "g":
		return aclOwning
	case (word == "mask" || word == "m") && !qualified:
		return aclMask
	case (word == "other" || word == "o") && !qualified:
		return aclOther
	}
	return 0
}

func parsePermissions(word string) (permissions uint16, ok bool) {
	for _, c := range strings.TrimSpace(word) {
		switch c {
		case 'r':
			permissions |= 4
		case 'w':
			permissions |= 2
		case 'x':
			permissions |= 1
		case '-':
		default:
			return 0, false
		}
	}
	return permissions, word != ""
}

// aclID takes the fourth field, or the qualifier if it is a number. Names mean nothing
// here: they are those of the machine that was packed.
func aclID(word string, fields []string) (uint32, error) {
	digits := fields[len(fields)-1]
	if len(fields) == 3 {
		digits = fields[1]
	}
	id, err := strconv.ParseUint(digits, 10, 32)
	if err != nil && len(fields) == 3 {
		return 0, fmt.Errorf("%w: ACL entry %.80q names its user or group without a number: pack with tar --xattrs --xattrs-include='*', which keeps numeric ids",
			ErrUnsupported, word)
	}
	if err != nil || id > maxID {
		return 0, badACL(word)
	}
	return uint32(id), nil
}

// sortACL puts entries into the kernel's order.
func sortACL(entries []aclEntry) {
	slices.SortFunc(entries, func(a, b aclEntry) int {
		return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id))
	})
}

// packACL checks the entries as the kernel does (posix_acl_valid) and writes its format.
func packACL(entries []aclEntry) ([]byte, error) {
	sortACL(entries)
	if err := validateACL(entries); err != nil {
		return nil, err
	}
	out := make([]byte, 0, aclHeadSize+len(entries)*aclEntrySize)
	out = binary.LittleEndian.AppendUint32(out, aclVersion)
	for _, e := range entries {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.permissions)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out, nil
}

// validateACL wants sorted entries.
func validateACL(entries []aclEntry) error {
	var tags uint16
	for i, e := range entries {
		if i > 0 && e.tag == entries[i-1].tag && (!e.named() || e.id == entries[i-1].id) {
			return fmt.Errorf("%w: ACL has two entries for one subject", ErrCorrupt)
		}
		tags |= e.tag
	}
	if required := uint16(aclOwner | aclOwning | aclOther); tags&required != required {
		return fmt.Errorf("%w: ACL without an entry for owner, group or other", ErrCorrupt)
	}
	if tags&(aclUser|aclGroup) != 0 && tags&aclMask == 0 {
		return fmt.Errorf("%w: ACL with named entries and no mask", ErrCorrupt)
	}
	return nil
}

// unpackACL reads the kernel's format and checks it like packACL.
func unpackACL(value []byte) ([]aclEntry, error) {
	if len(value) < aclHeadSize || (len(value)-aclHeadSize)%aclEntrySize != 0 ||
		binary.LittleEndian.Uint32(value) != aclVersion {
		return nil, fmt.Errorf("%w: ACL % x is not in the kernel's format", ErrCorrupt, value[:min(len(value), 40)])
	}
	var entries []aclEntry
	for field := value[aclHeadSize:]; len(field) > 0; field = field[aclEntrySize:] {
		entry := aclEntry{
			tag:         binary.LittleEndian.Uint16(field),
			permissions: binary.LittleEndian.Uint16(field[2:]),
			id:          binary.LittleEndian.Uint32(field[4:]),
		}
		if aclWords[entry.tag] == "" || entry.permissions > 7 {
			return nil, fmt.Errorf("%w: ACL entry % x is not in the kernel's format", ErrCorrupt, field[:aclEntrySize])
		}
		entries = append(entries, entry)
	}
	sortACL(entries)
	return entries, validateACL(entries)
}

// aclMode is the mode that the kernel shows of a file with this ACL: the group's bits
// are the mask's. libarchive stores others.
func aclMode(mode uint32, value []byte) (uint32, error) {
	entries, err := unpackACL(value)
	if err != nil {
		return 0, err
	}
	for _, e := range entries { // the mask comes after the owning group
		switch bits := uint32(e.permissions); e.tag {
		case aclOwner:
			mode = mode&^0o700 | bits<<6
		case aclOwning, aclMask:
			mode = mode&^0o070 | bits<<3
		case aclOther:
			mode = mode&^0o007 | bits
		}
	}
	return mode, nil
}

// appendACL is the opposite of parseACL: the long text form with numeric ids, which
// GNU tar, star and libarchive read alike.
func appendACL(dst []byte, value []byte) ([]byte, error) {
	entries, err := unpackACL(value)
	if err != nil {
		return dst, err
	}
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, aclWords[e.tag]...)
		if e.named() {
			dst = strconv.AppendUint(dst, uint64(e.id), 10)
		}
		dst = appendPermissions(append(dst, ':'), e.permissions)
	}
	return dst, nil
}

var aclWords = map[uint16]string{
	aclOwner:  "user:",
	aclUser:   "user:",
	aclOwning: "group:",
	aclGroup:  "group:",
	aclMask:   "mask:",
	aclOther:  "other:",
}

func appendPermissions(dst []byte, permissions uint16) []byte {
	for i, letter := range []byte("rwx") {
		if permissions&(4>>i) == 0 {
			letter = '-'
		}
		dst = append(dst, letter)
	}
	return dst
}
