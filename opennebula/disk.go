package opennebula

import (
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// Disk is a DISK of a VM.
type Disk struct {
	ID           int
	ImageID      int    // None for a volatile disk
	Source       string // of the image
	Size         int64  // MiB; 0 unknown: 3.8 has no SIZE on disks of images
	OriginalSize int64  // MiB, the image's; 0 unknown: since 4.14
	Type         string // upper case: FILE, BLOCK, CDROM, …; volatile FS, SWAP
	Format       string // as given: raw, qcow2, swap; a file system's name up to 5.x
	// FS is the file system to make; "" when the document names none. Up to 5.x it
	// is in FORMAT or FSTYPE. MKIMAGE's format argument does not have it.
	FS          string
	Driver      string
	DatastoreID int // of the image; None unknown
	TMMAD       string
	Clone       bool // the VM works on a copy
	Save        bool // to be written back to the image
	Persistent  bool
	ReadOnly    bool
	Target      string
	Attrs       map[string]string // all simple attributes as they are
}

func readDisk(element *etree.Element, vm int) (Disk, error) {
	f := &fields{element: element, object: fmt.Sprintf("VM %d DISK", vm)}
	d := Disk{ID: f.id("DISK_ID")}
	f.object = fmt.Sprintf("VM %d DISK %d", vm, d.ID)
	d.ImageID = f.number(None, "IMAGE_ID")
	d.Source = f.text("SOURCE")
	d.Size = f.mebibytes("SIZE")
	d.OriginalSize = f.mebibytes("ORIGINAL_SIZE")
	d.Type = strings.ToUpper(f.text("TYPE"))
	d.Format = f.text("FORMAT")
	d.Driver = f.text("DRIVER")
	d.DatastoreID = f.number(None, "DATASTORE_ID")
	d.TMMAD = f.text("TM_MAD", "TMMAD")
	d.Clone = f.yes("CLONE")
	d.Save = f.yes("SAVE")
	d.ReadOnly = f.yes("READONLY")
	d.Target = f.text("TARGET")
	d.Attrs = attributes(element)
	d.Persistent = f.yes("PERSISTENT") || d.savedInPlace()
	d.FS = d.fileSystem()
	return d, f.err
}

// savedInPlace tells a persistent disk in versions that have no PERSISTENT.
func (d *Disk) savedInPlace() bool {
	return d.Save && strings.EqualFold(d.Attrs["CLONE"], "NO")
}

// fileSystem finds the name among the attributes that had it over the versions.
func (d *Disk) fileSystem() string {
	for _, name := range []string{"FS", "FSTYPE"} {
		if fs := d.Attrs[name]; fs != "" {
			return fs
		}
	}
	if d.Volatile() && !isDiskFormat(d.Format) {
		return d.Format
	}
	return ""
}

// isDiskFormat tells the formats of a disk from names of file systems.
func isDiskFormat(format string) bool {
	switch strings.ToLower(format) {
	case "raw", "qcow2", "swap":
		return true
	}
	return false
}

// Volatile says that the disk comes from no image and ends with the VM.
func (d *Disk) Volatile() bool { return d.ImageID < 0 }

// Swap says that the disk is a volatile swap disk.
func (d *Disk) Swap() bool {
	return d.Volatile() && (d.Type == "SWAP" || strings.EqualFold(d.Format, "swap"))
}
