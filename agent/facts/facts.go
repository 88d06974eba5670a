// Package facts is what a node says of itself: all that the front-end needs to judge
// whether the node can do its work. It is collected without changing anything and without
// taking a lock, each part with a deadline of its own, so that a node that is half dead
// still answers.
package facts

import (
	"time"

	"one-clvm/gfs2"
	"one-clvm/internal/membership"
	"one-clvm/lvm/lvm2"
)

// Facts of one node. A part that could not be looked at is in Unknown.
type Facts struct {
	Version  string    `json:"version"` // of the suite
	Hostname string    `json:"hostname"`
	Kernel   string    `json:"kernel"`
	Started  time.Time `json:"started"`  // of the collecting, by the node's clock
	Finished time.Time `json:"finished"` // right before the answer
	Memory   int64     `json:"memory"`   // bytes
	Systemd  bool      `json:"systemd"`  // services are started by systemctl
	// PolkitKeys: polkit is one that reads .pkla files (0.105 and older).
	PolkitKeys bool   `json:"polkit_keys,omitempty"`
	Owner      string `json:"owner"` // that devices and homes are to have

	Tools    map[string]bool   `json:"tools"`              // programs, and whether they are there
	Versions map[string]string `json:"versions,omitempty"` // of those that versioned has
	Files    map[string]File   `json:"files"`              // by path, see inspectedFiles

	LVM        *lvm2.Inspection `json:"lvm,omitempty"`
	FileGroups []string         `json:"file_groups,omitempty"` // file-backed volume groups
	Guests     []string         `json:"guests"`                // physical volumes that LVM sees inside volumes
	Active     []Active         `json:"active"`                // volumes in device-mapper
	Disks      []Disk           `json:"disks"`                 // below the physical volumes
	Sanlock    *Sanlock         `json:"sanlock"`               // nil: it does not run

	Cluster *membership.Cluster `json:"cluster"` // nil: no corosync, no cman
	DLM     *membership.DLM     `json:"dlm"`     // nil: dlm_controld does not run
	// FenceDevices are those in dlm.conf, by name.
	FenceDevices []string   `json:"fence_devices,omitempty"`
	Pacemaker    *Pacemaker `json:"pacemaker"`
	RGManager    *RGManager `json:"rgmanager"`

	Homes []Home       `json:"homes"`
	GFS2  []gfs2.State `json:"gfs2"`

	FrontEnd *Reach `json:"front_end,omitempty"` // nil: it was not asked for
	Hook     *Reach `json:"hook,omitempty"`      // as the cluster's hook goes; nil: it is not configured

	// Unknown is why a part could not be looked at, by the part's name.
	Unknown map[string]string `json:"unknown,omitempty"`
}

// File is a file of the node's configuration.
type File struct {
	Missing bool   `json:"missing,omitempty"`
	Content string `json:"content,omitempty"`
	Mode    uint32 `json:"mode,omitempty"` // permissions
	UID     int    `json:"uid"`
	GID     int    `json:"gid"`
	Links   bool   `json:"links,omitempty"` // it is a symbolic link
}

// Active is a volume that device-mapper has on this node, whatever LVM says.
type Active struct {
	Group     string `json:"group"`
	Name      string `json:"name"`
	UUID      string `json:"uuid"`   // of the volume, as LVM writes it
	Device    string `json:"device"` // dm-N
	Owner     string `json:"owner"`  // USER:GROUP of the device, by name where there is one
	Suspended bool   `json:"suspended,omitempty"`
}

// Disk is a block device that a physical volume is on, or one of its paths.
type Disk struct {
	Name             string `json:"name"`                // sda, dm-3
	Multipath        string `json:"multipath,omitempty"` // name of the map, of a multipath device
	Paths            []Disk `json:"paths,omitempty"`     // of a multipath device
	State            string `json:"state,omitempty"`     // of a SCSI disk: running, offline, …
	Timeout          int    `json:"timeout,omitempty"`   // of a SCSI command, seconds
	DiscardMax       int64  `json:"discard_max"`         // bytes by one request; 0: it cannot
	WriteZeroesMax   int64  `json:"write_zeroes_max"`
	QueueWithoutPath bool   `json:"queue_without_path,omitempty"` // a multipath device waits for ever
	QueueRetries     int    `json:"queue_retries,omitempty"`      // no_path_retry, where it does not
	QueueTime        int    `json:"queue_time,omitempty"`         // and how long that is, seconds
}

// Sanlock is the state of sanlock and its watchdog.
type Sanlock struct {
	Lockspaces []string `json:"lockspaces"`
	Watchdog   string   `json:"watchdog"` // identity of the device; "" without one
}

// Pacemaker is what crm_mon says, and the node's own fencer.
type Pacemaker struct {
	Quorate        bool            `json:"quorate"`
	Stonith        bool            `json:"stonith"`
	NoQuorumPolicy string          `json:"no_quorum_policy"`
	Nodes          map[string]bool `json:"nodes"`   // name: online
	Fencing        []string        `json:"fencing"` // resources of class stonith
	Failed         []string        `json:"failed"`  // of them, those that do not run
	// Registered are the fence devices that this node's fencer can use; nil: it was not asked.
	Registered []string `json:"registered"`
}

// RGManager is what clustat says.
type RGManager struct {
	Quorate bool            `json:"quorate"`
	Nodes   map[string]bool `json:"nodes"` // name: rgmanager runs there
}

// Home is one directory of HOME_BASE, or a system datastore below it that is a file system
// of its own.
type Home struct {
	Path    string   `json:"path"`
	Device  string   `json:"device"`
	Point   string   `json:"point"` // where the file system that it is on is mounted
	Type    string   `json:"type"`  // ext4, gfs2, nfs4, …
	Options []string `json:"options"`
	Size    int64    `json:"size"` // bytes; 0: it did not answer
	Free    int64    `json:"free"`
	Inodes  int64    `json:"inodes"` // free ones; -1: it does not count them
	Links   []Link   `json:"links"`
	Error   string   `json:"error,omitempty"` // why it did not answer
}

// Link is one disk.N in a VM's home.
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// Reach is whether the node reaches the front-end as the user that hooks run as.
type Reach struct {
	Host  string `json:"host"`
	Error string `json:"error,omitempty"`
}
