package plan

import (
	"fmt"

	"one-clvm/agent"
	"one-clvm/cxmrc"
	"one-clvm/lvm"
)

// ImageVolume is the image that a SOURCE without its host means, in the volume group of its
// datastore, whose configuration cfg is. record tells the image's id where the volume's name
// does not: those of gfs2clvm 3.2 and 3.4 have a hash instead. lvm.ErrBadName for what is no
// image's volume.
func ImageVolume(cfg *cxmrc.Config, source string, record func() (int, error)) (*agent.Image, error) {
	group := cfg.String("VG_NAME")
	name, err := lvm.ParseSource(cfg.String("LV_PREFIX"), group, source)
	if err != nil {
		return nil, err
	}
	image := &agent.Image{Group: group, ID: name.Image}
	if name.IsOld() {
		image.Volume = name.String()
	}
	if name.Kind == lvm.KindHashImage {
		if image.ID, err = record(); err != nil {
			return nil, fmt.Errorf("which image %s is: %w", name, err)
		}
	}
	return image, nil
}
