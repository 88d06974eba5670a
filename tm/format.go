package tm

import (
	"fmt"
	"io"
	"os"
	"strings"

	"one-clvm/cxmrc"
	"one-clvm/opennebula"
	"one-clvm/plan"
	"one-clvm/tarmode"
)

// imageMode decides what an image is by its record: MODE in its template; else a
// FORMAT that names something else than a raw disk is refused; else a file system
// type in its template makes it a tar; else it is a raw disk, whatever it begins with.
// detect is true where the record does not say and DETECT_FORMAT lets the first bytes
// decide, as the original drivers did.
func imageMode(disk *opennebula.Disk, image *opennebula.Image, cfg *cxmrc.Config) (mode tarmode.Mode, detect bool, err error) {
	if image != nil {
		if mode, err = plan.RecordedMode(image); err != nil {
			return "", false, err
		}
	}
	for _, format := range []string{disk.Driver, disk.Format} {
		if strings.EqualFold(format, "qcow2") && (image == nil || image.Template["MODE"] == "") {
			return "", false, fmt.Errorf("image %d is a QCOW2 file: %w: convert it with qemu-img to raw", disk.ImageID, ErrNotYet)
		}
	}
	if mode != "" {
		return mode, false, nil
	}
	return tarmode.RAW, cfg.Bool("DETECT_FORMAT"), nil
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
