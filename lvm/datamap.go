package lvm

import (
	"encoding/base64"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// TagData is the key of the tag that says which parts of an image's volume may hold data;
// the others read as zeros. The command that completes the image sets it, and the one that
// lets anybody write to the volume takes it away.
const TagData = "data"

const (
	minMapShift = 20   // 1 MiB
	maxMapShift = 40   // 1 TiB
	maxMapUnits = 5600 // so that the tag stays below LVM's 1024 characters
)

// DataMap says which parts of a volume may hold data, in units of a power of two: 1 MiB up
// to a volume of 5.4 GiB, 2 MiB up to twice that, and so on.
type DataMap struct {
	size  int64
	shift int // of the unit
	bits  []byte
}

// NewDataMap is the map of a volume of size bytes that reads as zeros.
func NewDataMap(size int64) *DataMap {
	m := &DataMap{size: size, shift: minMapShift}
	if units := (size - 1) >> minMapShift / maxMapUnits; size > 0 && units > 0 {
		m.shift += bits.Len64(uint64(units))
	}
	m.bits = make([]byte, (m.units()+7)/8)
	return m
}

func (m *DataMap) units() int64 { return (m.size + 1<<m.shift - 1) >> m.shift }

// Add says that there may be data in length bytes from off on.
func (m *DataMap) Add(off, length int64) {
	for unit := off >> m.shift; unit<<m.shift < off+length && unit < m.units(); unit++ {
		m.bits[unit/8] |= 1 << (unit % 8)
	}
}

// Tag is the map as a tag: data=SHIFT:BITS, the unit being 2^SHIFT bytes, the bits in
// base64, the lowest of the first byte for the first unit, zeros at the end left out.
func (m *DataMap) Tag() string {
	text := base64.RawStdEncoding.EncodeToString([]byte(strings.TrimRight(string(m.bits), "\x00")))
	return TagData + "=" + strconv.Itoa(m.shift) + ":" + text
}

// ParseDataMap reads the value of such a tag, of a volume of size bytes. ErrBadTag.
func ParseDataMap(value string, size int64) (*DataMap, error) {
	shift, text, _ := strings.Cut(value, ":")
	m := &DataMap{size: size}
	var err error
	if m.shift, err = strconv.Atoi(shift); err != nil || m.shift < minMapShift || m.shift > maxMapShift {
		return nil, fmt.Errorf("%w: unit of %s=%q", ErrBadTag, TagData, value)
	}
	found, err := base64.RawStdEncoding.DecodeString(text)
	m.bits = make([]byte, (m.units()+7)/8)
	if err != nil || len(found) > len(m.bits) {
		return nil, fmt.Errorf("%w: bits of %s=%q", ErrBadTag, TagData, value)
	}
	copy(m.bits, found)
	return m, nil
}

// Span is a part of a volume, in bytes.
type Span struct{ Off, Length int64 }

// Data are the parts that may hold data, in ascending order.
func (m *DataMap) Data() []Span { return m.spans(1) }

// Zeros are the other parts.
func (m *DataMap) Zeros() []Span { return m.spans(0) }

func (m *DataMap) spans(want byte) []Span {
	var out []Span
	for unit := range m.units() {
		if m.bits[unit/8]>>(unit%8)&1 != want {
			continue
		}
		off := unit << m.shift
		length := min(1<<m.shift, m.size-off)
		if last := len(out) - 1; last >= 0 && out[last].Off+out[last].Length == off {
			out[last].Length += length
			continue
		}
		out = append(out, Span{off, length})
	}
	return out
}
