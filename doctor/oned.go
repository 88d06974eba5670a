package doctor

import (
	"slices"
	"strings"

	"one-clvm/agent/facts"
	"one-clvm/opennebula"
)

func onedAnswers(j *judge) {
	if j.Oned.Err != nil {
		j.fail("", fix("", "systemctl start opennebula"), "oned does not answer: %v", j.Oned.Err)
	}
	j.ok("%d hosts, %d VMs", len(j.Oned.Hosts), len(j.Oned.VMs))
}

// hostHooks: two that recover VMs destroy disks. The cluster is one.
func hostHooks(j *judge) {
	clustered := false
	j.each(func(_ Node, f *facts.Facts) {
		clustered = clustered || f.Cluster != nil || f.RGManager != nil || f.Sanlock != nil
	})
	for _, h := range j.Oned.Hooks {
		if !h.OnHostError() || !clustered {
			continue
		}
		if h.ID == opennebula.None {
			j.fail("", fix("", "sed -i '/^HOST_HOOK *=/,/\\]/d' /etc/one/oned.conf && systemctl restart opennebula"), "oned.conf has a hook for lost hosts (%s): OpenNebula and the cluster would both start their VMs again", h.Command)
			continue
		}
		j.fail("", fix("", "onehook delete %d", h.ID), "hook %d (%s, %s) acts on lost hosts: OpenNebula and the cluster would both start their VMs again", h.ID, h.Name, strings.TrimSpace(h.Command+" "+h.Arguments))
	}
	j.ok("none for lost hosts")
}

// Settings is the section of oned.conf that the transfer manager needs.
const Settings = `TM_MAD_CONF = [
    NAME = "clvm", LN_TARGET = "SYSTEM", CLONE_TARGET = "SYSTEM", SHARED = "YES",
    DRIVER = "raw", DISK_TYPE = "BLOCK", ALLOW_ORPHANS = "YES", DS_MIGRATE = "YES",
    DS_MIGRATE_SNAP = "NO", DS_LIVE_MIGRATE = "NO", PERSISTENT_SNAPSHOTS = "NO"
]
`

// wantedSettings of TM_MAD_CONF whose other values lose data or capacity.
var wantedSettings = []struct {
	name   string
	values []string
}{{"SHARED", []string{"YES"}}, {"LN_TARGET", []string{"SYSTEM", "NONE"}}, {"CLONE_TARGET", []string{"SYSTEM", "SELF"}}, {"DRIVER", []string{"raw"}}}

func onedConf(j *judge) {
	if j.Oned.Daemon == nil {
		j.ok("not told by this version of oned")
		return
	}
	restart := " && systemctl restart opennebula"
	settings, there := j.Oned.Daemon.Driver("TM_MAD_CONF", ours)
	if !there {
		j.fail("", fix("", "%s doctor print oned.conf >> /etc/one/oned.conf%s", j.FrontEnd.Program, restart), "oned.conf has no TM_MAD_CONF for %s: no datastore can be made with it", ours)
	}
	for _, w := range wantedSettings {
		if got := settings[w.name]; there && !slices.Contains(w.values, got) {
			j.fail("", fix("", `sed -i -E '/^TM_MAD_CONF/{:a;/\]/!{N;ba};/"%s"/s/(%s *= *)"[^"]*"/\1"%s"/}' /etc/one/oned.conf%s`, ours, w.name, w.values[0], restart), "TM_MAD_CONF of %s has %s %q instead of %q; datastores keep what they were made with (onedatastore update)", ours, w.name, got, w.values[0])
		}
	}
	vmDrivers(j, restart)
	storing := slices.ContainsFunc(j.Oned.Datastores, func(ds opennebula.Datastore) bool { return ds.DSMAD == ours })
	if _, there := j.Oned.Daemon.Driver("DS_MAD_CONF", ours); storing && !there {
		j.fail("", fix("", `echo 'DS_MAD_CONF = [ NAME = "%s", REQUIRED_ATTRS = "", PERSISTENT_ONLY = "NO", MARKETPLACE_ACTIONS = "export" ]' >> /etc/one/oned.conf%s`, ours, restart), "oned.conf has no DS_MAD_CONF for %s, which a datastore uses", ours)
	}
	if drivers := j.Oned.Daemon.Argument("DATASTORE_MAD", "-d"); storing && len(drivers) > 0 && !slices.Contains(drivers, ours) {
		j.fail("", addDriver("DATASTORE_MAD", "-d", restart), "DATASTORE_MAD in oned.conf does not list %s behind -d: no image can be made", ours)
	}
	if drivers := j.Oned.Daemon.Argument("TM_MAD", "-d"); len(drivers) > 0 && !slices.Contains(drivers, ours) {
		j.fail("", addDriver("TM_MAD", "-d", restart), "TM_MAD in oned.conf does not list %s behind -d: no verb of its datastores is carried out", ours)
	}
	systemDrivers(j, restart)
	j.ok("oned knows the drivers")
}

// systemDrivers: since 5.0 oned monitors those system datastores whose driver is behind -s.
func systemDrivers(j *judge, then string) {
	const why = "its system datastores are never monitored"
	drivers := j.Oned.Daemon.Argument("DATASTORE_MAD", "-s")
	switch {
	case len(drivers) > 0 && !slices.Contains(drivers, ours):
		j.fail("", addDriver("DATASTORE_MAD", "-s", then), "DATASTORE_MAD in oned.conf does not list %s behind -s: %s", ours, why)
	case len(drivers) == 0 && len(j.Oned.Daemon.Argument("DATASTORE_MAD", "-d")) > 0 && j.FrontEnd.OpenNebula.AtLeast(5, 0, 0):
		j.fail("", fix("", `sed -i -E '/^DATASTORE_MAD *=/,/\]/s/(-d [^ "]+)/\1 -s %s/' /etc/one/oned.conf%s`, ours, then), "DATASTORE_MAD in oned.conf has no -s: %s", why)
	}
}

// ClusterVMM is the section of oned.conf for the driver of VMs that a cluster has.
const ClusterVMM = `VM_MAD = [ NAME = "rhcs", EXECUTABLE = "one_vmm_exec", ARGUMENTS = "-t 15 -r 0 rhcs", TYPE = "kvm", DEFAULT = "vmm_exec/vmm_exec_kvm.conf", KEEP_SNAPSHOTS = "no" ]
`

// clusterVMM is the name of that driver.
const clusterVMM = "rhcs"

// vmDrivers: the driver of each host's VMs must be known to oned, and be ours where
// Pacemaker is to keep VMs running.
func vmDrivers(j *judge, then string) {
	told := map[string]bool{}
	for _, h := range j.Oned.Hosts {
		name := h.VMMAD
		if _, there := j.Oned.Daemon.Driver("VM_MAD", name); name != "" && !there && !told[name] {
			told[name] = true
			add := fix("", "grep -n VM_MAD /etc/one/oned.conf")
			if name == clusterVMM {
				add = fix("", "%s doctor print vm_mad >> /etc/one/oned.conf%s", j.FrontEnd.Program, then)
			}
			j.fail("", add, "oned.conf has no VM_MAD %s, which host %s uses: no VM is started there", name, h.Name)
		}
		f := j.factsOf(h.Name)
		if f != nil && f.Pacemaker != nil && name != "" && name != clusterVMM {
			j.warn(h.Name, fix("", "onehost delete %s && onehost create %s -i kvm -v %s", h.Name, h.Name, clusterVMM), "it runs Pacemaker, and its VMs are %s's: the cluster does not start them on another node. The command wants the host without VMs", name)
		}
	}
}

// addDriver appends ours to the list behind an option.
func addDriver(section, option, then string) *Fix {
	return fix("", `sed -i -E '/^%s *=/,/\]/s/(%s )([^ "]+)/\1\2,%s/' /etc/one/oned.conf%s`, section, option, ours, then)
}
