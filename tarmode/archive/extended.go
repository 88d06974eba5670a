package archive

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
)

// maxID is the largest user or group id: (uid_t)-1 means "none" to the kernel.
const maxID = math.MaxUint32 - 1

// The extended attributes that have keys of their own in an archive.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	selinux    = "security.selinux"
)

// The keys of extended headers that hold them.
const (
	keyACLAccess  = "SCHILY.acl.access"
	keyACLDefault = "SCHILY.acl.default"
	keyACLNFS4    = "SCHILY.acl.ace"
	keySELinux    = "RHT.security.selinux"
	keyXattr      = "SCHILY.xattr."
	keyXattrBSD   = "LIBARCHIVE.xattr."
)

// extended is what headers before a member say about it: PAX records, and the long
// names of GNU tar. A nil field was not given.
type extended struct {
	given          bool // by a PAX header
	name, linkname *string
	size           *int64
	uid, gid       *int64
	major, minor   *int64
	modTime        *time.Time
	xattrs         map[string][]byte
	access, preset *string // texts of the ACLs: its own, and what a directory's files get
	sparse         sparseRecords
}

// record takes one PAX record. An empty value takes back what was said before.
func (x *extended) record(key string, value []byte) error {
	var err error
	switch key {
	case "path":
		err = setText(&x.name, value)
	case "linkpath":
		err = setText(&x.linkname, value)
	case "size":
		err = setNumber(&x.size, value, math.MaxInt64)
	case "SCHILY.devmajor":
		err = setNumber(&x.major, value, math.MaxUint32)
	case "SCHILY.devminor":
		err = setNumber(&x.minor, value, math.MaxUint32)
	default:
		err = x.attribute(key, value)
	}
	if err != nil {
		return fmt.Errorf("extended header: %s: %w", key, err)
	}
	return nil
}

// attribute takes the records that a global header can give, too.
func (x *extended) attribute(key string, value []byte) error {
	switch key {
	case "uid":
		return setNumber(&x.uid, value, maxID)
	case "gid":
		return setNumber(&x.gid, value, maxID)
	case "mtime":
		return setTime(&x.modTime, value)
	}
	switch {
	case strings.HasPrefix(key, "GNU.sparse."):
		return x.sparse.record(key, value)
	case strings.HasPrefix(key, "GNU.volume.") && key != "GNU.volume.label":
		return fmt.Errorf("%w: a part of a multi-volume archive: join the volumes", ErrUnsupported)
	}
	return x.xattr(key, value)
}

// xattr takes the records that become extended attributes.
func (x *extended) xattr(key string, value []byte) error {
	switch key {
	case keyACLAccess:
		return setText(&x.access, value)
	case keyACLDefault:
		return setText(&x.preset, value)
	case keyACLNFS4:
		return fmt.Errorf("%w: an NFSv4 ACL: pack with POSIX ACLs or without", ErrUnsupported)
	case keySELinux:
		x.setXattr(selinux, append(bytes.TrimRight(value, "\x00"), 0)) // as the kernel keeps it
	}
	if name, ok := strings.CutPrefix(key, keyXattr); ok {
		x.setXattr(xattrDecoder.Replace(name), value)
	}
	if name, ok := strings.CutPrefix(key, keyXattrBSD); ok {
		return x.setXattrBSD(name, value)
	}
	return nil
}

// xattrDecoder and xattrEncoder treat the characters of a name that a PAX key cannot
// have, as GNU tar does (src/xheader.c, xattr_encode_keyword).
var (
	xattrDecoder = strings.NewReplacer("%3D", "=", "%25", "%")
	xattrEncoder = strings.NewReplacer("=", "%3D", "%", "%25")
)

func (x *extended) setXattr(name string, value []byte) {
	if x.xattrs == nil {
		x.xattrs = make(map[string][]byte)
	}
	x.xattrs[name] = bytes.Clone(value)
	if x.xattrs[name] == nil {
		x.xattrs[name] = []byte{}
	}
}

// setXattrBSD takes libarchive's form: the name percent-encoded, the value in base64
// without padding. libarchive writes the same attribute as SCHILY.xattr, too.
func (x *extended) setXattrBSD(encoded string, value []byte) error {
	name, err := url.PathUnescape(encoded)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(string(value), "="))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if _, known := x.xattrs[name]; !known {
		x.setXattr(name, plain)
	}
	return nil
}

// resolveACLs turns the texts into attributes. GNU tar may store the kernel's form, too
// (--xattrs-include), and that one has numbers where the text has names.
func (x *extended) resolveACLs() error {
	if err := x.resolveACL(aclAccess, x.access); err != nil {
		return err
	}
	return x.resolveACL(aclDefault, x.preset)
}

func (x *extended) resolveACL(name string, text *string) error {
	if text == nil || x.xattrs[name] != nil {
		return nil
	}
	value, err := parseACL(*text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if value != nil {
		x.setXattr(name, value)
	}
	return nil
}

func setText(field **string, value []byte) error {
	if bytes.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("%w: NUL in %.40q", ErrCorrupt, value)
	}
	*field = nil
	if len(value) > 0 {
		s := string(value)
		*field = &s
	}
	return nil
}

func setNumber(field **int64, value []byte, limit int64) error {
	*field = nil
	if len(value) == 0 {
		return nil
	}
	n, err := parseDecimal(value)
	if err != nil {
		return err
	}
	if n > limit {
		return fmt.Errorf("%w: %d is out of range", ErrCorrupt, n)
	}
	*field = &n
	return nil
}

func setTime(field **time.Time, value []byte) error {
	*field = nil
	if len(value) == 0 {
		return nil
	}
	t, err := parseTime(value)
	*field = &t
	return err
}
