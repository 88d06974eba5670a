// Package qcow2 looks at disks in QEMU's format QCOW2, and has qemu-img make raw ones of
// them. Such a file is hostile input: what it may name (a backing file, an external data
// file) would be read with the rights of whoever converts it.
package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sentinels. Test with errors.Is.
var (
	// ErrFormat: the file is no QCOW2 disk of version 2 or 3.
	ErrFormat = errors.New("not a QCOW2 disk")
	// ErrRefused: it is one, but with something that is not followed: another file that it
	// names, or encryption.
	ErrRefused = errors.New("QCOW2 disk is refused")
)

// Magic are the first bytes of a QCOW2 file.
const Magic = "QFI\xfb"

// headerSize is that of version 2, featuresEnd where version 3 has named what a reader
// must know (docs/interop/qcow2.txt of QEMU).
const (
	headerSize  = 72
	featuresEnd = 80
)

// externalData is the incompatible feature of a disk whose content is in another file.
const externalData = 1 << 2

// Header is what a file's header says.
type Header struct {
	Version      uint32
	Size         int64 // of the disk, bytes
	Backing      bool  // the rest of the content is in another file
	Encrypted    bool
	ExternalData bool // all of the content is in another file
}

// ReadHeader reads the header. ErrFormat.
func ReadHeader(file io.ReaderAt) (Header, error) {
	var raw [featuresEnd]byte
	n, err := file.ReadAt(raw[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	if n < headerSize || string(raw[:4]) != Magic {
		return Header{}, fmt.Errorf("%w: it begins with % x", ErrFormat, raw[:min(n, 4)])
	}
	size := binary.BigEndian.Uint64(raw[24:])
	h := Header{
		Version:   binary.BigEndian.Uint32(raw[4:]),
		Size:      int64(size),
		Backing:   binary.BigEndian.Uint64(raw[8:]) != 0 || binary.BigEndian.Uint32(raw[16:]) != 0,
		Encrypted: binary.BigEndian.Uint32(raw[32:]) != 0,
	}
	switch {
	case h.Version != 2 && h.Version != 3:
		return Header{}, fmt.Errorf("%w of version 2 or 3 but of version %d", ErrFormat, h.Version)
	case h.Version == 3 && n < featuresEnd:
		return Header{}, fmt.Errorf("%w: it ends within its header", ErrFormat)
	case h.Size <= 0:
		return Header{}, fmt.Errorf("%w: its size is %d bytes", ErrFormat, size)
	}
	h.ExternalData = h.Version == 3 && binary.BigEndian.Uint64(raw[72:])&externalData != 0
	return h, nil
}

// Check refuses what must not be followed. ErrRefused.
func (h Header) Check() error {
	switch {
	case h.Backing:
		return fmt.Errorf("%w: it has a backing file: make it a disk of its own (qemu-img convert -O qcow2)", ErrRefused)
	case h.ExternalData:
		return fmt.Errorf("%w: its data is in another file: make it a disk of its own (qemu-img convert -O qcow2)", ErrRefused)
	case h.Encrypted:
		return fmt.Errorf("%w: it is encrypted", ErrRefused)
	}
	return nil
}
