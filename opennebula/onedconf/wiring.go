package onedconf

import (
	"fmt"
	"slices"
	"strings"

	"one-clvm/opennebula"
)

// Names that oned knows the drivers by.
const (
	StorageDriver = "clvm" // the transfer manager, and the datastore driver
	ClusterDriver = "rhcs" // of VMs that a cluster has
)

// Wiring is what an installation wants of oned.conf. Whatever the version does not know is
// not wanted.
type Wiring struct {
	Release opennebula.Version
	// Stores: images are volumes on the SAN, too.
	Stores bool
	// Clusters: VMs are services of a cluster; Xen: its hypervisor is Xen, not KVM.
	Clusters, Xen bool
	// MigrateLocal: a migration is begun by the front-end, so that it works when the node
	// where the VM was is dead.
	MigrateLocal bool
}

// Gap is one thing that is missing or wrong.
type Gap struct {
	Problem string // what, and what comes of it
	edit    func(*File) (*File, error)
}

// attributesOfTM are what oned must know of the transfer manager, in the order in which they
// are written: where other values than these lose data or capacity, with those that are right.
var attributesOfTM = []struct {
	name, value string
	right       []string
	since       [2]int
}{
	{"LN_TARGET", "SYSTEM", []string{"SYSTEM", "NONE"}, [2]int{4, 4}},
	{"CLONE_TARGET", "SYSTEM", []string{"SYSTEM", "SELF"}, [2]int{4, 4}},
	{"SHARED", "YES", []string{"YES"}, [2]int{4, 4}},
	{"DS_MIGRATE", "YES", nil, [2]int{5, 0}},
	{"DRIVER", "raw", []string{"raw"}, [2]int{5, 4}},
	{"ALLOW_ORPHANS", "YES", nil, [2]int{5, 4}},
	{"DISK_TYPE", "BLOCK", nil, [2]int{5, 6}},
	{"PERSISTENT_SNAPSHOTS", "NO", nil, [2]int{7, 0}},
	{"DS_MIGRATE_SNAP", "NO", nil, [2]int{7, 2}},
	{"DS_LIVE_MIGRATE", "NO", nil, [2]int{7, 2}},
}

// inherited are the attributes of datastores that disks must get.
var inherited = []struct {
	name  string
	since [2]int
}{{"DISK_TYPE", [2]int{5, 4}}, {"ALLOW_ORPHANS", [2]int{5, 4}}, {"PERSISTENT_SNAPSHOTS", [2]int{7, 0}}}

func (w Wiring) since(v [2]int) bool { return w.Release.AtLeast(v[0], v[1], 0) }

// Gaps judges what oned has, or will have of a file.
func (w Wiring) Gaps(c *opennebula.DaemonConfig) []Gap {
	var all []Gap
	all = append(all, w.vmDriver(c)...)
	all = append(all, w.lists(c)...)
	all = append(all, w.storage(c)...)
	return append(all, w.inheritance(c)...)
}

// Edit makes what is missing in a file: the file itself where nothing is.
func (w Wiring) Edit(f *File) (*File, []Gap, error) {
	gaps := w.Gaps(f.Config())
	for _, g := range gaps {
		changed, err := g.edit(f)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", g.Problem, err)
		}
		f = changed
	}
	if left := w.Gaps(f.Config()); len(left) > 0 {
		return nil, nil, fmt.Errorf("after all changes there is still: %s; change it by hand", left[0].Problem)
	}
	return f, gaps, nil
}

func adding(kind, lines string) func(*File) (*File, error) {
	return func(f *File) (*File, error) { return f.add(kind, lines) }
}

// vmDriver: one VM_MAD for the cluster's VMs.
func (w Wiring) vmDriver(c *opennebula.DaemonConfig) []Gap {
	if !w.Clusters {
		return nil
	}
	settings, there := c.Driver("VM_MAD", ClusterDriver)
	if !there {
		return []Gap{{fmt.Sprintf("oned.conf has no VM_MAD %s: no VM is started by the cluster", ClusterDriver), adding("VM_MAD", w.vmMAD())}}
	}
	arguments := settings["ARGUMENTS"]
	if !w.MigrateLocal || strings.Contains(arguments, "migrate=migrate_local") {
		return nil
	}
	return []Gap{{fmt.Sprintf("VM_MAD %s has no -l migrate=migrate_local: no VM can be told to have left a dead node", ClusterDriver), func(f *File) (*File, error) {
		if _, local := listOf(arguments, "-l"); local {
			return nil, fmt.Errorf("its ARGUMENTS have another -l: add migrate=migrate_local to it by hand")
		}
		return f.set(f.find("VM_MAD", ClusterDriver), "ARGUMENTS", "-l migrate=migrate_local "+arguments)
	}}}
}

// EditMonitor adds to monitord.conf what has hosts asked by the suite's probes: im/rhcs.d and
// im/rhcs-probes.d. Since 5.12; before, IM_MAD kvm asks by poll. problem is what was missing, ""
// where nothing is.
func (w Wiring) EditMonitor(f *File) (after *File, problem string, err error) {
	if _, there := f.Config().Driver("IM_MAD", ClusterDriver); there || !w.Clusters || !w.since([2]int{5, 12}) {
		return f, "", nil
	}
	after, err = f.add("IM_MAD", section("IM_MAD", []string{
		assign("NAME", ClusterDriver), assign("SUNSTONE_NAME", "KVM, cluster"), assign("EXECUTABLE", "one_im_ssh"),
		assign("ARGUMENTS", "-r 3 -t 15 -w 90 "+ClusterDriver), "THREADS = 0",
	}))
	return after, fmt.Sprintf("monitord.conf has no IM_MAD %s: the state of the cluster's VMs is not asked of the cluster", ClusterDriver), err
}

// vmMAD is the section for the cluster's VMs.
func (w Wiring) vmMAD() string {
	arguments, kind, defaults := "-t 15 -r 0 "+ClusterDriver, "kvm", "vmm_exec/vmm_exec_kvm.conf"
	if w.MigrateLocal {
		arguments = "-t 15 -r 0 -l migrate=migrate_local " + ClusterDriver
	}
	if w.Xen {
		kind, defaults = "xen", w.XenDefaults()
	}
	lines := []string{assign("NAME", ClusterDriver), assign("EXECUTABLE", "one_vmm_exec"), assign("ARGUMENTS", arguments), assign("DEFAULT", defaults), assign("TYPE", kind)}
	if w.since([2]int{5, 0}) {
		lines = append(lines, assign("KEEP_SNAPSHOTS", "no"))
	}
	return section("VM_MAD", lines)
}

// XenDefaults is the file in /etc/one with the defaults of Xen's VMs.
func (w Wiring) XenDefaults() string {
	if w.since([2]int{4, 4}) {
		return "vmm_exec/vmm_exec_xen4.conf"
	}
	return "vmm_exec/vmm_exec_xen.conf"
}

func assign(name, value string) string { return name + " = " + quote(value) }

func section(kind string, settings []string) string {
	return kind + " = [\n    " + strings.Join(settings, ",\n    ") + "\n]"
}

// lists: the drivers that oned may use. A list that is not there allows all.
func (w Wiring) lists(c *opennebula.DaemonConfig) []Gap {
	var all []Gap
	for _, list := range []struct {
		kind, option, why string
		wanted            bool
		must              bool // without it nothing is allowed
	}{
		{"TM_MAD", "-d", "no verb of its datastores is carried out", true, false},
		{"DATASTORE_MAD", "-d", "no image can be made", w.Stores, false},
		// Since 5.0 oned monitors those system datastores whose driver is behind -s.
		{"DATASTORE_MAD", "-s", "its system datastores are never monitored", w.since([2]int{5, 0}), len(c.Argument("DATASTORE_MAD", "-d")) > 0},
	} {
		drivers := c.Argument(list.kind, list.option)
		if !list.wanted || slices.Contains(drivers, StorageDriver) || len(drivers) == 0 && !list.must {
			continue
		}
		all = append(all, Gap{fmt.Sprintf("%s in oned.conf does not list %s behind %s: %s", list.kind, StorageDriver, list.option, list.why), func(f *File) (*File, error) {
			return f.setArgument(list.kind, list.option, StorageDriver, "-d")
		}})
	}
	return all
}

// storage: how oned counts and keeps disks, since 4.4.
func (w Wiring) storage(c *opennebula.DaemonConfig) []Gap {
	if !w.since([2]int{4, 4}) {
		return nil
	}
	var all []Gap
	settings, there := c.Driver("TM_MAD_CONF", StorageDriver)
	if !there {
		all = append(all, Gap{fmt.Sprintf("oned.conf has no TM_MAD_CONF for %s: no datastore can be made with it", StorageDriver), adding("TM_MAD_CONF", w.tmConf())})
	}
	for _, a := range attributesOfTM {
		if got := settings[a.name]; there && w.since(a.since) && a.right != nil && !slices.Contains(a.right, got) {
			all = append(all, Gap{fmt.Sprintf("TM_MAD_CONF of %s has %s %q instead of %q; datastores keep what they were made with (onedatastore update)", StorageDriver, a.name, got, a.value), func(f *File) (*File, error) {
				return f.set(f.find("TM_MAD_CONF", StorageDriver), a.name, a.value)
			}})
		}
	}
	if _, there := c.Driver("DS_MAD_CONF", StorageDriver); w.Stores && !there {
		all = append(all, Gap{fmt.Sprintf("oned.conf has no DS_MAD_CONF for %s: no datastore for images on the SAN can be made", StorageDriver),
			adding("DS_MAD_CONF", section("DS_MAD_CONF", []string{assign("NAME", StorageDriver) + ", " + assign("REQUIRED_ATTRS", "") + ", " + assign("PERSISTENT_ONLY", "NO"), assign("MARKETPLACE_ACTIONS", "export")}))})
	}
	return all
}

// tmConf is the section of the transfer manager.
func (w Wiring) tmConf() string {
	words := []string{assign("NAME", StorageDriver)}
	for _, a := range attributesOfTM {
		if w.since(a.since) {
			words = append(words, assign(a.name, a.value))
		}
	}
	var lines []string
	for few := range slices.Chunk(words, 4) {
		lines = append(lines, strings.Join(few, ", "))
	}
	return section("TM_MAD_CONF", lines)
}

// inheritance: what a disk gets of its datastore.
func (w Wiring) inheritance(c *opennebula.DaemonConfig) []Gap {
	var all []Gap
	for _, a := range inherited {
		if w.since(a.since) && !slices.Contains(c.Values("INHERIT_DATASTORE_ATTR"), a.name) {
			all = append(all, Gap{fmt.Sprintf("oned.conf has no INHERIT_DATASTORE_ATTR %s: disks do not get it from their datastore", a.name),
				adding("INHERIT_DATASTORE_ATTR", `INHERIT_DATASTORE_ATTR  = "`+a.name+`"`)})
		}
	}
	return all
}

// DatastoreAttributes are those that the template of an image datastore lacks, or has with another
// value: where its disks take space, which TM_MAD_CONF says once for all datastores. None for a
// datastore that is not the suite's.
func (w Wiring) DatastoreAttributes(ds opennebula.Datastore) []opennebula.Attribute {
	if ds.TMMAD != StorageDriver || ds.Type != opennebula.DatastoreImage || !w.since([2]int{4, 4}) {
		return nil
	}
	lent, copied := "SYSTEM", "SYSTEM" // image files are copied into the system datastore's group
	if ds.DSMAD == StorageDriver {
		lent, copied = "NONE", "SELF"
	}
	all := []opennebula.Attribute{{Name: "LN_TARGET", Value: lent}, {Name: "CLONE_TARGET", Value: copied}, {Name: "DISK_TYPE", Value: "BLOCK"}}
	if ds.DSMAD == StorageDriver && w.since([2]int{7, 0}) {
		all = append(all, opennebula.Attribute{Name: "PERSISTENT_SNAPSHOTS", Value: "YES"})
	}
	return slices.DeleteFunc(all, func(a opennebula.Attribute) bool { return strings.EqualFold(ds.Template[a.Name], a.Value) })
}
