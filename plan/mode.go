package plan

import (
	"fmt"
	"strings"

	"one-clvm/opennebula"
	"one-clvm/tarmode"
)

// RecordedMode is what an image is by its record: MODE in its template; else a file system
// that it names makes it a tar; "" when the record says neither.
func RecordedMode(image *opennebula.Image) (tarmode.Mode, error) {
	if text := image.Template["MODE"]; text != "" {
		mode, err := tarmode.ParseMode(text)
		if err != nil {
			return "", fmt.Errorf("image %d: %w", image.ID, err)
		}
		return mode, nil
	}
	if image.FSType != "" && !image.SaveAs() {
		return tarmode.TGZ, nil
	}
	return "", nil
}

// RecordedFormat is the format of an image's file by its record, in lower case: "qcow2",
// "raw", or "" when the record names neither.
func RecordedFormat(image *opennebula.Image) string {
	for _, format := range []string{image.Format, image.Template["FORMAT"], image.Template["DRIVER"]} {
		if format = strings.ToLower(format); format == "qcow2" || format == "raw" {
			return format
		}
	}
	return ""
}
