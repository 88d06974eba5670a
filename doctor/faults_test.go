package doctor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/agent/facts"
	"one-clvm/lvm"
	"one-clvm/opennebula"
)

// faults are what can be wrong, each alone: how the view shows it, what is found, where,
// and the command that mends it.
var faults = []struct {
	name     string
	inject   func(v *View, one, two *facts.Facts)
	check    string
	node     string
	severity Severity
	text     string // part of it
	on       string
	command  string // "" without one
}{
	{"oned is down", func(v *View, _, _ *facts.Facts) { v.Oned = Oned{Err: errors.New("connection refused")} },
		"oned", "", Fail, "connection refused", "", "systemctl start opennebula"},
	{"host hook", func(v *View, _, _ *facts.Facts) {
		v.Oned.Hooks = append(v.Oned.Hooks, opennebula.Hook{ID: 7, Name: "ft", Resource: "HOST", State: "ERROR", Command: "ft/host_error.rb", Arguments: "$TEMPLATE -m"})
	}, "host hook", "", Fail, "hook 7 (ft, ft/host_error.rb $TEMPLATE -m)", "", "onehook delete 7"},
	{"host hook in oned.conf", func(v *View, _, _ *facts.Facts) {
		v.Oned.Hooks = []opennebula.Hook{{ID: opennebula.None, Resource: "HOST", State: "ERROR", Command: "host_error.rb"}}
	}, "host hook", "", Fail, "host_error.rb", "", `sed -i '/^HOST_HOOK *=/,/\]/d' /etc/one/oned.conf && systemctl restart opennebula`},
	{"no TM_MAD_CONF", func(v *View, _, _ *facts.Facts) {
		v.Oned.Daemon = &opennebula.DaemonConfig{}
		*v.Oned.Daemon = *must(opennebula.ParseDaemonConfig(strings.NewReader(strings.ReplaceAll(daemonConf, "<NAME>clvm", "<NAME>lvm"))))
	}, "oned.conf", "", Fail, "no TM_MAD_CONF for clvm", "", setupFrontEnd},
	{"unshared TM", func(v *View, _, _ *facts.Facts) {
		v.Oned.Daemon = must(opennebula.ParseDaemonConfig(strings.NewReader(strings.Replace(daemonConf, "<SHARED>YES", "<SHARED>NO", 1))))
	}, "oned.conf", "", Fail, `SHARED "NO" instead of "YES"`, "", setupFrontEnd},
	{"TM not in -d", func(v *View, _, _ *facts.Facts) {
		v.Oned.Daemon = must(opennebula.ParseDaemonConfig(strings.NewReader(strings.Replace(daemonConf, "shared,clvm", "shared", 1))))
	}, "oned.conf", "", Fail, "no verb of its datastores", "", setupFrontEnd},
	{"datastore driver not in oned.conf", func(v *View, _, _ *facts.Facts) {
		v.Oned.Datastores = append(v.Oned.Datastores, opennebula.Datastore{ID: 1, DSMAD: "clvm", TMMAD: "clvm", Template: onSAN})
	}, "oned.conf", "", Fail, "no DS_MAD_CONF", "", setupFrontEnd},
	{"no sudo rule", func(v *View, _, _ *facts.Facts) {
		v.Nodes[1].Facts, v.Nodes[1].Err = nil, errors.New("node2: no agent answered: ssh: exit status 1: sudo: a password is required; install sudoers.d/one-clvm on that node")
	}, "ssh", "node2", Fail, "by sudo", "node2", "/usr/libexec/one-clvm/tm-clvm doctor print sudoers | install -D -o root -g root -m 0440 /dev/stdin /etc/sudoers.d/one-clvm"},
	{"unknown host key", func(v *View, _, _ *facts.Facts) {
		v.Nodes[1].Facts, v.Nodes[1].Err = nil, errors.New("node2: no agent answered: Host key verification failed.")
	}, "ssh", "node2", Fail, "compare the key", "", "runuser -u oneadmin -- ssh-keyscan node2 >> ~oneadmin/.ssh/known_hosts"},
	{"agent.conf is not root's alone", func(v *View, _, _ *facts.Facts) {
		v.Nodes[1].Facts, v.Nodes[1].Err = nil, errors.New("node2: /etc/one-clvm/agent.conf: file cannot be trusted: group or others may write it; run: chmod go-w /etc/one-clvm/agent.conf")
	}, "ssh", "node2", Fail, "cannot be trusted", "node2", "chmod go-w /etc/one-clvm/agent.conf"},
	{"not installed", func(v *View, _, _ *facts.Facts) {
		v.Nodes[1].Facts, v.Nodes[1].Err = nil, errors.New("node2: no agent answered: sudo: /usr/libexec/one-clvm/tm-clvm: command not found")
	}, "ssh", "node2", Fail, "command not found", "", "scp /usr/libexec/one-clvm/tm-clvm root@node2:/usr/libexec/one-clvm/tm-clvm"},
	{"no rule of the VMM driver", func(_ *View, _, two *facts.Facts) {
		change(two, facts.SudoersVMM, func(f *facts.File) { *f = facts.File{Missing: true} })
	}, "sudo", "node2", Fail, "one-clvm-vmm is missing: oneadmin cannot start", "node2", "/usr/libexec/one-clvm/tm-clvm doctor print sudoers-vmm | install -D -o root -g root -m 0440 /dev/stdin /etc/sudoers.d/one-clvm-vmm"},
	{"wider rule of the hook", func(_ *View, one, _ *facts.Facts) {
		change(one, facts.SudoersHook, func(f *facts.File) { f.Content += "oneadmin ALL=(ALL) NOPASSWD: ALL\n" })
	}, "sudo", "node1", Fail, "one-clvm-hook is not as it was shipped", "node1", "/usr/libexec/one-clvm/tm-clvm doctor print sudoers-hook | install -D -o root -g root -m 0440 /dev/stdin /etc/sudoers.d/one-clvm-hook"},
	{"wider sudo rule", func(_ *View, _, two *facts.Facts) {
		change(two, facts.SudoersFile, func(f *facts.File) { f.Content = "oneadmin ALL=(ALL) NOPASSWD: ALL\n" })
	}, "sudo", "node2", Fail, "not as it was shipped", "node2", "/usr/libexec/one-clvm/tm-clvm doctor print sudoers | install -D -o root -g root -m 0440 /dev/stdin /etc/sudoers.d/one-clvm"},
	{"old version", func(_ *View, _, two *facts.Facts) { two.Version = "v0.1" },
		"version", "node2", Warn, "v0.1", "", "scp /usr/libexec/one-clvm/tm-clvm root@node2:/usr/libexec/one-clvm/tm-clvm"},
	{"clock", func(_ *View, _, two *facts.Facts) {
		two.Started, two.Finished = two.Started.Add(-time.Hour), two.Finished.Add(-time.Hour)
	},
		"clock", "node2", Fail, "1h0m0s behind", "", "ssh root@node2 date -s @$(date +%s)"},
	{"group not allowed", func(_ *View, _, two *facts.Facts) {
		change(two, facts.AgentFile, func(f *facts.File) { f.Content = "ALLOWED_VGS=\"vg-two\"\n" })
	}, "agent.conf", "node2", Fail, "vg-one is not in ALLOWED_VGS", "node2", `sed -i -e '/^ALLOWED_VGS=/d' -e '$a ALLOWED_VGS="vg-two vg-one"' /etc/one-clvm/agent.conf`},
	{"no mkfs.xfs", func(_ *View, one, _ *facts.Facts) { one.Tools["mkfs.xfs"] = false },
		"programs", "node1", Fail, "mkfs.xfs", "node1", "apt-get install xfsprogs"},
	{"another name in OpenNebula", func(v *View, _, _ *facts.Facts) { v.Nodes[1].Name, v.Oned.Hosts[1].Name = "10.0.0.2", "10.0.0.2" },
		"host name", "10.0.0.2", Fail, "node1, node2", "", "onehost rename 10.0.0.2 node2"},
	{"group not visible", func(_ *View, _, two *facts.Facts) { two.LVM.Groups = nil },
		"volume group", "node2", Fail, "not visible", "node2", "for host in /sys/class/scsi_host/*/scan; do echo - - - > $host; done; pvscan --cache"},
	{"group without a lock manager", func(_ *View, one, two *facts.Facts) {
		one.LVM.Groups[0].LockManager, two.LVM.Groups[0].LockManager = "none", "none"
	}, "volume group", "", Fail, "no lock manager", "node1", "vgchange --lock-type dlm vg-one"},
	{"dead lock space", func(_ *View, _, two *facts.Facts) { two.LVM.Lockspaces = []string{} },
		"lock manager", "node2", Fail, "not started", "node2", "vgchange --lockstart vg-one"},
	{"lvmlockd is dead", func(_ *View, _, two *facts.Facts) { two.LVM.Lockspaces = nil; two.Systemd = true },
		"lock manager", "node2", Fail, "lvmlockd does not answer", "node2", "systemctl start lvmlockd && vgchange --lockstart vg-one"},
	{"no quorum", func(_ *View, _, two *facts.Facts) { two.Cluster.Quorate = false },
		"quorum", "node2", Fail, "no quorum", "node2", "corosync-quorumtool -s"},
	{"member missing", func(v *View, one, _ *facts.Facts) {
		one.Cluster.Nodes[1].Present = false
		v.Nodes = v.Nodes[:1]
	}, "quorum", "node2", Fail, "node1 does not see it", "node2", "corosync"},
	{"member outside the lock space", func(_ *View, one, _ *facts.Facts) { one.DLM.Lockspaces[1].Members = []int{1} },
		"members", "node2", Fail, "lvm_vg-one", "node2", "vgchange --lockstart vg-one"},
	{"Pacemaker disagrees", func(_ *View, one, _ *facts.Facts) {
		one.Hook = &facts.Reach{}
		one.Pacemaker = &facts.Pacemaker{Quorate: true, Stonith: true, NoQuorumPolicy: "freeze", Fencing: []string{"f"}, Nodes: map[string]bool{"node1": true, "node2": false}}
	}, "members", "node2", Fail, "Pacemaker that it is not there", "node1", "crm_node -l"},
	{"fencing off", func(_ *View, _, two *facts.Facts) { two.DLM.Fencing = false },
		"fencing", "node2", Fail, "does not fence", "node2", "sed -i 's/^enable_fencing=0/enable_fencing=1/' /etc/dlm/dlm.conf && reboot"},
	{"waiting for a fencing", func(_ *View, one, _ *facts.Facts) { one.DLM.Waiting = []int{2} },
		"fencing", "node1", Fail, "node2 is to be fenced", "node1", "dlm_tool fence_ack 2"},
	{"stonith off", func(_ *View, one, _ *facts.Facts) {
		one.Hook = &facts.Reach{}
		one.Pacemaker = &facts.Pacemaker{Quorate: true, NoQuorumPolicy: "freeze", Fencing: []string{"f"}, Nodes: map[string]bool{"node1": true, "node2": true}}
	}, "fencing", "node1", Fail, "switched off", "node1", "crm_attribute -n stonith-enabled -v true"},
	{"a fencer without devices", func(_ *View, one, _ *facts.Facts) {
		one.Hook = &facts.Reach{}
		one.Pacemaker = &facts.Pacemaker{
			Quorate: true, Stonith: true, NoQuorumPolicy: "freeze", Fencing: []string{"f"}, Registered: []string{},
			Nodes: map[string]bool{"node1": true, "node2": true},
		}
	}, "fencing", "node1", Fail, "knows no fence device", "node1", "pkill -x pacemaker-fenced"},
	{"metadata area 96 % full", func(_ *View, one, two *facts.Facts) {
		one.LVM.Groups[0].MetadataFree, two.LVM.Groups[0].MetadataFree = 18944, 18944 // recorded, with 495 tags of 1 KB
	}, "metadata", "", Fail, "96 % full", "node1", "pvcreate --metadatasize 64m NEW-DISK && vgextend vg-one NEW-DISK && pvchange --metadataignore y /dev/sda"},
	{"a guest's physical volume", func(_ *View, one, _ *facts.Facts) {
		one.Guests, one.LVM.Settings["scan_lvs"] = []string{"/dev/vg-one/lv-one-42-0"}, "1"
	}, "guests", "node1", Fail, "/dev/vg-one/lv-one-42-0", "node1", `sed -i -E 's/(scan_lvs *= *)1/\10/' /etc/lvm/lvm.conf`},
	{"old LVM that looks into volumes", func(_ *View, one, two *facts.Facts) {
		one.Guests, one.LVM.Version, two.LVM.Version = []string{"/dev/vg-one/lv-one-42-0"}, "2.02.171", "2.02.171"
	}, "guests", "node1", Fail, "a guest made", "node1", `sed -i '/^devices {/a global_filter = [ "r|^/dev/vg-one/|", "r|^/dev/mapper/vg--one-[^-]|", "a|.*|" ]' /etc/lvm/lvm.conf`},
	{"active where the VM is not", func(v *View, _, _ *facts.Facts) { v.Oned.VMs[0] = vm(42, opennebula.StateActive, "node2") },
		"active", "node1", Fail, "VM 42 is on node2", "node1", "lvchange -an vg-one/lv-one-42-0"},
	{"active of an undeployed VM", func(v *View, _, _ *facts.Facts) { v.Oned.VMs[0] = vm(42, opennebula.StateUndeployed, "node1") },
		"active", "node1", Fail, "VM 42 is UNDEPLOYED", "node1", "lvchange -an vg-one/lv-one-42-0"},
	{"active of no VM", func(v *View, _, _ *facts.Facts) { v.Oned.VMs = nil },
		"active", "node1", Fail, "does not exist", "node1", "lvchange -an vg-one/lv-one-42-0"},
	{"active without a lock", func(_ *View, one, _ *facts.Facts) { one.LVM.Locks = map[string]lvm.Mode{} },
		"active", "node1", Fail, "without a lock", "node1", "lvchange -an vg-one/lv-one-42-0"},
	{"active and removed", func(_ *View, one, _ *facts.Facts) { one.LVM.Volumes = nil },
		"active", "node1", Fail, "no such volume", "node1", "dmsetup remove vg--one-lv--one--42--0"},
	{"device is root's", func(_ *View, one, _ *facts.Facts) { one.Active[0].Owner = "root:disk" },
		"device owner", "node1", Fail, "root:disk", "node1", "chown oneadmin:oneadmin /dev/vg-one/lv-one-42-0"},
	{"no udev rule", func(_ *View, _, two *facts.Facts) { two.Files[facts.UdevFile] = facts.File{Missing: true} },
		"udev", "node2", Warn, "missing", "node2", "/usr/libexec/one-clvm/tm-clvm doctor print udev | install -D -o root -g root -m 0644 /dev/stdin /etc/udev/rules.d/90-one-clvm.rules && udevadm control --reload && udevadm trigger --subsystem-match=block"},
	{"disk offline", func(_ *View, one, _ *facts.Facts) { one.Disks[0].State = "offline" },
		"disks", "node1", Fail, "sda is offline", "node1", "echo running > /sys/block/sda/device/state"},
	{"a path of two is offline", func(_ *View, one, _ *facts.Facts) {
		one.Disks = []facts.Disk{{Name: "dm-1", Multipath: "mpatha", WriteZeroesMax: 1, Paths: []facts.Disk{{Name: "sda", State: "running"}, {Name: "sdb", State: "offline"}}}}
	}, "disks", "node1", Fail, "sdb is offline", "node1", "echo running > /sys/block/sdb/device/state"},
	{"no write zeroes", func(_ *View, one, _ *facts.Facts) { one.Disks[0].WriteZeroesMax = 0 },
		"disks", "", Warn, "cannot write zeroes", "", "/usr/libexec/one-clvm/tm-clvm wipe-free vg-one --node node1"},
	{"queueing without a path", func(_ *View, one, _ *facts.Facts) {
		one.Disks = []facts.Disk{{Name: "dm-1", Multipath: "mpatha", WriteZeroesMax: 1, QueueWithoutPath: true, Paths: []facts.Disk{{Name: "sda"}, {Name: "sdb"}}}}
	}, "time budget", "node1", Warn, "waits for ever", "node1", "multipathd disablequeueing map mpatha"},
	{"home not mounted", func(_ *View, _, two *facts.Facts) {
		two.Homes[0].Type, two.Homes[0].Point, two.Homes[0].Device = "overlay", "/", "overlay"
	}, "home", "node2", Fail, "not mounted", "node2", "mkdir -p /var/lib/one/datastores/0 && mount -t gfs2 -o noatime /dev/sdb /var/lib/one/datastores/0"},
	{"home read-only", func(_ *View, _, two *facts.Facts) { two.Homes[0].Options[0] = "ro" },
		"home", "node2", Fail, "read-only", "node2", "mount -o remount,rw /var/lib/one/datastores/0"},
	{"home full", func(_ *View, _, two *facts.Facts) { two.Homes[0].Free = 1 << 20 },
		"home", "node2", Fail, "full", "node2", "du -sx /var/lib/one/datastores/0/* | sort -n"},
	{"withdrawn", func(_ *View, _, two *facts.Facts) { two.GFS2[0].Withdrawn = true },
		"GFS2", "node2", Fail, "withdrawn", "node2", "echo b > /proc/sysrq-trigger"},
	{"frozen", func(_ *View, _, two *facts.Facts) { two.GFS2[0].Frozen = true },
		"GFS2", "node2", Fail, "frozen", "node2", "fsfreeze -u /var/lib/one/datastores/0"},
	{"a journal too few", func(_ *View, _, two *facts.Facts) { two.GFS2[0].Journals = 1 },
		"GFS2", "node2", Fail, "1 journals for 2 nodes", "node2", "/usr/libexec/one-clvm/tm-clvm gfs2 journals --add 1 --yes /var/lib/one/datastores/0"},
	{"lock table of another cluster", func(_ *View, _, two *facts.Facts) { two.GFS2[0].Table.Cluster = "old" },
		"GFS2", "node2", Fail, "old:home", "node2", "umount /var/lib/one/datastores/0 && tunegfs2 -o locktable=lab:home /dev/sdb"},
	{"link to another VM's disk", func(_ *View, one, two *facts.Facts) {
		for _, f := range []*facts.Facts{one, two} {
			f.Homes[0].Links = []facts.Link{{Path: "/var/lib/one/datastores/0/77/disk.0", Target: "/dev/vg-one/lv-one-42-0"}}
		}
	}, "links", "node1", Fail, "disk 0 of VM 42", "node1", "ln -sfn /dev/vg-one/lv-one-77-0 /var/lib/one/datastores/0/77/disk.0 && chown -h oneadmin:oneadmin /var/lib/one/datastores/0/77/disk.0"},
	{"libvirt changes owners", func(_ *View, one, _ *facts.Facts) {
		one.Files[facts.QemuFile] = facts.File{Content: "user = \"oneadmin\"\ngroup = \"oneadmin\"\ndynamic_ownership = 1\n"}
		one.Files[facts.PolkitFile] = facts.File{}
	}, "libvirt", "node1", Fail, "dynamic_ownership", "node1", `sed -i -e '/^[[:space:]]*dynamic_ownership[[:space:]]*=/d' -e '$a dynamic_ownership = 0' /etc/libvirt/qemu.conf && systemctl restart libvirtd`},
	{"no memory for a failover", func(v *View, _, _ *facts.Facts) { v.Oned.Hosts[0].MemUsage, v.Oned.Hosts[1].MemUsage = 2500, 2500 },
		"memory", "", Warn, "3072 MiB for VMs that need 5000 MiB", "", "onehost list"},
	{"the hook's way", func(_ *View, one, _ *facts.Facts) { one.FrontEnd.Error = "Permission denied" },
		"hook ssh", "node1", Warn, "Permission denied", "node1", "runuser -u oneadmin -- ssh-copy-id frontend"},
	{"no -s in oned.conf", func(v *View, _, _ *facts.Facts) {
		v.Oned.Daemon = must(opennebula.ParseDaemonConfig(strings.NewReader(strings.Replace(daemonConf, " -s shared,clvm", "", 1))))
	}, "oned.conf", "", Fail, "behind -s", "", setupFrontEnd},
	{"unknown VM_MAD", func(v *View, _, _ *facts.Facts) { v.Oned.Hosts[0].VMMAD = "qemu" },
		"oned.conf", "", Fail, "no VM_MAD qemu, which host node1 uses", "", "grep -n VM_MAD /etc/one/oned.conf"},
	{"space counted elsewhere", func(v *View, _, _ *facts.Facts) {
		v.Oned.Datastores = append(v.Oned.Datastores, opennebula.Datastore{ID: 1, DSMAD: "fs", TMMAD: "clvm", Template: map[string]string{"LN_TARGET": "NONE", "CLONE_TARGET": "SYSTEM", "DISK_TYPE": "BLOCK"}})
	}, "oned.conf", "", Warn, `datastore 1 needs LN_TARGET="SYSTEM" in its template`, "", setupFrontEnd},
	{"no VM_MAD", func(v *View, _, _ *facts.Facts) {
		v.Oned.Daemon = must(opennebula.ParseDaemonConfig(strings.NewReader(strings.Replace(daemonConf, "[rhcs]", "[kvm]", 1))))
	}, "oned.conf", "", Fail, "no VM_MAD rhcs", "", setupFrontEnd},
	{"Pacemaker, and VMs of libvirt alone", func(v *View, one, _ *facts.Facts) {
		v.Oned.Daemon = must(opennebula.ParseDaemonConfig(strings.NewReader(strings.Replace(daemonConf, "</OPEN", "<VM_MAD><NAME>kvm</NAME></VM_MAD></OPEN", 1))))
		v.Oned.Hosts[0].VMMAD = "kvm"
		one.Hook = &facts.Reach{}
		one.Pacemaker = &facts.Pacemaker{Quorate: true, Stonith: true, NoQuorumPolicy: "freeze", Fencing: []string{"f"}, Nodes: map[string]bool{"node1": true, "node2": true}}
	}, "oned.conf", "node1", Warn, "are kvm's", "", "onehost delete node1 && onehost create node1 -i rhcs -v rhcs"},
	{"no qemu-img", func(v *View, _, _ *facts.Facts) {
		v.Oned.Daemon = must(opennebula.ParseDaemonConfig(strings.NewReader(strings.Replace(daemonConf, "</OPEN", "<DS_MAD_CONF><NAME>clvm</NAME></DS_MAD_CONF></OPEN", 1))))
		v.Oned.Datastores = append(v.Oned.Datastores, opennebula.Datastore{ID: 1, DSMAD: "clvm", TMMAD: "clvm", Template: onSAN})
		v.FrontEnd.Installed = func(name string) bool { return name != "qemu-img" }
	}, "programs", "", Warn, "QCOW2", "", "apt-get install qemu-utils"},
	{"LVM too old", func(_ *View, one, two *facts.Facts) { one.LVM.Version, two.LVM.Version = "2.02.98", "2.02.98" },
		"programs", "node1", Fail, "2.02.98 is too old", "node1", "apt-get install --only-upgrade lvm2"},
	{"an older libvirt on one node", func(_ *View, one, two *facts.Facts) {
		one.Versions, two.Versions = map[string]string{"virsh": "9.0.0"}, map[string]string{"virsh": "10.0.0"}
	}, "programs", "node1", Warn, "virsh is 9.0.0, and 10.0.0 on another node", "node1", "apt-get install --only-upgrade libvirt-daemon"},
	{"little space in the group", func(_ *View, one, two *facts.Facts) {
		one.LVM.Groups[0].Free, two.LVM.Groups[0].Free = one.LVM.Groups[0].Size/19, two.LVM.Groups[0].Size/19
	}, "free space", "", Warn, "5 % of volume group vg-one are free", "node1", "vgextend vg-one NEW-DISK"},
	{"no space in the group", func(_ *View, one, two *facts.Facts) { one.LVM.Groups[0].Free, two.LVM.Groups[0].Free = 0, 0 },
		"free space", "", Fail, "0 %", "node1", "vgextend vg-one NEW-DISK"},
	{"metadata area 80 % full", func(_ *View, one, two *facts.Facts) {
		one.LVM.Groups[0].MetadataFree, two.LVM.Groups[0].MetadataFree = 104448, 104448
	}, "metadata", "", Warn, "80 % full", "node1", "pvcreate --metadatasize 64m NEW-DISK && vgextend vg-one NEW-DISK && pvchange --metadataignore y /dev/sda"},
	{"clock, a little", func(_ *View, _, two *facts.Facts) { two.Finished = two.Finished.Add(5 * time.Second) },
		"clock", "node2", Warn, "5s ahead of", "", "ssh root@node2 date -s @$(date +%s)"},
	{"scan_lvs", func(_ *View, one, _ *facts.Facts) { one.LVM.Settings["scan_lvs"] = "1" },
		"guests", "node1", Warn, "scan_lvs=1", "node1", `sed -i -E 's/(scan_lvs *= *)1/\10/' /etc/lvm/lvm.conf`},
	{"one path only", func(_ *View, one, _ *facts.Facts) {
		one.Disks = []facts.Disk{{Name: "dm-1", Multipath: "mpatha", WriteZeroesMax: 1, Paths: []facts.Disk{{Name: "sda", State: "running"}}}}
	}, "disks", "node1", Warn, "one path only", "node1", "multipath -ll mpatha"},
	{"discard that the device cannot", func(v *View, one, _ *facts.Facts) {
		v.Oned.Datastores[0].Template = map[string]string{"WIPE": "discard"}
		one.Disks[0].DiscardMax = 0
	}, "disks", "", Fail, "sda on node1 cannot discard", "", `echo 'WIPE = "delete"' | onedatastore update --append 0 /dev/stdin`},
	{"multipath longer than a lease", func(_ *View, one, two *facts.Facts) {
		leased(one, two)
		one.Disks = []facts.Disk{{Name: "dm-1", Multipath: "mpatha", WriteZeroesMax: 1, QueueRetries: 60, QueueTime: 300, Paths: []facts.Disk{{Name: "sda"}, {Name: "sdb"}}}}
	}, "time budget", "node1", Fail, "waits 300 s", "node1", `sed -i -E 's/(no_path_retry[[:space:]]+)"?60"?/\116/' /etc/multipath.conf && multipathd reconfigure`},
	{"queueing under sanlock", func(_ *View, one, two *facts.Facts) {
		leased(one, two)
		one.Disks = []facts.Disk{{Name: "dm-1", Multipath: "mpatha", WriteZeroesMax: 1, QueueWithoutPath: true, Paths: []facts.Disk{{Name: "sda"}, {Name: "sdb"}}}}
	}, "time budget", "node1", Fail, "waits for ever", "node1", "multipathd disablequeueing map mpatha"},
	{"requests longer than a lease", func(_ *View, one, two *facts.Facts) { leased(one, two); one.Disks[0].Timeout = 60 },
		"time budget", "node1", Warn, "may take 60 s", "node1", "echo 30 > /sys/block/sda/device/timeout"},
	{"no watchdog", func(_ *View, one, two *facts.Facts) { leased(one, two); two.Sanlock.Watchdog = "" },
		"time budget", "node2", Fail, "no watchdog", "node2", "modprobe softdog"},
	{"no fence device", func(_ *View, _, two *facts.Facts) { two.FenceDevices = []string{"dlm_stonith"} },
		"fencing", "node2", Fail, "no fence device", "node2", `printf 'device NAME AGENT ARGUMENTS\nconnect NAME node=1\n' >> /etc/dlm/dlm.conf && reboot`},
	{"fencing never tried", func(v *View, _, _ *facts.Facts) { v.FrontEnd.Trials = []Trial{{Drill: drillPath, Node: "node1"}} },
		"fencing", "", Warn, "nobody has seen it work", "", "runuser -u oneadmin -- /usr/libexec/one-clvm/tm-clvm doctor drill network node2"},
	{"trials that cannot be read", func(v *View, _, _ *facts.Facts) { v.FrontEnd.TrialsErr = errors.New("permission denied") },
		"fencing", "", Warn, "permission denied", "", "chown -R oneadmin:oneadmin /var/lib/one/one-clvm"},
	{"home by NFS, with locks of its own", func(_ *View, one, two *facts.Facts) {
		byNFS(one, "hard", "local_lock=none")
		byNFS(two, "hard", "local_lock=all")
	}, "home", "node2", Fail, "locks of this node alone", "node2", "umount /var/lib/one/datastores/0 && mount -t nfs4 -o hard nas:/one /var/lib/one/datastores/0"},
	{"home by NFS, soft", func(_ *View, one, two *facts.Facts) { byNFS(one, "hard"); byNFS(two, "soft") },
		"home", "node2", Warn, "soft", "node2", "umount /var/lib/one/datastores/0 && mount -t nfs4 -o hard nas:/one /var/lib/one/datastores/0"},
	{"home with atime", func(_ *View, one, _ *facts.Facts) { one.Homes[0].Options = []string{"rw"} },
		"home", "node1", Warn, "noatime", "node1", "mount -o remount,noatime /var/lib/one/datastores/0"},
	{"oneadmin may not use libvirt", func(_ *View, one, _ *facts.Facts) { one.Files[facts.QemuFile] = qemuConf },
		"libvirt", "node1", Warn, "libvirt's socket", "node1", "/usr/libexec/one-clvm/tm-clvm doctor print polkit | install -D -o root -g root -m 0644 /dev/stdin /etc/polkit-1/rules.d/50-one-clvm.rules"},
	{"oneadmin may not use libvirt, old polkit", func(_ *View, one, _ *facts.Facts) { one.Files[facts.QemuFile], one.PolkitKeys = qemuConf, true },
		"libvirt", "node1", Warn, "libvirt's socket", "node1", "/usr/libexec/one-clvm/tm-clvm doctor print pkla | install -D -o root -g root -m 0644 /dev/stdin /etc/polkit-1/localauthority/50-local.d/50-one-clvm.pkla"},
	{"another user than oneadmin", func(_ *View, one, _ *facts.Facts) {
		one.Files[facts.QemuFile] = facts.File{Content: "group = \"oneadmin\"\ndynamic_ownership = 0\n"}
		one.Files[facts.PolkitFile] = facts.File{}
	}, "libvirt", "node1", Fail, "user in /etc/libvirt/qemu.conf is not set", "node1", `sed -i -e '/^[[:space:]]*user[[:space:]]*=/d' -e '$a user = "oneadmin"' /etc/libvirt/qemu.conf && systemctl restart libvirtd`},
	{"the hook's key is not let in", func(_ *View, one, _ *facts.Facts) {
		one.Hook = &facts.Reach{Host: facts.HookFile, Error: "frontend: Permission denied"}
	}, "hook ssh", "node1", Fail, "Permission denied", "", `ssh root@node1 ssh-keygen -y -f /etc/one-clvm/hook.key | sed 's|^|command="/usr/libexec/one-clvm/one-migrate-hook receive",restrict |' >> ~oneadmin/.ssh/authorized_keys`},
	{"Pacemaker without a hook", func(_ *View, one, _ *facts.Facts) {
		one.Pacemaker = &facts.Pacemaker{Quorate: true, Stonith: true, NoQuorumPolicy: "freeze", Fencing: []string{"f"}, Nodes: map[string]bool{"node1": true, "node2": true}}
	}, "hook ssh", "node1", Warn, "hook.conf names no front-end", "node1", "echo FRONTENDS=frontend >> /etc/one-clvm/hook.conf"},
	{"a part that did not answer", func(_ *View, one, _ *facts.Facts) { one.Unknown = map[string]string{"homes": "no answer within 20s"} },
		"unknown", "node1", Warn, "homes could not be looked at", "", ""},
}

// qemuConf is as it must be.
var qemuConf = facts.File{Content: "user = \"oneadmin\"\ngroup = \"oneadmin\"\ndynamic_ownership = 0\n"}

// leased makes the lock manager sanlock.
func leased(all ...*facts.Facts) {
	for _, f := range all {
		f.LVM.Groups[0].LockManager, f.LVM.Groups[0].LockArgs = "sanlock", ""
		f.Sanlock = &facts.Sanlock{Lockspaces: []string{"lvm_vg-one"}, Watchdog: "Software Watchdog"}
	}
}

// byNFS makes the home one of a server.
func byNFS(f *facts.Facts, options ...string) {
	f.Homes[0].Type, f.Homes[0].Device, f.Homes[0].Options = "nfs4", "nas:/one", append([]string{"rw"}, options...)
	f.GFS2 = nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func change(f *facts.Facts, path string, do func(*facts.File)) {
	file := f.Files[path]
	do(&file)
	f.Files[path] = file
}

func TestFaults(t *testing.T) {
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			v := healthy(t)
			c.inject(v, v.Nodes[0].Facts, v.Nodes[1].Facts)
			found := slices.DeleteFunc(Run(v), func(f Finding) bool { return f.Severity == OK })
			i := slices.IndexFunc(found, func(f Finding) bool {
				return f.Check == c.check && f.Node == c.node && strings.Contains(f.Text, c.text)
			})
			require.GreaterOrEqual(t, i, 0, "%+v", found)
			f := found[i]
			assert.Equal(t, c.severity, f.Severity)
			if c.command == "" {
				assert.Nil(t, f.Fix)
				return
			}
			require.NotNil(t, f.Fix)
			assert.Equal(t, Fix{c.on, c.command}, *f.Fix)
		})
	}
}

// One fault must not be taken for many: apart from these, each has one finding.
func TestOneFaultOneFinding(t *testing.T) {
	more := []string{"oned is down", "no TM_MAD_CONF", "another name in OpenNebula", "no memory for a failover", "active and removed", "group without a lock manager", "a guest's physical volume", "link to another VM's disk", "LVM too old"}
	for _, c := range faults {
		if slices.Contains(more, c.name) {
			continue
		}
		v := healthy(t)
		c.inject(v, v.Nodes[0].Facts, v.Nodes[1].Facts)
		found := slices.DeleteFunc(Run(v), func(f Finding) bool { return f.Severity == OK })
		assert.Len(t, found, 1, "%s: %+v", c.name, found)
	}
}
