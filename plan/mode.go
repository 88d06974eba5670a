package plan

import (
	"fmt"

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
