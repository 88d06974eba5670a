package opennebula

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
)

// Version of OpenNebula. The zero Version is "up to 4.2", which have no version file.
type Version struct{ Major, Minor, Patch int }

var versionText = lazyregexp.New(`^([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:\.[0-9]+)*(?:[~+-][0-9A-Za-z.~+-]*)?$`)

// ParseVersion reads 7.4.0, 6.8 or 5.12.0.4 (only three numbers count).
func ParseVersion(text string) (Version, error) {
	match := versionText.FindStringSubmatch(strings.TrimSpace(text))
	if match == nil {
		return Version{}, fmt.Errorf("%q is not a version of OpenNebula", shorten(text, 40))
	}
	var numbers [3]int
	for i := range numbers {
		numbers[i], _ = strconv.Atoi(match[i+1]) // digits only, or empty: 0
	}
	return Version{numbers[0], numbers[1], numbers[2]}, nil
}

// DetectVersion reads the version file of the remotes: RemotesDir() on the front-end,
// /var/tmp/one on a host. No file is an answer: the zero Version.
func DetectVersion(remotes string) (Version, error) {
	file := filepath.Join(remotes, "VERSION")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Version{}, nil
	}
	if err != nil {
		return Version{}, fmt.Errorf("version of OpenNebula: %w", err)
	}
	v, err := ParseVersion(string(text))
	if err != nil {
		return Version{}, fmt.Errorf("%s: %w", file, err)
	}
	return v, nil
}

// RemotesDir is where the front-end keeps the drivers' scripts.
func RemotesDir() string {
	if location := os.Getenv("ONE_LOCATION"); location != "" {
		return filepath.Join(location, "var/remotes")
	}
	return "/var/lib/one/remotes"
}

// AtLeast compares the version.
func (v Version) AtLeast(major, minor, patch int) bool {
	if v.Major != major {
		return v.Major > major
	}
	if v.Minor != minor {
		return v.Minor > minor
	}
	return v.Patch >= patch
}

func (v Version) String() string {
	if v == (Version{}) {
		return "4.2 or older"
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}
