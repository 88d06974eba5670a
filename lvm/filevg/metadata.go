package filevg

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"one-clvm/lvm"
)

// Sentinels for a group that cannot be read. Test with errors.Is.
var (
	// ErrDamaged: metadata.json, or the file pv beside it, is not what this package wrote.
	ErrDamaged = errors.New("volume group's metadata is damaged")
	// ErrVersion: metadata.json was written by a newer version of this package.
	ErrVersion = errors.New("volume group's metadata is of a newer version")
)

const (
	metadataFormat  = "one-clvm file volume group"
	metadataVersion = 1

	defaultExtentSize = 4 << 20 // LVM's default
	extentGranularity = 4096    // the largest logical block of a loop device
	maxSize           = int64(1) << 60
)

// metadata is the content of metadata.json, version 1. Sizes are in extents, the
// extent size in bytes; volumes are sorted by name.
type metadata struct {
	Format      string         `json:"format"`
	Version     int            `json:"version"`
	Seqno       int64          `json:"seqno"` // raised by every change
	ExtentSize  int64          `json:"extent_size"`
	ExtentCount int64          `json:"extent_count"`
	Tags        lvm.Tags       `json:"tags,omitempty"` // the group's own
	Volumes     []volumeRecord `json:"volumes"`
}

// volumeRecord is one volume: the extents Start to Start+Count of pv.
type volumeRecord struct {
	Name    string    `json:"name"`
	UUID    string    `json:"uuid"`
	Tags    lvm.Tags  `json:"tags"`
	Start   int64     `json:"start"`
	Count   int64     `json:"count"`
	Created time.Time `json:"created"`
	// Shared is the mode of an active volume. What is active is told by the loop
	// devices alone: without one, the mark means nothing.
	Shared bool `json:"shared,omitempty"`
	// Origin is the UUID of the volume that this one is a snapshot of.
	Origin string `json:"origin,omitempty"`
}

func newMetadata(extentSize, extentCount int64) metadata {
	return metadata{
		Format: metadataFormat, Version: metadataVersion,
		ExtentSize: extentSize, ExtentCount: extentCount, Volumes: []volumeRecord{},
	}
}

// parseMetadata reads metadata.json and checks all of it: ErrVersion, ErrDamaged.
func parseMetadata(r io.Reader) (metadata, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return metadata{}, err
	}
	if err := checkVersion(data); err != nil {
		return metadata{}, err
	}
	var m metadata
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return metadata{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := m.validate(); err != nil {
		return metadata{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// checkVersion comes before everything else: what a newer version wrote need not
// make sense to this one.
func checkVersion(data []byte) error {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if head.Format != metadataFormat {
		return fmt.Errorf("%w: format %q, want %q", ErrDamaged, head.Format, metadataFormat)
	}
	if head.Version > metadataVersion {
		return fmt.Errorf("%w: %d, this program reads up to %d; install the newer program", ErrVersion, head.Version, metadataVersion)
	}
	if head.Version < 1 {
		return fmt.Errorf("%w: version %d", ErrDamaged, head.Version)
	}
	return nil
}

// encode is the inverse of parseMetadata, indented for the people who look into it.
func (m metadata) encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

func (m metadata) validate() error {
	if m.Seqno < 0 {
		return fmt.Errorf("seqno %d", m.Seqno)
	}
	if err := validateGeometry(m.ExtentSize, m.ExtentCount); err != nil {
		return err
	}
	return errors.Join(m.Tags.Validate(), m.validateVolumes(), m.validateRanges(), m.validateOrigins())
}

func validateGeometry(extentSize, extentCount int64) error {
	if extentSize <= 0 || extentSize%extentGranularity != 0 {
		return fmt.Errorf("extent size %d is not a multiple of %d", extentSize, extentGranularity)
	}
	if extentCount <= 0 || extentCount > maxSize/extentSize {
		return fmt.Errorf("%d extents of %d bytes", extentCount, extentSize)
	}
	return nil
}

func (m metadata) validateVolumes() error {
	names, uuids := map[string]bool{}, map[string]bool{}
	for _, v := range m.Volumes {
		if err := errors.Join(lvm.ValidateName(v.Name), v.Tags.Validate()); err != nil {
			return fmt.Errorf("volume %q: %w", v.Name, err)
		}
		if names[v.Name] || uuids[v.UUID] || v.UUID == "" {
			return fmt.Errorf("volume %q: name and uuid %q are not its own", v.Name, v.UUID)
		}
		names[v.Name], uuids[v.UUID] = true, true
	}
	return nil
}

// validateRanges is what keeps two volumes off each other's bytes.
func (m metadata) validateRanges() error {
	var end int64
	for _, v := range m.byStart() {
		if v.Count <= 0 || v.Start < end || v.Count > m.ExtentCount-v.Start {
			return fmt.Errorf("volume %q: %d extents from %d overlap another volume or the end", v.Name, v.Count, v.Start)
		}
		end = v.Start + v.Count
	}
	return nil
}

// byStart is the volumes in the order of their extents.
func (m metadata) byStart() []volumeRecord {
	volumes := slices.Clone(m.Volumes)
	slices.SortFunc(volumes, func(a, b volumeRecord) int { return cmp.Compare(a.Start, b.Start) })
	return volumes
}

// find is the volume of that name, nil if there is none. The pointer is into m.
func (m *metadata) find(name string) *volumeRecord {
	for i := range m.Volumes {
		if m.Volumes[i].Name == name {
			return &m.Volumes[i]
		}
	}
	return nil
}

func (m *metadata) add(v volumeRecord) {
	m.Volumes = append(m.Volumes, v)
	m.sort()
}

func (m *metadata) remove(name string) {
	m.Volumes = slices.DeleteFunc(m.Volumes, func(v volumeRecord) bool { return v.Name == name })
}

func (m *metadata) sort() {
	slices.SortFunc(m.Volumes, func(a, b volumeRecord) int { return cmp.Compare(a.Name, b.Name) })
}

// clone is a copy that can be changed without changing m.
func (m metadata) clone() metadata {
	m.Volumes = slices.Clone(m.Volumes)
	return m
}

// bytes is where the volume lies in pv.
func (m metadata) bytes(v volumeRecord) byteRange {
	return byteRange{Offset: v.Start * m.ExtentSize, Length: v.Count * m.ExtentSize}
}

// extents rounds a size up to whole extents; ErrBadSize unless it is positive.
func (m metadata) extents(size int64) (int64, error) {
	if size <= 0 {
		return 0, fmt.Errorf("%w: %d bytes", lvm.ErrBadSize, size)
	}
	if size > math.MaxInt64-m.ExtentSize {
		return size / m.ExtentSize, nil // far beyond any group: no need to round
	}
	return (size + m.ExtentSize - 1) / m.ExtentSize, nil
}

const uuidAlphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// newUUID makes one in LVM's form: 32 letters and digits in groups of 6-4-4-4-4-4-6.
func newUUID() string {
	var text []byte
	for i, length := range []int{6, 4, 4, 4, 4, 4, 6} {
		if i > 0 {
			text = append(text, '-')
		}
		for range length {
			text = append(text, uuidAlphabet[randomBelow(len(uuidAlphabet))])
		}
	}
	return string(text)
}

// randomBelow draws evenly from 0 to n-1, n <= 256.
func randomBelow(n int) int {
	for {
		var b [1]byte
		_, _ = rand.Read(b[:]) // never fails
		if int(b[0]) < 256-256%n {
			return int(b[0]) % n
		}
	}
}
