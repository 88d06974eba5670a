package tm

import (
	"io"
	"os"
	"strings"

	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// imageForm is what an image file is.
type imageForm struct {
	mode   tarmode.Mode
	qcow2  bool // of mode RAW, it is a QCOW2 file
	detect bool // the record does not say, and DETECT_FORMAT lets the first bytes decide, as the original drivers did
}

func (f imageForm) String() string {
	if f.qcow2 {
		return "QCOW2"
	}
	return string(f.mode)
}

// formOf decides what an image is by its record: MODE in its template; else a FORMAT or
// DRIVER that names QCOW2; else a file system type in its template makes it a tar; else it is
// a raw disk, whatever it begins with.
func formOf(disk *opennebula.Disk, image *opennebula.Image, cfg *cxmrc.Config) (form imageForm, err error) {
	if image == nil {
		image = &opennebula.Image{ID: disk.ImageID, Format: disk.Format, Template: map[string]string{"DRIVER": disk.Driver}}
	}
	if form.mode, err = plan.RecordedMode(image); err != nil {
		return form, err
	}
	switch {
	case image.Template["MODE"] != "":
	case isQCOW2(disk, image):
		form.mode, form.qcow2 = tarmode.RAW, true
	case form.mode == "":
		form.mode, form.detect = tarmode.RAW, cfg.Bool("DETECT_FORMAT")
	}
	return form, nil
}

// isQCOW2 goes by the image's record, and by the disk's where that has no word.
func isQCOW2(disk *opennebula.Disk, image *opennebula.Image) bool {
	if format := plan.RecordedFormat(image); format != "" {
		return format == "qcow2"
	}
	return strings.EqualFold(disk.Driver, "qcow2") || strings.EqualFold(disk.Format, "qcow2")
}

// detectMode is the original drivers' rule for images without a word about them: a
// compressed tar is a tar, another compressed file a compressed disk, the rest raw.
func detectMode(image *os.File) (tarmode.Mode, error) {
	head := make([]byte, 16)
	n, err := image.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	var disk, tar tarmode.Mode
	switch tarmode.Sniff(head[:n]) {
	case tarmode.Gzip:
		disk, tar = tarmode.GZIP, tarmode.TGZ
	case tarmode.Zstd:
		disk, tar = tarmode.ZSTD, tarmode.TZST
	default:
		return tarmode.RAW, nil
	}
	if _, _, err := tarmode.ReadIdentity(image, tar); err != nil {
		return disk, nil //nolint:nilerr // not a tar, then
	}
	return tar, nil
}
