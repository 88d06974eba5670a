package plan

import (
	"path"
	"strings"
)

// IsShared says whether the path of an image is that of a file that all nodes share
// (SHARED_DIRS), and the front-end perhaps does not.
func (d *Driver) IsShared(file string) bool {
	for _, dir := range d.Config.List("SHARED_DIRS") {
		if strings.HasPrefix(file, path.Clean(dir)+"/") {
			return true
		}
	}
	return false
}
