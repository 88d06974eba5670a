package doctor

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"one-clvm/agent/facts"
	"one-clvm/cxmrc"
	"one-clvm/internal/assignment"
	"one-clvm/internal/lazyregexp"
	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
	sudoers "one-clvm/sudoers.d"
	"one-clvm/udev"
)

// install is how a file that the suite ships gets to its place.
func install(n Node, v *View, name, path, mode, then string) *Fix {
	return fix(n.Name, "%s doctor print %s | install -D -o root -g root -m %s /dev/stdin %s%s", v.FrontEnd.Program, name, mode, path, then)
}

// adviceInError is a command that the error of an agent ends with.
var adviceInError = lazyregexp.New(`run: (ch(?:mod|own) [\w+-]+ [\w./-]+)$`)

func reachable(j *judge) {
	for _, n := range j.Nodes {
		if n.Err == nil {
			continue
		}
		text := n.Err.Error()
		m := adviceInError.FindStringSubmatch(text)
		switch {
		case m != nil:
			j.fail(n.Name, fix(n.Name, "%s", m[1]), "%s", text)
		case strings.Contains(text, "password is required"), strings.Contains(text, "a terminal is required"):
			j.fail(n.Name, agentRule.fix(n, j.View), "oneadmin may not start the agent by sudo: %s", text)
		case strings.Contains(text, "Host key verification"):
			j.fail(n.Name, fix("", "runuser -u oneadmin -- ssh-keyscan %s >> ~oneadmin/.ssh/known_hosts", n.Name), "%s; compare the key with that of the node before you trust it", text)
		case strings.Contains(text, "Permission denied"):
			j.fail(n.Name, fix("", "runuser -u oneadmin -- ssh-copy-id %s", n.Name), "%s", text)
		case strings.Contains(text, "command not found"), strings.Contains(text, "No such file"):
			j.fail(n.Name, copyProgram(n, j.View), "%s", text)
		default:
			j.fail(n.Name, fix("", "runuser -u oneadmin -- ssh %s true", n.Name), "%s; the command shows more", text)
		}
	}
	j.ok("%d nodes answer", len(j.Nodes))
}

func copyProgram(n Node, v *View) *Fix {
	return fix("", "scp %s root@%s:%s", v.FrontEnd.Program, n.Name, v.FrontEnd.Program)
}

// rule is a file of sudo that the suite ships.
type rule struct {
	printed, path, content string // printed: what doctor print calls it
	without                string // what there is without it
}

var (
	agentRule = rule{"sudoers", facts.SudoersFile, sudoers.Rule, "another rule lets oneadmin start the agent, perhaps a wider one"}
	vmmRule   = rule{"sudoers-vmm", facts.SudoersVMM, sudoers.VMMRule, "oneadmin cannot start the VMM driver's end there: no VM is deployed, migrated or stopped"}
	hookRule  = rule{"sudoers-hook", facts.SudoersHook, sudoers.HookRule, "the front-end cannot ask where VMs are"}
)

func (r rule) fix(n Node, v *View) *Fix { return install(n, v, r.printed, r.path, "0440", "") }

// sudoRule: what is there is as it was shipped, and what the node's part in it needs is there.
func sudoRule(j *judge) {
	ofCluster := map[string]bool{}
	for _, h := range j.Oned.Hosts {
		ofCluster[h.Name] = h.VMMAD == onedconf.ClusterDriver
	}
	j.each(func(n Node, f *facts.Facts) {
		agentRule.judge(j, n, f, true)
		vmmRule.judge(j, n, f, ofCluster[n.Name])
		hookRule.judge(j, n, f, f.Hook != nil)
	})
	j.ok("the rules of sudo are as shipped: one program each")
}

func (r rule) judge(j *judge, n Node, f *facts.Facts, needed bool) {
	file, told := f.Files[r.path]
	switch {
	case !told, file.Missing && !needed:
	case file.Missing:
		j.fail(n.Name, r.fix(n, j.View), "%s is missing: %s", r.path, r.without)
	case file.Content != r.content:
		j.fail(n.Name, r.fix(n, j.View), "%s is not as it was shipped: oneadmin may do more as root, or less, than it should", r.path)
	case file.UID != 0 || file.Mode&0o022 != 0 || file.Links:
		j.fail(n.Name, r.fix(n, j.View), "%s can be written by others than root (mode %04o, user %d)", r.path, file.Mode, file.UID)
	}
}

func versions(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		if f.Version != j.FrontEnd.Version {
			j.warn(n.Name, copyProgram(n, j.View), "it has version %s, the front-end %s", f.Version, j.FrontEnd.Version)
		}
	})
	j.ok("%s everywhere", j.FrontEnd.Version)
}

// Clocks that differ more than this are told; GFS2 takes the times of files from the node
// that wrote them.
const (
	skewTold = 2 * time.Second
	skewBad  = 30 * time.Second
)

func clocks(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		skew := skewOf(n, f)
		if skew.Abs() <= skewTold {
			return
		}
		set := fix("", "ssh root@%s date -s @$(date +%%s)", n.Name)
		if f.Tools["chronyc"] {
			set = fix(n.Name, "chronyc makestep")
		}
		severity, word := Warn, "ahead of"
		if skew.Abs() > skewBad {
			severity = Fail
		}
		if skew < 0 {
			word = "behind"
		}
		j.add(severity, n.Name, set, "its clock is %s %s the front-end's", skew.Abs().Round(100*time.Millisecond), word)
	})
	j.ok("within %s", skewTold)
}

// skewOf is how much a node's clock is ahead of the front-end's at least; negative is behind.
// A node began after it was asked, and ended before its answer was there: only a clock that
// says otherwise is wrong, however long the ways took.
func skewOf(n Node, f *facts.Facts) time.Duration {
	if ahead := f.Finished.Sub(n.Answered); ahead > 0 {
		return ahead
	}
	return min(0, f.Started.Sub(n.Asked))
}

// packages that programs come from, as Debian calls them.
var packages = map[string]string{
	"corosync": "corosync", "virsh": "libvirt-daemon", "qemu-img": "qemu-utils", "find": "findutils",
	"lvm": "lvm2", "dmsetup": "dmsetup", "lvmlockctl": "lvm2-lockd", "dlm_tool": "dlm-controld", "sanlock": "sanlock", "gfs2_edit": "gfs2-utils",
	"mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs", "mkfs.vfat": "dosfstools", "mkfs.ext2": "e2fsprogs", "mkfs.ext3": "e2fsprogs", "mkfs.ext4": "e2fsprogs", "mkswap": "util-linux",
}

// oldestLVM has reports in JSON.
const oldestLVM = "2.02.158"

func programs(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		for _, program := range needed(f) {
			if here, told := f.Tools[program]; told && !here {
				j.fail(n.Name, fix(n.Name, "apt-get install %s", packages[program]), "%s is not installed", program)
			}
		}
		if f.LVM != nil && older(f.LVM.Version, oldestLVM) {
			j.fail(n.Name, upgrade(n, "lvm"), "LVM %s is too old: %s is the first with reports in JSON", f.LVM.Version, oldestLVM)
		}
	})
	differing(j)
	storing := slices.ContainsFunc(j.Oned.Datastores, func(ds opennebula.Datastore) bool { return ds.DSMAD == ours })
	if storing && !j.FrontEnd.Installed("qemu-img") {
		j.warn("", fix("", "apt-get install %s", packages["qemu-img"]), "qemu-img is not installed on the front-end: no image can be made of a QCOW2 disk")
	}
	j.ok("all programs that are needed, of the same versions")
}

func upgrade(n Node, program string) *Fix {
	return fix(n.Name, "apt-get install --only-upgrade %s", packages[program])
}

// differing: nodes of a cluster lock, and move VMs, together.
func differing(j *judge) {
	newest := map[string]string{}
	j.each(func(_ Node, f *facts.Facts) {
		for program, version := range versionsOf(f) {
			if older(newest[program], version) {
				newest[program] = version
			}
		}
	})
	j.each(func(n Node, f *facts.Facts) {
		versions := versionsOf(f)
		for _, program := range sortedKeys(versions) {
			if older(versions[program], newest[program]) {
				j.warn(n.Name, upgrade(n, program), "%s is %s, and %s on another node: what was tried there may not work here", program, versions[program], newest[program])
			}
		}
	})
}

func versionsOf(f *facts.Facts) map[string]string {
	all := maps.Clone(f.Versions)
	if all == nil {
		all = map[string]string{}
	}
	if f.LVM != nil && f.LVM.Version != "" {
		all["lvm"] = f.LVM.Version
	}
	return all
}

// needed are the programs that a node cannot do without, for what it is.
func needed(f *facts.Facts) []string {
	if f.LVM == nil && len(f.FileGroups) > 0 {
		return []string{"mkfs.ext4"}
	}
	list := []string{"lvm", "dmsetup", "find"}
	if f.LVM != nil {
		for _, g := range f.LVM.Groups {
			switch g.LockManager {
			case "dlm":
				list = append(list, "lvmlockctl", "dlm_tool")
			case "sanlock":
				list = append(list, "lvmlockctl", "sanlock")
			}
		}
	}
	if len(f.GFS2) > 0 {
		list = append(list, "gfs2_edit")
	}
	return append(list, fileSystems(f)...)
}

// fileSystems are the programs for FSTYPES in agent.conf.
func fileSystems(f *facts.Facts) []string {
	cfg, err := agentConf(f)
	if err != nil {
		return nil // the check of agent.conf tells
	}
	var list []string
	for _, fs := range cfg.List("FSTYPES") {
		if fs == "swap" {
			list = append(list, "mkswap")
			continue
		}
		list = append(list, "mkfs."+fs)
	}
	return list
}

func agentConf(f *facts.Facts) (*cxmrc.Config, error) {
	return cxmrc.Parse(strings.NewReader(f.Files[facts.AgentFile].Content), facts.AgentFile, cxmrc.Agent)
}

func agentConfs(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		cfg, err := agentConf(f)
		if err != nil {
			j.fail(n.Name, nil, "%v", err)
			return
		}
		if mine, its := j.FrontEnd.Config.String("LV_PREFIX"), cfg.String("LV_PREFIX"); mine != its {
			j.fail(n.Name, setting(n, "LV_PREFIX", mine), "LV_PREFIX is %s, in cxmrc %s: the agent refuses the front-end's disks", its, mine)
		}
		allowed := cfg.List("ALLOWED_VGS")
		for _, group := range j.groups() {
			if !slices.Contains(allowed, group) {
				j.fail(n.Name, setting(n, "ALLOWED_VGS", strings.Join(append(allowed, group), " ")), "volume group %s is not in ALLOWED_VGS: every verb there is refused", group)
			}
		}
	})
	j.ok("allows what the front-end asks for")
}

// setting changes a variable in agent.conf, or adds it.
func setting(n Node, name, value string) *Fix {
	return fix(n.Name, `sed -i -e '/^%s=/d' -e '$a %s="%s"' %s`, name, name, value, facts.AgentFile)
}

func udevRules(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		file, told := f.Files[facts.UdevFile]
		if !told || f.LVM == nil {
			return
		}
		set := install(n, j.View, "udev", facts.UdevFile, "0644", " && udevadm control --reload && udevadm trigger --subsystem-match=block")
		switch {
		case file.Missing:
			j.warn(n.Name, set, "%s is missing: devices that something else than the suite activates do not belong to oneadmin", facts.UdevFile)
		case file.Content != udev.Rules && !strings.Contains(file.Content, j.FrontEnd.Config.String("LV_PREFIX")+"-"):
			j.warn(n.Name, set, "%s does not speak of volumes %s-…", facts.UdevFile, j.FrontEnd.Config.String("LV_PREFIX"))
		}
	})
	j.ok("installed")
}

func names(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		if f.Cluster == nil || len(f.Cluster.Nodes) == 0 {
			return
		}
		for _, member := range f.Cluster.Nodes {
			if member.Name == n.Name {
				return
			}
		}
		rename := fix("", "onehost rename %s %s", n.Name, f.Hostname)
		j.fail(n.Name, rename, "OpenNebula calls it %s, and the cluster knows no such node (it has %s): a failover could not be told", n.Name, memberNames(f))
	})
	j.ok("the same in OpenNebula and in the cluster")
}

func memberNames(f *facts.Facts) string {
	var list []string
	for _, m := range f.Cluster.Nodes {
		list = append(list, m.Name)
	}
	return strings.Join(list, ", ")
}

// QemuSettings are those of libvirt that disks owned by oneadmin need.
var QemuSettings = []struct{ Name, Value string }{{"user", `"oneadmin"`}, {"group", `"oneadmin"`}, {"dynamic_ownership", "0"}}

func libvirt(j *judge) {
	installed := 0
	j.each(func(n Node, f *facts.Facts) {
		file, told := f.Files[facts.QemuFile]
		if !told || file.Missing {
			return
		}
		installed++
		for _, s := range QemuSettings {
			if got, _ := assignment.Find(file.Content, s.Name); got.Written != s.Value {
				j.fail(n.Name, fix(n.Name, `sed -i -e '/^[[:space:]]*%s[[:space:]]*=/d' -e '$a %s = %s' %s && systemctl restart libvirtd`, s.Name, s.Name, s.Value, facts.QemuFile),
					"%s in %s is %s instead of %s", s.Name, facts.QemuFile, orDefault(got.Written), s.Value)
			}
		}
		if f.Files[facts.PolkitOld].Missing && f.Files[facts.PolkitFile].Missing && f.Files[facts.LibvirtFile].Content == "" {
			set := install(n, j.View, "polkit", facts.PolkitFile, "0644", "")
			if f.PolkitKeys {
				set = install(n, j.View, "pkla", facts.PolkitOld, "0644", "")
			}
			j.warn(n.Name, set, "nothing that is known here (%s, %s, unix_sock_group) lets oneadmin use libvirt's socket; try on the node: runuser -u oneadmin -- virsh -c qemu:///system list", facts.PolkitOld, facts.PolkitFile)
		}
	})
	if installed == 0 {
		j.ok("no libvirt on any node")
		return
	}
	j.ok("as disks that belong to oneadmin need it")
}

func orDefault(value string) string {
	if value == "" {
		return "not set"
	}
	return value
}

func hookSSH(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		if f.FrontEnd != nil && f.FrontEnd.Error != "" {
			j.warn(n.Name, fix(n.Name, "runuser -u oneadmin -- ssh-copy-id %s", f.FrontEnd.Host), "oneadmin does not reach %s from there, so the cluster cannot tell OpenNebula of a failover: %s", f.FrontEnd.Host, f.FrontEnd.Error)
		}
	})
	j.each(hookInstalled(j))
	j.ok("the nodes reach the front-end by ssh")
}

// hookInstalled: where a cluster manager starts VMs, its hook must be able to tell.
func hookInstalled(j *judge) func(n Node, f *facts.Facts) {
	return func(n Node, f *facts.Facts) {
		switch {
		case f.Hook != nil && f.Hook.Error != "":
			key := `ssh root@%s ssh-keygen -y -f /etc/one-clvm/hook.key | sed 's|^|command="/usr/libexec/one-clvm/one-migrate-hook receive",restrict |' >> ~oneadmin/.ssh/authorized_keys`
			j.fail(n.Name, fix("", key, n.Name), "the hook does not reach the front-ends of %s: %s. The command lets its key in", f.Hook.Host, f.Hook.Error)
		case f.Hook == nil && (f.Pacemaker != nil || f.RGManager != nil):
			j.warn(n.Name, fix(n.Name, "echo FRONTENDS=%s >> %s", j.FrontEnd.Name, facts.HookFile), "%s names no front-end: nobody tells OpenNebula where the cluster has started VMs; see docs/hook.md for the rest of it", facts.HookFile)
		}
	}
}

// older compares versions such as 2.03.16. What is no number ends a version.
func older(version, than string) bool {
	return slices.Compare(numbers(version), numbers(than)) < 0
}

func numbers(version string) []int {
	var all []int
	for _, part := range strings.Split(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		all = append(all, n)
	}
	return all
}
