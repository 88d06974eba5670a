package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"one-clvm/agent/facts"
	"one-clvm/gfs2"
	"one-clvm/internal/membership"
	"one-clvm/lvm/lvm2"
	"one-clvm/opennebula"
	"one-clvm/opennebula/onedconf"
)

// sharedGroups are the groups of oned's datastores that a lock manager of lvmlockd serves.
func (v *View) sharedGroups(f *facts.Facts) []lvm2.GroupState {
	var list []lvm2.GroupState
	for _, group := range v.groups() {
		if g, ok := state(f, group); ok && lvmlockd(g) {
			list = append(list, g)
		}
	}
	return list
}

func lockManagers(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		for _, g := range j.sharedGroups(f) {
			lockManager(j, n, f, g)
		}
	})
	j.ok("lock managers and lock spaces are up")
}

func lockManager(j *judge, n Node, f *facts.Facts, g lvm2.GroupState) {
	join := "vgchange --lockstart " + g.Name
	switch {
	case g.LockManager == "dlm" && f.Cluster == nil:
		j.fail(n.Name, start(n, "corosync", "corosync"), "volume group %s is locked by dlm, and no cluster runs here", g.Name)
	case g.LockManager == "dlm" && f.DLM == nil:
		j.fail(n.Name, start(n, "dlm", "dlm_controld"), "dlm_controld does not answer: no lock of volume group %s can be had", g.Name)
	case g.LockManager == "sanlock" && f.Sanlock == nil:
		j.fail(n.Name, start(n, "sanlock", "sanlock daemon"), "sanlock does not answer: no lock of volume group %s can be had", g.Name)
	case f.LVM.Lockspaces == nil:
		f := start(n, "lvmlockd", "lvmlockd -g "+g.LockManager)
		f.Command += " && " + join
		j.fail(n.Name, f, "lvmlockd does not answer: no lock of volume group %s can be had", g.Name)
	case !slices.Contains(f.LVM.Lockspaces, g.Name):
		j.fail(n.Name, fix(n.Name, "%s", join), "the lock space of volume group %s is not started", g.Name)
	case g.LockManager == "dlm":
		space, _ := f.DLM.Lockspace("lvm_" + g.Name)
		if space.Changing {
			j.fail(n.Name, fix(n.Name, "dlm_tool status"), "the lock space of volume group %s waits for the cluster, probably for a fencing; the command shows for which node", g.Name)
		}
		if _, cluster, found := strings.Cut(g.LockArgs, ":"); found && f.Cluster.Name != cluster {
			j.fail(n.Name, fix(n.Name, "vgchange --lock-type none --lock-opt force %s && vgchange --lock-type dlm %s", g.Name, g.Name), "volume group %s is locked by cluster %s, and this cluster is %s; all volumes must be off for the command", g.Name, cluster, f.Cluster.Name)
		}
	}
}

func quorum(j *judge) {
	told := map[string]bool{}
	j.each(func(n Node, f *facts.Facts) {
		if f.Cluster == nil {
			return
		}
		if !f.Cluster.Quorate {
			j.fail(n.Name, fix(n.Name, "corosync-quorumtool -s"), "its part of the cluster has no quorum: nothing can be locked or started there; start the nodes that are missing")
		}
		for _, member := range f.Cluster.Nodes {
			if member.Present || told[member.Name] {
				continue
			}
			told[member.Name] = true
			absent := Node{Name: member.Name, Facts: j.factsOf(member.Name)}
			j.fail(member.Name, start(absent, "corosync", "corosync"), "%s does not see it in the cluster", n.Name)
		}
	})
	j.ok("quorum, and all nodes are there")
}

func (v *View) factsOf(node string) *facts.Facts {
	for _, n := range v.Nodes {
		if n.Name == node {
			return n.Facts
		}
	}
	return nil
}

// members: corosync, the lock manager and the stack must agree on who is there, or one of
// them would recover what another one still runs.
func members(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		if f.Cluster == nil {
			return
		}
		present := map[string]bool{}
		for _, m := range f.Cluster.Nodes {
			present[m.Name] = m.Present
		}
		if f.DLM != nil {
			for _, g := range j.sharedGroups(f) {
				j.compareDLM(n, f, "lvm_"+g.Name)
			}
		}
		if f.Pacemaker != nil {
			j.compare(n, present, f.Pacemaker.Nodes, "Pacemaker", "crm_node -l")
		}
		if f.RGManager != nil {
			j.compare(n, present, f.RGManager.Nodes, "rgmanager", "clustat")
		}
		for name := range present {
			if len(j.Oned.Hosts) > 0 && !j.isHost(name) && j.isHost(n.Name) {
				j.warn(n.Name, fix("", "%s", j.createHost(name, j.vmmOf(n.Name))), "the cluster has a node %s that is no host of OpenNebula: VMs may be started there behind its back", name)
			}
		}
	})
	j.ok("the same for corosync, dlm and the stack")
}

func (j *judge) compareDLM(n Node, f *facts.Facts, name string) {
	space, in := f.DLM.Lockspace(name)
	if !in || space.Changing {
		return // the check of lock managers tells
	}
	for _, id := range f.Cluster.Present() {
		node := f.Cluster.NodeName(id)
		if !slices.Contains(space.Members, id) {
			j.fail(node, fix(node, "vgchange --lockstart %s", strings.TrimPrefix(name, "lvm_")), "it is in the cluster, and %s does not see it in lock space %s", n.Name, name)
		}
	}
}

func (j *judge) compare(n Node, present, stack map[string]bool, name, look string) {
	for _, node := range sortedKeys(present) {
		if present[node] != stack[node] {
			j.fail(node, fix(n.Name, "%s", look), "corosync on %s says that it is %s, %s that it is %s", n.Name, there(present[node]), name, there(stack[node]))
		}
	}
}

func there(present bool) string {
	if present {
		return "there"
	}
	return "not there"
}

func (v *View) isHost(name string) bool {
	return slices.ContainsFunc(v.Oned.Hosts, func(h opennebula.Host) bool { return h.Name == name })
}

// vmmOf is the driver of a host's VMs, which the other nodes of its cluster have, too.
func (v *View) vmmOf(host string) string {
	for _, h := range v.Oned.Hosts {
		if h.Name == host && h.VMMAD != "" {
			return h.VMMAD
		}
	}
	return onedconf.ClusterDriver
}

func fencing(j *judge) {
	waiting := map[int]bool{}
	j.each(func(n Node, f *facts.Facts) {
		if f.DLM != nil && f.Cluster != nil {
			if !f.DLM.Fencing {
				j.fail(n.Name, fix(n.Name, "sed -i 's/^enable_fencing=0/enable_fencing=1/' /etc/dlm/dlm.conf && reboot"), "dlm does not fence: after the loss of a node two can write to one disk. dlm takes the change when it starts: move the VMs away before the command")
			}
			for _, id := range f.DLM.Waiting {
				if !waiting[id] {
					waiting[id] = true
					j.fail(n.Name, fix(n.Name, "dlm_tool fence_ack %d", id), "%s is to be fenced and is not: nobody gets a lock until then. Look why the fence device fails; the command is only for a node that you have seen switched off", f.Cluster.NodeName(id))
				}
			}
		}
		if f.Pacemaker != nil {
			pacemakerFencing(j, n, f)
		} else if f.DLM != nil && !f.Tools["cman_tool"] && !hasFenceDevice(f) {
			j.fail(n.Name, fix(n.Name, "printf 'device NAME AGENT ARGUMENTS\\nconnect NAME node=1\\n' >> /etc/dlm/dlm.conf && reboot"), "dlm has no fence device: a lost node is never fenced, and nobody gets a lock any more. NAME, AGENT and ARGUMENTS are yours (dlm.conf(5)), with a line connect for each node; dlm takes the change when it starts: move the VMs away before the command")
		}
	})
	tried(j)
}

// hasFenceDevice: dlm_stonith is Pacemaker's.
func hasFenceDevice(f *facts.Facts) bool {
	return slices.ContainsFunc(f.FenceDevices, func(name string) bool { return name != "dlm_stonith" })
}

// tried: a fence device that nobody has seen working is not relied on.
func tried(j *judge) {
	node := ""
	j.each(func(n Node, f *facts.Facts) {
		if f.DLM != nil || f.Pacemaker != nil || f.RGManager != nil {
			node = n.Name
		}
	})
	trial, passed := lastTrial(j.FrontEnd.Trials)
	switch {
	case node == "":
		j.ok("no cluster")
	case j.FrontEnd.TrialsErr != nil:
		state := j.FrontEnd.Config.String("STATE_DIR")
		j.warn("", fix("", "chown -R oneadmin:oneadmin %s", state), "whether it was seen working is not known: %v", j.FrontEnd.TrialsErr)
	case !passed:
		j.warn("", fix("", "runuser -u oneadmin -- %s doctor drill network %s", j.FrontEnd.Program, node), "nobody has seen it work: no drill of a lost node was passed yet. The command needs somebody who pulls cables, and switches the node off")
	default:
		j.ok("on, no node waits for it, and it worked: drill %s with %s on %s", trial.Drill, trial.Node, trial.At.Format(time.DateOnly))
	}
}

func pacemakerFencing(j *judge, n Node, f *facts.Facts) {
	p := f.Pacemaker
	if !p.Stonith {
		j.fail(n.Name, fix(n.Name, "crm_attribute -n stonith-enabled -v true"), "Pacemaker has fencing switched off: it would start a VM twice")
	}
	if len(p.Fencing) == 0 {
		j.fail(n.Name, fix(n.Name, "pcs stonith create NAME AGENT pcmk_host_list=%s", n.Name), "Pacemaker has no fence device; see pcs stonith list for NAME and AGENT")
	}
	for _, id := range p.Failed {
		j.fail(n.Name, fix(n.Name, "crm_resource --cleanup -r %s", id), "fence device %s does not run", id)
	}
	if len(p.Fencing) > 0 && p.Registered != nil && len(p.Registered) == 0 {
		j.fail(n.Name, fix(n.Name, "pkill -x pacemaker-fenced"), "its fencer knows no fence device, as when it started before the cluster's configuration could be read: this node cannot fence the others. Pacemaker starts the fencer again, no VM is touched")
	}
	if len(f.GFS2) > 0 && p.NoQuorumPolicy != "freeze" {
		j.fail(n.Name, fix(n.Name, "crm_attribute -n no-quorum-policy -v freeze"), "no-quorum-policy is %q: a GFS2 can then neither be used nor unmounted without quorum", p.NoQuorumPolicy)
	}
}

func sharedHomes(j *judge) {
	for _, dir := range j.systemDatastores() {
		var good *facts.Home
		var goodNode string
		j.each(func(n Node, f *facts.Facts) {
			if h, ok := homeOf(f, dir); ok && isShared(h) && good == nil {
				good, goodNode = &h, n.Name
			}
		})
		j.each(func(n Node, f *facts.Facts) {
			if f.Unknown["homes"] == "" {
				home(j, n, f, dir, good, goodNode)
			}
		})
	}
	j.ok("mounted everywhere, with space")
}

// systemDatastores are the directories of those of our TM on the nodes.
func (v *View) systemDatastores() []string {
	var list []string
	for _, ds := range v.Oned.Datastores {
		if ds.TMMAD != ours || !ds.IsSystem() {
			continue
		}
		base := ds.BasePath
		if base == "" {
			base = fmt.Sprintf("/var/lib/one/datastores/%d", ds.ID)
		}
		list = append(list, base)
	}
	return list
}

func homeOf(f *facts.Facts, dir string) (facts.Home, bool) {
	for _, h := range f.Homes {
		if h.Path == dir {
			return h, true
		}
	}
	return facts.Home{}, false
}

// isShared says whether all nodes can see the same files.
func isShared(h facts.Home) bool {
	return slices.Contains([]string{"gfs2", "ocfs2", "nfs", "nfs4", "ceph", "glusterfs", "fuse.glusterfs", "lustre", "gpfs"}, h.Type)
}

func home(j *judge, n Node, f *facts.Facts, dir string, good *facts.Home, goodNode string) {
	h, there := homeOf(f, dir)
	switch {
	case there && h.Error != "":
		j.fail(n.Name, nil, "%s cannot be used: %s", dir, h.Error)
	case good == nil && len(j.Nodes) > 1:
		j.warn(n.Name, fix(n.Name, "%s gfs2 format VG/VOLUME", j.FrontEnd.Program), "%s is on no file system that nodes share: the cluster cannot start a VM on another node", dir)
	case good != nil && (!there || !isShared(h)):
		mount := fix(n.Name, "mkdir -p %s && mount -t %s -o noatime %s %s", dir, good.Type, good.Device, good.Point)
		j.fail(n.Name, mount, "%s is not mounted (on %s it is a %s): what is written there, other nodes do not see", dir, goodNode, good.Type)
	case there && slices.Contains(h.Options, "ro"):
		j.fail(n.Name, fix(n.Name, "mount -o remount,rw %s", h.Point), "%s is mounted read-only", dir)
	case there && slices.Contains(h.Options, "localflocks"):
		j.fail(n.Name, fix(n.Name, "mount -o remount,nolocalflocks %s", h.Point), "%s is mounted with localflocks: locks of files are not those of the cluster", dir)
	case there && strings.HasPrefix(h.Type, "nfs") && localLocks(h):
		j.fail(n.Name, fix(n.Name, "umount %s && mount -t %s -o hard %s %s", h.Point, h.Type, h.Device, h.Point), "%s is mounted with locks of this node alone (nolock, local_lock): two nodes can have a file's lock", dir)
	case there && strings.HasPrefix(h.Type, "nfs") && slices.Contains(h.Options, "soft"):
		j.warn(n.Name, fix(n.Name, "umount %s && mount -t %s -o hard %s %s", h.Point, h.Type, h.Device, h.Point), "%s is mounted soft: when the server is slow, what is written there can be lost", dir)
	case there && h.Type == "gfs2" && !slices.Contains(h.Options, "noatime"):
		j.warn(n.Name, fix(n.Name, "mount -o remount,noatime %s", h.Point), "%s is mounted without noatime: each read takes a lock for writing", dir)
	}
	if there {
		space(j, n, h)
	}
}

// localLocks: the kernel shows local_lock=none where the server has them.
func localLocks(h facts.Home) bool {
	return slices.ContainsFunc(h.Options, func(o string) bool {
		return o == "nolock" || strings.HasPrefix(o, "local_lock=") && o != "local_lock=none"
	})
}

// Shares of a home's space that are left, percent.
const (
	spaceTold = 10
	spaceBad  = 2
)

func space(j *judge, n Node, h facts.Home) {
	if h.Size == 0 {
		return
	}
	left := 100 * h.Free / h.Size
	full := fix(n.Name, "du -sx %s/* | sort -n", h.Path)
	switch {
	case left < spaceBad, h.Inodes == 0:
		j.fail(n.Name, full, "%s is full: no checkpoint, no deployment file", h.Path)
	case left < spaceTold:
		j.warn(n.Name, full, "%s has %d %% of its space left", h.Path, left)
	}
}

func sharedFileSystems(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		for _, s := range f.GFS2 {
			for _, p := range s.Check(peers(f.Cluster)) {
				node, command := cureGFS2(j.FrontEnd.Program, n, f, s, p)
				if p.Kind != gfs2.NotMounted || len(j.found) == 0 {
					j.fail(node, command, "GFS2 %s: %s", s.Table, p.Text)
				}
			}
		}
	})
	j.ok("every mounted GFS2 is healthy")
}

func peers(c *membership.Cluster) gfs2.Peers {
	if c == nil {
		return gfs2.Peers{}
	}
	return gfs2.PeersOf(*c)
}

func cureGFS2(program string, n Node, f *facts.Facts, s gfs2.State, p gfs2.Problem) (node string, command *Fix) {
	point := s.Device
	for _, h := range f.Homes {
		if h.Type == "gfs2" {
			point = h.Point
		}
	}
	switch p.Kind {
	case gfs2.Withdrawn: // it can neither be unmounted nor mounted again; a shutdown would wait for it
		return n.Name, fix(n.Name, "echo b > /proc/sysrq-trigger")
	case gfs2.Frozen:
		return n.Name, fix(n.Name, "fsfreeze -u %s", point)
	case gfs2.FewJournals:
		return n.Name, fix(n.Name, "%s gfs2 journals --add %d --yes %s", program, len(f.Cluster.Nodes)-s.Journals, point)
	case gfs2.WrongTable:
		return n.Name, fix(n.Name, "umount %s && tunegfs2 -o locktable=%s:%s %s", point, f.Cluster.Name, s.Table.Name, s.Device)
	case gfs2.WrongLocks:
		return n.Name, fix(n.Name, "umount %s && tunegfs2 -o lockproto=lock_dlm %s", point, s.Device)
	case gfs2.NotMounted:
		for _, m := range f.Cluster.Nodes {
			if m.Present && !slices.Contains(s.Members, m.ID) {
				return m.Name, fix(m.Name, "mount -t gfs2 -o noatime %s %s", s.Device, point)
			}
		}
	}
	return n.Name, fix(n.Name, "dlm_tool status")
}
