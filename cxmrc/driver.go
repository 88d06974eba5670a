package cxmrc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"one-clvm/lvm"
)

const day = 24 * 60 * 60

// Driver are the variables of cxmrc: those of the original cxm drivers, with their
// meaning and defaults unless the sentence says otherwise, and our own.
var Driver = Registry{
	{Name: "DEBUG", Kind: KindBool, Default: "False",
		Doc: "Log every step with its details."},
	{Name: "TMP_ROOT", Kind: KindPath, Default: "/var/tmp",
		Doc: "Directory for temporary files on the front-end."},
	{Name: "VG_NAME", Kind: KindName, Default: "LVM_XEN", Datastore: true,
		Doc: "Volume group of the disks. The nodes' agent.conf must allow it."},
	{Name: "LV_PREFIX", Kind: KindName, Default: "lv-one",
		Doc: "Beginning of the volumes' names: PREFIX-VM-DISK. The nodes' agent.conf must say the same."},
	{Name: "CFG_DIR", Kind: KindPath, Default: "/etc/xen/vm",
		Doc: "Accepted so that old files remain valid: where the nodes keep the files of Xen VMs is said by their agent.conf."},
	{Name: "AUTO_DIR", Kind: KindPath, Default: "/etc/xen/auto",
		Doc: "The same for the links to VMs that cxm starts."},
	{Name: "DEFAULT_LV_SIZE", Kind: KindSize, Default: "8G", Min: 1 << 20, Max: lvm.MaxSize, Datastore: true,
		Doc: "Size of a disk when neither the image's template (SIZE) nor OpenNebula tells it. LVM's syntax: a number without a unit is MiB."},
	{Name: "VM_FQDN_TEMPLATE", Kind: KindFQDN, Default: "%U-%V.vm.home.net",
		Doc: "Name of a VM under Xen (xl, xm, cxm): %U is the user, %V the VM's name, %I its id. Without %I two VMs of one user can get one name."},
	{Name: "MODE", Kind: KindEnum, Default: "TGZ", Choices: []string{"RAW", "GZIP", "TGZ", "ZSTD", "TZST"}, Datastore: true,
		Doc: "How disks are saved when the image does not say (MODE in its template): RAW, GZIP or ZSTD of the disk, TGZ or TZST of its files."},
	{Name: "XPATH", Kind: KindProgram, Default: "xpath",
		Doc: "Not used any more: no external program reads XML. Accepted so that old files remain valid."},
	{Name: "COMPRESS_LEVEL", Kind: KindInt, Default: "1", Min: 1, Max: 9, Datastore: true,
		Doc: "Compression when a disk is saved, from 1 (fast) to 9 (small)."},
	{Name: "SHUTDOWN_TIMEOUT", Kind: KindInt, Default: "300", Min: 1, Max: day,
		Doc: "Seconds that a VM may take to shut down, and that a delete waits for a volume in use."},
	{Name: "BLOCK_SIZE", Kind: KindSize, Default: "1M", Min: 4 << 10, Max: 64 << 20,
		Doc: "Unit in which disks are read and written, from 4k to 64M."},
	{Name: "DEFAULT_FSTYPE", Kind: KindFSType, Default: "ext4", Datastore: true,
		Doc: "File system of a disk when neither the disk nor the image names one. The original's default was ext3."},
	{Name: "SNAPSHOT_SPACE", Kind: KindInt, Default: "100", Min: 1, Max: 100, Datastore: true,
		Doc: "Space of a disk's snapshot for the blocks that change, in percent of the disk. With 100 it never runs out. With less it costs less, and when more changes than it has space for, the snapshot is lost; the disk is not."},
	{Name: "CLONE", Kind: KindEnum, Default: "copy", Choices: []string{"copy", "snapshot"}, Datastore: true,
		Doc: "What a disk that is not persistent is made of an image on the SAN. copy: a volume of its own. snapshot: an LVM snapshot of the image, made in no time; then the image and all its snapshots are active on one node only, VMs on them cannot be migrated live, and each write costs more (SNAPSHOT_SPACE)."},
	{Name: "WIPE", Kind: KindEnum, Default: "delete", Choices: wipePolicies, Datastore: true,
		Doc: "What is done against old data. delete: a deleted disk is zeroed and verified before its space is free. discard: a deleted disk is only discarded. create: a deleted disk keeps its data on the SAN. With these three a new disk is zeroed, unless its space is known to be zero (tm-clvm wipe-free). off: a new disk is zeroed only where its image's content needs it; guests can read what former disks held. The nodes' agent.conf may demand more."},
	{Name: "AGENT", Kind: KindPath, Default: "/usr/libexec/one-clvm/tm-clvm",
		Doc: "The suite's program on the nodes; the nodes' sudo rule names the same path."},
	{Name: "SSH", Kind: KindProgram, Default: "ssh",
		Doc: "The ssh client on the front-end."},
	{Name: "SSH_OPTIONS", Kind: KindText, Default: "", List: true, Optional: true,
		Doc: "Further options of ssh, separated by blanks."},
	{Name: "CONNECT_TIMEOUT", Kind: KindInt, Default: "10", Min: 1, Max: 600,
		Doc: "Seconds until a node that does not answer counts as unreachable."},
	{Name: "FRONTEND", Kind: KindHost, Default: "", Optional: true,
		Doc: "Name that oned has for the front-end (HOSTNAME in oned.conf). Empty: the host name."},
	{Name: "BRIDGE_LIST", Kind: KindHost, Default: "", List: true, Optional: true, Datastore: true,
		Doc: "Nodes that may be asked when no particular node is meant: for monitoring, or for a VM that is undeployed. Empty: any node of the cluster."},
	{Name: "DETECT_FORMAT", Kind: KindBool, Default: "False", Datastore: true,
		Doc: "False: an image without MODE that names no file system is what its record says. True: look at its first bytes, as the original did; then an image can pass itself off as another format."},
	{Name: "UNPACK", Kind: KindBool, Default: "False", Datastore: true,
		Doc: "What registering an archive (MODE=TGZ or TZST) in a datastore with DS_MAD=clvm makes. False: an archive on the front-end, unpacked for each VM. True: a volume on the SAN, with the file system that the image names. UNPACK in the image's template goes before."},
	{Name: "SHARED_DIRS", Kind: KindPath, Default: "", List: true, Optional: true,
		Doc: "Directories on a file system that all nodes have mounted (GFS2), whose files can be registered by their PATH in a datastore with DS_MAD=clvm and are linked, not copied: CDROMs and persistent images. The nodes' agent.conf must allow them."},
	{Name: "SINGLE_WRITER", Kind: KindBool, Default: "False", Datastore: true,
		Doc: "True: change a volume group on the SAN that has no lock manager, one verb at a time, because this front-end is the only one that changes it. The nodes' agent.conf must say the same. With a second writer volumes are lost."},
	{Name: "LOCK_DIR", Kind: KindPath, Default: "/var/lock/one",
		Doc: "Directory for the lock files of SINGLE_WRITER on the front-end."},
	{Name: "STATE_DIR", Kind: KindPath, Default: "/var/lib/one/one-clvm",
		Doc: "Directory for what the drivers know of the nodes, on the front-end."},
	{Name: "LOCAL_EXPIRY", Kind: KindInt, Default: "86400", Min: 60, Max: 30 * day,
		Doc: "Seconds until all nodes are asked again whether a volume group without a lock manager is one node's own."},
	{Name: "MIGRATION_TIMEOUT", Kind: KindInt, Default: "3600", Min: 60, Max: day,
		Doc: "Seconds that a live migration may take. A disk that is still shared afterwards is taken back by the next verb on its VM, where the VM does not run."},
	{Name: "START_TIMEOUT", Kind: KindInt, Default: "120", Min: 5, Max: day,
		Doc: "Seconds until a VM that is deployed must run, as the hypervisor says it."},
	{Name: "SETTLE_TIMEOUT", Kind: KindInt, Default: "60", Min: 5, Max: day,
		Doc: "Seconds until a cluster must have taken note of a change, and that a VM may take to end when it is destroyed."},
	{Name: "STALL_TIMEOUT", Kind: KindInt, Default: "120", Min: 10, Max: day,
		Doc: "Seconds without any sign of life from a node until a verb gives up."},
	{Name: "LOCK_TIMEOUT", Kind: KindInt, Default: "600", Min: 1, Max: day,
		Doc: "Seconds that a verb waits for another verb on the same VM."},
}

// Load reads the drivers' file.
func Load(path string) (*Config, error) {
	return loadFile(path, Driver)
}

// LoadFound reads the file that Find finds; without any the defaults are in effect.
func LoadFound() (*Config, error) { return LoadBelow(remotesDir()) }

// Find gives the path of the drivers' file: etc/tm/clvm/cxmrc below the remotes (the
// place of settings since 5.6), else cxmrc there. fs.ErrNotExist when there is none.
func Find() (string, error) { return find(remotesDir()) }

// LoadBelow reads the drivers' file that is found below a directory of remotes, such as the
// copy on a host; without any the defaults are in effect.
func LoadBelow(remotes string) (*Config, error) {
	path, err := find(remotes)
	if errors.Is(err, fs.ErrNotExist) {
		return Defaults(Driver), nil
	}
	if err != nil {
		return nil, err
	}
	return Load(path)
}

func find(remotes string) (string, error) {
	var err error
	for _, name := range []string{"etc/tm/clvm/cxmrc", "cxmrc"} {
		path := filepath.Join(remotes, name)
		if _, err = os.Stat(path); err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", err
}

func remotesDir() string {
	if location := os.Getenv("ONE_LOCATION"); location != "" {
		return filepath.Join(location, "var/remotes")
	}
	return "/var/lib/one/remotes"
}
