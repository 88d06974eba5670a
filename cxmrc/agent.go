package cxmrc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"one-clvm/lvm"
)

// AgentPath is where a node's agent has its configuration.
const AgentPath = "/etc/one-clvm/agent.conf"

// Agent are the variables of agent.conf. It limits what oneadmin, who may start the
// agent as root, can have done.
var Agent = Registry{
	{Name: "ALLOWED_VGS", Kind: KindName, Sample: "vg-one", List: true, Required: true,
		Doc: "Volume groups that may be worked in, separated by blanks. Must be set."},
	{Name: "LV_PREFIX", Kind: KindName, Default: "lv-one",
		Doc: "Beginning of the names of the volumes that may be touched; others are never."},
	{Name: "HOME_BASE", Kind: KindPath, Default: "/var/lib/one/datastores", List: true,
		Doc: "Directories that hold the system datastores: links and files are made below them only."},
	{Name: "SHARED_DIRS", Kind: KindPath, Default: "", List: true, Optional: true,
		Doc: "Directories on a file system that all nodes have mounted, with files (ISOs) that disks of VMs may be links to. Nobody but administrators should be able to write there."},
	{Name: "FSTYPES", Kind: KindFSType, Default: "ext2 ext3 ext4 xfs btrfs swap vfat", List: true,
		Doc: "File systems that may be made."},
	{Name: "FILE_VG_DIR", Kind: KindPath, Default: "/var/lib/one-clvm/vg",
		Doc: "Where volume groups in files live, for machines without a SAN."},
	{Name: "READ_GUEST_FS", Kind: KindBool, Default: "False",
		Doc: "True: mount, read-only, file systems that a guest has written, to save them as a tar. The node's kernel then reads what the guest prepared."},
	{Name: "WIPE", Kind: KindEnum, Default: "create", Choices: wipePolicies,
		Doc: "The least that is done against old data, whatever the front-end asks for (WIPE in cxmrc). Only with off a front-end may ask for off."},
	{Name: "WIPE_METHOD", Kind: KindEnum, Default: "auto", Choices: []string{"auto", "write"},
		Doc: "How space is zeroed, new and deleted: auto lets the device do it where it can, write always writes zeroes."},
	{Name: "WIPE_RATE", Kind: KindSize, Default: "", Optional: true, Min: 1 << 20, Max: lvm.MaxSize,
		Doc: "Bytes a second that wiping deleted disks and free space may take from the SAN, in LVM's syntax. Empty: no limit."},
	{Name: "WIPE_JOBS", Kind: KindInt, Default: "2", Min: 1, Max: 64,
		Doc: "Deleted disks that are wiped at the same time on this node; further ones wait."},
	{Name: "TMP_ROOT", Kind: KindPath, Default: "/run/one-clvm",
		Doc: "Directory for the agent's private mount points."},
	{Name: "LOCK_DIR", Kind: KindPath, Default: "/run/lock/one-clvm",
		Doc: "Directory for the agent's lock files."},
	{Name: "OWNER", Kind: KindName, Default: "oneadmin",
		Doc: "User that owns the links and files in a VM's home."},
	{Name: "SINGLE_WRITER", Kind: KindBool, Default: "False",
		Doc: "True: a front-end may say (SINGLE_WRITER in its cxmrc) that it is the only one that changes a volume group on the SAN that has no lock manager. With a second writer volumes are lost."},
	{Name: "STACK", Kind: KindEnum, Default: "auto", Choices: []string{"auto", "pacemaker", "rgmanager", "cxm", "standalone"},
		Doc: "What runs VMs on this node, for vmm-rhcs. auto: pacemaker where /etc/corosync/corosync.conf and crm_mon are, rgmanager where /etc/cluster/cluster.conf and clustat are, cxm where /etc/xen/cxm.conf and cxm are, also while they are down; standalone where nothing of a cluster is."},
	{Name: "HYPERVISOR", Kind: KindEnum, Default: "auto", Choices: []string{"auto", "libvirt", "xl", "xm"},
		Doc: "What runs VMs where the stack is cxm or standalone. auto: with cxm xm; without a cluster xl where the node is the first domain of Xen, xm if it has xend, else libvirt."},
	{Name: "CFG_DIR", Kind: KindPath, Default: "/etc/xen/vm",
		Doc: "Where the files of VMs under xl and xm are: on a file system that all nodes share, with cxm its VMCONF_DIR. Nobody but root may write there."},
	{Name: "AUTO_DIR", Kind: KindPath, Default: "/etc/xen/auto",
		Doc: "Where this node has the links to the VMs that cxm starts for it."},
	{Name: "LIBVIRT_URI", Kind: KindText, Default: "qemu:///system",
		Doc: "The libvirt of this node."},
	{Name: "MIGRATION_URI", Kind: KindText, Default: "qemu+ssh://%s/system",
		Doc: "The libvirt of another node, for live migrations; %s stands for the node's name. root of each node must be let in there."},
	{Name: "MIGRATE_OPTIONS", Kind: KindText, Default: "", List: true, Optional: true,
		Doc: "Further options of virsh migrate, separated by blanks."},
	{Name: "REMOTES", Kind: KindPath, Default: "/var/tmp/one",
		Doc: "Where OpenNebula's scripts are on this node. OWNER runs the network drivers' (vnm/) for VMs that a cluster starts or moves by itself."},
	{Name: "PACEMAKER_AFTER", Kind: KindName, Default: "", Optional: true,
		Doc: "Resource of Pacemaker that a VM needs where it runs, and that is started before it: the clone that mounts the system datastore."},
}

// LoadAgent reads a node's agent.conf. The file and its directory must be root's and
// nobody else's to write (ErrUntrusted): whoever writes it decides what root does.
func LoadAgent(path string) (*Config, error) { return loadTrusted(path, Agent, 0) }

// missing is what to do where a file is not there.
var missing = map[string]string{
	filepath.Base(AgentPath): "this machine is no node: run it on one, or here with --cluster or --node where the command has them; tm-clvm setup node makes a node",
	filepath.Base(HookPath):  "the hook is not set up here: hook.conf.example is a beginning, docs/hook.md says how",
}

// loadTrusted looks at the opened file, so that it cannot be exchanged in between. A
// symbolic link is refused: the directory that counts would be another one.
func loadTrusted(path string, registry Registry, owner uint32) (_ *Config, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s: %w: it is a symbolic link; put the file itself there", path, ErrUntrusted)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w; %s", path, fs.ErrNotExist, missing[filepath.Base(path)])
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is not a regular file", path, ErrUntrusted)
	}
	if err := checkOwner(path, info, owner); err != nil {
		return nil, err
	}
	if err := checkDirectory(filepath.Dir(path), owner); err != nil {
		return nil, err
	}
	return Parse(file, path, registry)
}

func checkDirectory(path string, owner uint32) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return checkOwner(path, info, owner)
}

// checkOwner: only owner may write.
func checkOwner(path string, info fs.FileInfo, owner uint32) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: %w: its owner cannot be told", path, ErrUntrusted)
	}
	if stat.Uid != owner {
		return fmt.Errorf("%s: %w: it belongs to user %d; run: chown root %s", path, ErrUntrusted, stat.Uid, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: %w: group or others may write it; run: chmod go-w %s", path, ErrUntrusted, path)
	}
	return nil
}
