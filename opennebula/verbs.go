package opennebula

import (
	"fmt"
	"slices"
	"strings"
)

// verb is one verb of the transfer manager: what oned calls it with, and how that
// is read. Read gets only argument counts between min and max.
type verb struct {
	name     string
	args     string // for the usage line
	sentence string
	min, max int // number of arguments; max 0: no limit
	read     func(c *Call, argv []string) error
}

const (
	migrateArgs = "OLD_HOST NEW_HOST HOME VM_ID SYSTEM_DS_ID [VM_DOCUMENT] [CALLING_TM]"
	backupArgs  = "HOST:HOME DISK[:DISK…] DEPLOY_ID [JOB_ID] VM_ID SYSTEM_DS_ID"
	snapArgs    = "HOST:HOME/disk.N SNAPSHOT VM_ID DS_ID"
	imageArgs   = "SOURCE HOST:HOME/disk.N VM_ID DS_ID"
)

var verbs = []verb{
	{"clone", imageArgs, "Makes a disk that is a copy of an image.", 4, 4, readImageVerb},
	{"ln", imageArgs, "Makes a persistent image a disk of the VM.", 4, 4, readImageVerb},
	{"mkswap", "MIB HOST:HOME/disk.N VM_ID DS_ID", "Makes a volatile swap disk.", 4, 4, readMkswap},
	{"mkimage", "MIB FORMAT HOST:HOME/disk.N VM_ID DS_ID", "Makes a volatile disk.", 5, 5, readMkimage},
	{"context", "FILE… HOST:HOME/disk.N VM_ID DS_ID", "Makes the contextualization CD of the files.", 4, 0, readContext},
	{"mv", "OLD_HOST:HOME[/disk.N] NEW_HOST:HOME[/disk.N] VM_ID DS_ID",
		"Moves a disk, or the VM's directory, to another host.", 4, 4, readMv},
	{"mvds", "HOST:HOME/disk.N SOURCE VM_ID DS_ID", "Writes a persistent disk back to its image.", 4, 4, readMvds},
	{"cpds", "HOST:HOME/disk.N SOURCE [SNAPSHOT] VM_ID DS_ID", "Saves a disk as a new image.", 4, 5, readCpds},
	{"delete", "HOST:HOME[/disk.N] VM_ID DS_ID", "Removes a disk, or the VM's directory.", 3, 3, readDelete},
	{"resize", "HOST:HOME/disk.N MIB VM_ID DS_ID", "Enlarges a disk.", 4, 4, readResize},
	{"snap_create", snapArgs, "Takes a snapshot of a disk of a VM that is off.", 4, 4, readSnapshot},
	{"snap_create_live", snapArgs, "Takes a snapshot of a disk of a running VM.", 4, 4, readSnapshot},
	{"snap_delete", snapArgs, "Removes a snapshot of a disk.", 4, 4, readSnapshot},
	{"snap_revert", snapArgs, "Brings a disk back to a snapshot.", 4, 4, readSnapshot},
	{"premigrate", migrateArgs, "Prepares the new host for a live migration.", 5, 7, readMigrate},
	{"postmigrate", migrateArgs, "Releases the old host after a live migration.", 5, 7, readMigrate},
	{"failmigrate", migrateArgs, "Releases the new host after a failed live migration.", 5, 7, readMigrate},
	{"prebackup", backupArgs, "Prepares the backup of a VM that is off.", 5, 6, readBackup},
	{"prebackup_live", backupArgs, "Prepares the backup of a running VM.", 5, 6, readBackup},
	{"postbackup", backupArgs, "Cleans up after the backup of a VM that is off.", 5, 6, readBackup},
	{"postbackup_live", backupArgs, "Cleans up after the backup of a running VM.", 5, 6, readBackup},
	{"restore", "HOST:HOME VM_ID IMAGE_ID INCREMENT DISK", "Restores disks from a backup image.", 5, 5, readRestore},
	{"monitor", "[DOCUMENT] DS_ID", "Prints the capacity of the system datastore.", 1, 2, readMonitor},
}

// Verbs are the names of all verbs of the transfer manager that oned calls for a
// shared system datastore. (monitor_ds belongs to datastores that are not shared,
// activate is a boot script of other drivers; neither reaches this driver.)
var Verbs = verbNames()

func verbNames() []string {
	names := make([]string, 0, len(verbs))
	for _, v := range verbs {
		names = append(names, v.name)
	}
	return names
}

func findVerb(name string) (verb, error) {
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == name })
	if i < 0 {
		return verb{}, fmt.Errorf("%w: no verb %q; the verbs are %s", ErrUsage, name, strings.Join(Verbs, ", "))
	}
	return verbs[i], nil
}

// Usage is a verb's arguments in one line and what it does in another; "" for an
// unknown verb.
func Usage(name string) string {
	v, err := findVerb(name)
	if err != nil {
		return ""
	}
	return v.name + " " + v.args + "\n" + v.sentence + "\n"
}

func (v verb) accepts(count int) bool {
	return count >= v.min && (v.max == 0 || count <= v.max)
}
