package opennebula

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Call is one call of the transfer manager by oned, its arguments typed and checked.
// What a verb does not have is None, zero or empty.
type Call struct {
	Verb string

	// Source and Dest are the two ends where a verb has two; one that acts on a
	// single disk or directory has it in Dest. An image's end (Source of clone and
	// ln, Dest of mvds and cpds) may be a volume's name instead of a path, or empty
	// for a URL; SourceRaw and DestRaw are the arguments as they came.
	Source, Dest       Location
	SourceRaw, DestRaw string

	// Home is the VM's end taken apart, and Host where it is: a hint only for delete,
	// empty for the verbs of migration, which have From and To. Of mv it is the
	// destination; SourceHome is the other end.
	Home       HomePath
	Host       string
	SourceHome HomePath

	VM        int
	Datastore int // owner of the disk: the image's datastore, or the system datastore
	Disk      int // DISK_ID; None for a directory, a kernel, an initrd
	SizeMiB   int64
	Format    string   // mkimage: not the file system, see Disk.FS
	Snapshot  int      // None: the disk itself
	Files     []string // context: paths or URLs, the first is context.sh

	From, To string // hosts of a migration, see Orient

	// VMDocument is the VM's document where it came as an argument (up to 5.8); see
	// ReadsVMDocument for the others.
	VMDocument []byte
	// CallerTM is set when another system datastore's driver passes the verb on:
	// then the verb must not be passed on any further.
	CallerTM string

	Disks     []int  // of a backup
	DeployID  string // of a backup
	JobID     string // of a backup since 6.8, "" for none
	Image     int    // of restore
	Increment int    // of restore
	Arguments []string
}

// ParseTM reads the arguments that oned gave a verb, in the form of any version.
func ParseTM(name string, argv []string) (Call, error) {
	v, err := findVerb(name)
	if err != nil {
		return Call{}, err
	}
	if !v.accepts(len(argv)) {
		return Call{}, fmt.Errorf("%w: %d given; usage: %s %s", ErrUsage, len(argv), v.name, v.args)
	}
	c := Call{Verb: name, VM: None, Datastore: None, Disk: None, Snapshot: None, Image: None, Increment: None,
		Home: HomePath{Disk: None}, SourceHome: HomePath{Disk: None}, Arguments: argv}
	if err := v.read(&c, argv); err != nil {
		return Call{}, fmt.Errorf("%s: %w; usage: %s %s", name, err, v.name, v.args)
	}
	return c, nil
}

// ReadsVMDocument says that the VM's document is on standard input (see ReadDocument). Other
// verbs must not read standard input: in old versions it is the stream of the
// commands that follow.
func (c Call) ReadsVMDocument() bool {
	switch c.Verb {
	case "premigrate", "postmigrate", "failmigrate":
		return c.VMDocument == nil
	}
	return strings.HasPrefix(c.Verb, "prebackup") || strings.HasPrefix(c.Verb, "postbackup")
}

// Orient puts the hosts of a migration in order. 3.8 gives the new host first, all
// others the old one. Neither 3.8 nor 4.0 has a version file, so the document
// decides: its last history record is the stay that the migration begins.
func (c Call) Orient(vm *VM, v Version) Call {
	if v.AtLeast(4, 4, 0) || vm == nil {
		return c
	}
	if last := vm.Last(); last != nil && last.Hostname == c.From && last.Hostname != c.To {
		c.From, c.To = c.To, c.From
	}
	return c
}

// disk reads HOST:HOME/disk.N.
func (c *Call) disk(text string) (Location, error) {
	return c.home(text, func(h HomePath) bool { return h.Disk >= 0 }, "a disk (disk.N)")
}

// directory reads HOST:HOME.
func (c *Call) directory(text string) (Location, error) {
	return c.home(text, HomePath.IsHome, "a VM's directory")
}

// diskOrDirectory reads either.
func (c *Call) diskOrDirectory(text string) (Location, error) {
	return c.home(text, func(h HomePath) bool { return h.Disk >= 0 || h.IsHome() }, "a disk or a VM's directory")
}

func (c *Call) home(text string, fits func(HomePath) bool, what string) (Location, error) {
	location, err := ParseLocation(text)
	if err != nil {
		return Location{}, err
	}
	if c.Home, err = ParseDiskPath(location.Path); err != nil {
		return Location{}, err
	}
	if !fits(c.Home) {
		return Location{}, fmt.Errorf("%w: %q is not %s", ErrUsage, text, what)
	}
	c.Host, c.Disk = location.Host, c.Home.Disk
	return location, nil
}

// owner reads the two arguments most verbs end with, and makes sure that the path
// before them is of the same VM.
func (c *Call) owner(vm, datastore string) (err error) {
	if c.VM, err = argID("VM", vm); err != nil {
		return err
	}
	if c.Datastore, err = argID("datastore", datastore); err != nil {
		return err
	}
	return c.sameVM()
}

func (c *Call) sameVM() error {
	if c.Home.VM != c.VM {
		return fmt.Errorf("%w: %s is of VM %d, but the VM's id is given as %d", ErrUsage, c.Home, c.Home.VM, c.VM)
	}
	return nil
}

func argID(what, text string) (int, error) {
	id, err := ParseID(text)
	if err != nil {
		return None, fmt.Errorf("%w: %s %w", ErrUsage, what, err)
	}
	return id, nil
}

// argIDOrNone also takes -1.
func argIDOrNone(what, text string) (int, error) {
	if text == "-1" {
		return None, nil
	}
	return argID(what, text)
}

func argSize(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > maxMiB || strconv.FormatInt(n, 10) != text {
		return 0, fmt.Errorf("%w: %q is not a size in MiB", ErrUsage, text)
	}
	return n, nil
}

// vmDocument decodes a VM's document in base64; nil when the argument is none.
func vmDocument(text string) []byte {
	document, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(document), []byte("<VM")) {
		return nil
	}
	return document
}
