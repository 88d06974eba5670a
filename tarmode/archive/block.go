package archive

import (
	"bytes"
	"fmt"
	"math"
)

const blockSize = 512

// block is one 512-byte header: POSIX.1-2017 pax, "ustar Interchange Format"; the
// fields of GNU tar where it differs (GNU tar manual, "Basic Tar Format").
type block [blockSize]byte

func (b *block) name() []byte     { return b[0:100] }
func (b *block) mode() []byte     { return b[100:108] }
func (b *block) uid() []byte      { return b[108:116] }
func (b *block) gid() []byte      { return b[116:124] }
func (b *block) size() []byte     { return b[124:136] }
func (b *block) modTime() []byte  { return b[136:148] }
func (b *block) checksum() []byte { return b[148:156] }
func (b *block) linkname() []byte { return b[157:257] }
func (b *block) magic() []byte    { return b[257:265] } // with the version behind it
func (b *block) major() []byte    { return b[329:337] }
func (b *block) minor() []byte    { return b[337:345] }
func (b *block) prefix() []byte   { return b[345:500] }
func (b *block) starMark() []byte { return b[508:512] }

const (
	typeAt     = 156
	magicUstar = "ustar\x0000"
	magicGNU   = "ustar  \x00"
)

var zeroBlock block

// dialect is the family that a header's magic tells.
type dialect int

const (
	v7 dialect = iota
	ustar
	star // ustar with a shorter prefix
	gnu
)

func (b *block) dialect() dialect {
	switch {
	case string(b.magic()) == magicGNU:
		return gnu
	case string(b.magic()[:6]) != magicUstar[:6]:
		return v7
	case string(b.starMark()) == "tar\x00":
		return star
	}
	return ustar
}

// fullName puts the prefix of ustar before the name.
func (b *block) fullName() string {
	var prefix []byte
	switch b.dialect() {
	case ustar:
		prefix = text(b.prefix())
	case star:
		prefix = text(b.prefix()[:131])
	}
	name := text(b.name())
	if len(prefix) == 0 {
		return string(name)
	}
	return string(prefix) + "/" + string(name)
}

// text is a field up to its first NUL.
func text(field []byte) []byte {
	if end := bytes.IndexByte(field, 0); end >= 0 {
		return field[:end]
	}
	return field
}

// sums are the header's checksum with bytes as POSIX has them, unsigned, and as some
// old systems computed it, signed. The checksum field itself counts as spaces.
func (b *block) sums() (unsigned, signed int64) {
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

// verify compares the checksum.
func (b *block) verify() error {
	want, err := parseNumber(b.checksum())
	if err != nil {
		return fmt.Errorf("%w: header checksum: not a number", ErrCorrupt)
	}
	unsigned, signed := b.sums()
	if want != unsigned && want != signed {
		return fmt.Errorf("%w: header checksum is %o, computed %o", ErrCorrupt, want, unsigned)
	}
	return nil
}

// seal fills in the checksum.
func (b *block) seal() {
	unsigned, _ := b.sums()
	putOctal(b.checksum()[:7], unsigned)
	b.checksum()[7] = ' '
}

// parseNumber reads a numeric field: octal between spaces and NULs, or GNU's base-256,
// a two's complement big-endian number marked by the top bit.
func parseNumber(field []byte) (int64, error) {
	if field[0]&0x80 != 0 {
		return parseBinary(field)
	}
	return parseOctal(field)
}

func parseOctal(field []byte) (int64, error) {
	digits := bytes.Trim(field, " \x00")
	if end := bytes.IndexByte(digits, 0); end >= 0 {
		digits = bytes.TrimRight(digits[:end], " ")
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '7' || n > math.MaxInt64>>3 {
			return 0, fmt.Errorf("%w: bad octal number %q", ErrCorrupt, digits)
		}
		n = n<<3 | int64(c-'0')
	}
	return n, nil
}

func parseBinary(field []byte) (int64, error) {
	negative := field[0]&0x40 != 0
	var n uint64
	for i, c := range field {
		if i == 0 {
			c &= 0x7f
		}
		if negative {
			c = ^c
			if i == 0 {
				c &= 0x7f
			}
		}
		if n > math.MaxInt64>>8 {
			return 0, fmt.Errorf("%w: binary number % x is too large", ErrCorrupt, field)
		}
		n = n<<8 | uint64(c)
	}
	if negative {
		return -int64(n) - 1, nil
	}
	return int64(n), nil
}

// parseBounded is parseNumber for a field that has no business outside 0 to limit.
func parseBounded(what string, field []byte, limit int64) (int64, error) {
	n, err := parseNumber(field)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	if n < 0 || n > limit {
		return 0, fmt.Errorf("%w: %s %d is out of range", ErrCorrupt, what, n)
	}
	return n, nil
}

// putOctal writes n with leading zeros and a NUL at the end. The caller knows it fits.
func putOctal(field []byte, n int64) {
	last := len(field) - 1
	field[last] = 0
	for i := last - 1; i >= 0; i-- {
		field[i] = byte('0' + n&7)
		n >>= 3
	}
}
