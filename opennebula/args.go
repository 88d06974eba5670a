package opennebula

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"one-clvm/internal/lazyregexp"
)

// What oned's arguments may consist of. A host name never begins with a dash, which
// ssh would take for an option; a path has no blank, since oned splits at blanks, and
// nothing that a shell on the way could act on.
var (
	hostName   = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`) // and maxHost
	pathText   = lazyregexp.New(`^[A-Za-z0-9/._+@=,:~%-]+$`)
	volumeText = lazyregexp.New(`^[A-Za-z0-9_+.][A-Za-z0-9_+.-]*(/[A-Za-z0-9_+.][A-Za-z0-9_+.-]*)?$`)
	driverName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	formatName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$`)
	manySlash  = lazyregexp.New(`/{2,}`)
)

const (
	maxPath = 4096 // PATH_MAX
	maxHost = 253  // bytes; compared, as a counted repetition costs each start of each program
)

// Location is a path on a host, HOST:PATH in oned's arguments. For an image's SOURCE
// the path may also be the name of a volume (VOLUME or GROUP/VOLUME), and the host may
// be missing.
type Location struct {
	Host, Path string
}

func (l Location) String() string {
	if l.Host == "" {
		return l.Path
	}
	return l.Host + ":" + l.Path
}

// ParseLocation reads HOST:PATH with an absolute path. Doubled slashes, which oned
// puts into every path, are collapsed.
func ParseLocation(text string) (Location, error) {
	host, rest, found := strings.Cut(text, ":")
	if !found {
		return Location{}, fmt.Errorf("%w: %q is not HOST:PATH", ErrUsage, text)
	}
	if err := CheckHost(host); err != nil {
		return Location{}, err
	}
	p, err := cleanPath(rest)
	return Location{Host: host, Path: p}, err
}

// ParseSource reads an image's SOURCE as it comes in arguments: a path or a volume,
// with or without HOST:. A URL is nothing of that: the Location is empty then.
func ParseSource(text string) (Location, error) {
	if strings.Contains(text, "://") {
		return Location{}, checkURL(text)
	}
	host, rest, found := strings.Cut(text, ":")
	if !found {
		host, rest = "", text
	} else if err := CheckHost(host); err != nil {
		return Location{}, err
	}
	if strings.HasPrefix(rest, "/") {
		p, err := cleanPath(rest)
		return Location{Host: host, Path: p}, err
	}
	if !volumeText.MatchString(rest) || dotted(rest) {
		return Location{}, fmt.Errorf("%w: source %q is neither an absolute path nor a volume", ErrUsage, text)
	}
	return Location{Host: host, Path: rest}, nil
}

func checkURL(text string) error {
	for _, r := range text {
		if r <= ' ' || r >= 0x7f {
			return fmt.Errorf("%w: source %q has a character that is not allowed in a URL", ErrUsage, text)
		}
	}
	return nil
}

// CheckHost refuses what cannot be the name of a host. Names in arguments are checked
// already; those in documents (History, Host) are free text to oned.
func CheckHost(host string) error {
	if len(host) > maxHost || !hostName.MatchString(host) {
		return fmt.Errorf("%w: %q is not a host name", ErrUsage, host)
	}
	return nil
}

// cleanPath checks an absolute path and collapses its doubled slashes.
func cleanPath(text string) (string, error) {
	if !strings.HasPrefix(text, "/") {
		return "", fmt.Errorf("%w: path %q is not absolute", ErrUsage, text)
	}
	if len(text) > maxPath {
		return "", fmt.Errorf("%w: path of %d characters", ErrUsage, len(text))
	}
	if !pathText.MatchString(text) {
		return "", fmt.Errorf("%w: path %q has a character that is not allowed", ErrUsage, text)
	}
	if dotted(text) {
		return "", fmt.Errorf("%w: path %q has . or .. in it", ErrUsage, text)
	}
	return path.Clean(text), nil
}

// dotted: one of the path's elements is . or .. .
func dotted(p string) bool {
	for _, element := range strings.Split(p, "/") {
		if element == "." || element == ".." {
			return true
		}
	}
	return false
}

func collapseSlashes(p string) string { return manySlash.ReplaceAllString(p, "/") }

// HomePath is a path in the home of a VM taken apart:
// BASE/DATASTORE/VM, or one of the files that oned names there.
type HomePath struct {
	Base      string // of all datastores: /var/lib/one/datastores
	Datastore int    // system datastore
	VM        int
	Disk      int    // of disk.N, else None
	Name      string // "" for the home itself; disk.N, kernel, initrd, checkpoint, deployment.N
}

// Home is the directory itself.
func (h HomePath) Home() string {
	return path.Join(h.Base, strconv.Itoa(h.Datastore), strconv.Itoa(h.VM))
}

func (h HomePath) String() string { return path.Join(h.Home(), h.Name) }

// IsHome says that the path is the VM's directory, not a file in it.
func (h HomePath) IsHome() bool { return h.Name == "" }

var homeFile = lazyregexp.New(`^(disk\.[0-9]+|kernel|initrd|checkpoint|deployment\.[0-9]+)$`)

// ParseDiskPath takes the path of a VM's home or of a file in it apart.
func ParseDiskPath(text string) (HomePath, error) {
	p, err := cleanPath(text)
	if err != nil {
		return HomePath{}, err
	}
	h := HomePath{Disk: None}
	dir := p
	if name := path.Base(p); homeFile.MatchString(name) {
		h.Name, dir = name, path.Dir(p)
	}
	if err := h.readDirectory(dir); err != nil {
		return HomePath{}, fmt.Errorf("%w: %q is not BASE/DATASTORE/VM[/FILE]: %w", ErrUsage, text, err)
	}
	if number, isDisk := strings.CutPrefix(h.Name, "disk."); isDisk {
		if h.Disk, err = ParseID(number); err != nil {
			return HomePath{}, fmt.Errorf("%w: disk in %q: %w", ErrUsage, text, err)
		}
	}
	return h, nil
}

func (h *HomePath) readDirectory(dir string) (err error) {
	if h.VM, err = ParseID(path.Base(dir)); err != nil {
		return fmt.Errorf("VM: %w", err)
	}
	dir = path.Dir(dir)
	if h.Datastore, err = ParseID(path.Base(dir)); err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	if h.Base = path.Dir(dir); h.Base == "/" {
		return fmt.Errorf("there is no directory above datastore %d", h.Datastore)
	}
	return nil
}

// IsDriverName says whether a text can be the name of a driver's directory.
func IsDriverName(name string) bool {
	return driverName.MatchString(name) && name != "." && name != ".."
}
