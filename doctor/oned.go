package doctor

import (
	"fmt"
	"strings"

	"one-clvm/agent/facts"
	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
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

func onedConf(j *judge) {
	if j.Oned.Daemon == nil {
		j.ok("not told by this version of oned")
		return
	}
	set := fix("", "%s setup frontend --yes && systemctl restart opennebula", j.FrontEnd.Program)
	w := onedconf.Wiring{Release: j.FrontEnd.OpenNebula}
	for _, ds := range j.Oned.Datastores {
		w.Stores = w.Stores || ds.DSMAD == ours
		if wrong := w.DatastoreAttributes(ds); len(wrong) > 0 {
			j.warn("", set, "datastore %d needs %s in its template: else oned counts its disks where they take no space, or forgets their snapshots", ds.ID, strings.ReplaceAll(opennebula.TemplateText(wrong), "\n", ", "))
		}
	}
	for _, h := range j.Oned.Hosts {
		w.Clusters = w.Clusters || h.VMMAD == onedconf.ClusterDriver
	}
	for _, gap := range w.Gaps(j.Oned.Daemon) {
		j.fail("", set, "%s", gap.Problem)
	}
	vmDrivers(j)
	j.ok("oned knows the drivers")
}

// createHost is the command that makes a node a host. Since 5.12 the suite's own probes ask those of
// a cluster; before, kvm's do, by the driver's poll.
func (v *View) createHost(node, vmm string) string {
	im := "kvm"
	if vmm == onedconf.ClusterDriver && v.FrontEnd.OpenNebula.AtLeast(5, 12, 0) {
		im = vmm
	}
	return fmt.Sprintf("onehost create %s -i %s -v %s", node, im, vmm)
}

// vmDrivers: the driver of each host's VMs must be known to oned, and be ours where
// Pacemaker is to keep VMs running.
func vmDrivers(j *judge) {
	const clusterVMM = onedconf.ClusterDriver
	told := map[string]bool{clusterVMM: true} // it is one of the gaps
	for _, h := range j.Oned.Hosts {
		name := h.VMMAD
		if _, there := j.Oned.Daemon.Driver("VM_MAD", name); name != "" && !there && !told[name] {
			told[name] = true
			j.fail("", fix("", "grep -n VM_MAD /etc/one/oned.conf"), "oned.conf has no VM_MAD %s, which host %s uses: no VM is started there", name, h.Name)
		}
		f := j.factsOf(h.Name)
		if f != nil && f.Pacemaker != nil && name != "" && name != clusterVMM {
			j.warn(h.Name, fix("", "onehost delete %s && %s", h.Name, j.createHost(h.Name, clusterVMM)), "it runs Pacemaker, and its VMs are %s's: the cluster does not start them on another node. The command wants the host without VMs", name)
		}
	}
}
