package lvm

import (
	"fmt"
	"path"
	"strings"
)

// ParseSource reads what oned has as the SOURCE of an image that is a volume of the group,
// without the host: its name, GROUP/NAME, its device, or, of gfs2clvm, GROUP.NAME (3.8) and
// a path DIRECTORY/images/HASH, which is no file (3.2, 3.4). ErrBadName for anything else, a
// snapshot and another group's volume among it.
func ParseSource(prefix, group, source string) (Name, error) {
	name, err := ParseName(prefix, source)
	for _, form := range []func() (volume string, ok bool){
		func() (string, bool) { return prefix + imageMark + path.Base(source), IsHashPath(source) },
		func() (string, bool) { return strings.CutPrefix(source, group+"/") },
		func() (string, bool) { return strings.CutPrefix(source, group+".") },
		func() (string, bool) { return strings.CutPrefix(source, "/dev/"+group+"/") },
		func() (string, bool) { return cutMapper(group, source) },
	} {
		if volume, ok := form(); ok && err != nil {
			name, err = ParseName(prefix, volume)
		}
	}
	switch {
	case err != nil:
		return Name{}, fmt.Errorf("source %q: %w", source, err)
	case !name.IsImage() || name.Snapshot != NoSnapshot:
		return Name{}, badName(source, "is a "+name.Kind.String()+", or a snapshot, and no image")
	}
	return name, nil
}

// cutMapper is the volume's name in the path of a device-mapper device.
func cutMapper(group, source string) (volume string, ok bool) {
	escaped, ok := strings.CutPrefix(source, mapperDir+mapperName(group)+"-")
	volume = strings.ReplaceAll(escaped, "--", "-")
	return volume, ok && mapperName(volume) == escaped
}

const mapperDir = "/dev/mapper/"

// mapperName is a name as a part of a device-mapper name.
func mapperName(name string) string { return strings.ReplaceAll(name, "-", "--") }

// IsHashPath says whether a path is of the form of the images of gfs2clvm 3.2 and 3.4. The
// images of OpenNebula's own file repository had the same: which of the two it is, is the
// datastore's word.
func IsHashPath(source string) bool {
	dir, hash := path.Split(source)
	return strings.HasPrefix(dir, "/") && path.Base(dir) == "images" && len(hash) == hashLength && isID(hash)
}
