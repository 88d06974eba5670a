package doctor

import (
	"fmt"
	"slices"
	"time"

	"one-clvm/agent/facts"
	"one-clvm/lvm/lvm2"
)

func disks(j *judge) {
	warned := map[string]bool{}
	j.each(func(n Node, f *facts.Facts) {
		for _, d := range f.Disks {
			if d.Multipath == "" {
				scsiState(j, n, d)
			}
			multipath(j, n, d)
			for _, group := range j.groups() {
				if _, ok := state(f, group); ok && d.WriteZeroesMax == 0 && !warned[group] {
					warned[group] = true
					j.warn("", fix("", "%s wipe-free %s --node %s", j.FrontEnd.Program, group, n.Name), "the disks of %s cannot write zeroes by themselves (%s on %s): zeroing a new disk sends every block over the SAN; once all free space is wiped, new disks need none", group, d.Name, n.Name)
				}
			}
		}
	})
	discards(j)
	j.ok("all paths run; zeroing is done by the devices")
}

// discards: with WIPE=discard a deleted disk's data stays where the device cannot discard.
func discards(j *judge) {
	for _, ds := range j.Oned.Datastores {
		cfg, err := j.FrontEnd.Config.WithDatastore(ds.Template, ds.Origin())
		if ds.TMMAD != ours || err != nil || cfg.String("WIPE") != "discard" {
			continue
		}
		told := false
		j.each(func(n Node, f *facts.Facts) {
			_, sees := state(f, cfg.String("VG_NAME"))
			i := slices.IndexFunc(f.Disks, func(d facts.Disk) bool { return d.DiscardMax == 0 })
			if sees && i >= 0 && !told {
				told = true
				j.fail("", fix("", `echo 'WIPE = "delete"' | onedatastore update --append %d /dev/stdin`, ds.ID), "datastore %d has WIPE=discard, and disk %s on %s cannot discard: nothing is done against the data of deleted disks", ds.ID, f.Disks[i].Name, n.Name)
			}
		})
	}
}

func scsiState(j *judge, n Node, d facts.Disk) {
	if d.State != "" && d.State != "running" {
		j.fail(n.Name, fix(n.Name, "echo running > /sys/block/%s/device/state", d.Name), "disk %s is %s", d.Name, d.State)
	}
}

func multipath(j *judge, n Node, d facts.Disk) {
	if d.Multipath == "" {
		return
	}
	running := 0
	for _, p := range d.Paths {
		if p.State == "running" || p.State == "" {
			running++
		}
	}
	for _, p := range d.Paths {
		scsiState(j, n, p)
	}
	if running == 1 && len(d.Paths) == 1 {
		j.warn(n.Name, fix(n.Name, "multipath -ll %s", d.Multipath), "%s has one path only: when it fails, the node has no SAN", d.Multipath)
	}
}

// sanlockLease is when sanlock gives a lease up, with its usual time for a request of 10 s:
// 80 s after the last renewal; 60 s later at most the watchdog resets the node.
const sanlockLease = 80

// scsiTimeoutMost is how long a request may take so that one lost path leaves time for
// another one within a lease.
const scsiTimeoutMost = 30

func budget(j *judge) {
	j.each(func(n Node, f *facts.Facts) {
		leased := f.LVM != nil && slices.ContainsFunc(j.sharedGroups(f), func(g lvm2.GroupState) bool { return g.LockManager == "sanlock" })
		for _, d := range f.Disks {
			if d.QueueWithoutPath {
				j.add(severityOf(leased), n.Name, fix(n.Name, "multipathd disablequeueing map %s", d.Multipath), "%s waits for ever when no path is left: VMs hang instead of being started elsewhere, and a lease of sanlock is lost after %d s; set no_path_retry in multipath.conf", d.Multipath, sanlockLease)
			}
			if leased && d.QueueTime > sanlockLease {
				most := d.QueueRetries * sanlockLease / d.QueueTime
				j.fail(n.Name, fix(n.Name, `sed -i -E 's/(no_path_retry[[:space:]]+)"?%d"?/\1%d/' /etc/multipath.conf && multipathd reconfigure`, d.QueueRetries, most), "%s waits %d s when no path is left, and sanlock gives a lease up after %d s: the watchdog resets the node before its VMs are told", d.Multipath, d.QueueTime, sanlockLease)
			}
			for _, leg := range append(d.Paths, d) {
				if leased && leg.Timeout > scsiTimeoutMost {
					j.warn(n.Name, fix(n.Name, "echo %d > /sys/block/%s/device/timeout", scsiTimeoutMost, leg.Name), "a request to %s may take %d s: two of them are longer than sanlock waits (%d s)", leg.Name, leg.Timeout, sanlockLease)
				}
			}
		}
		if leased && f.Sanlock != nil && f.Sanlock.Watchdog == "" {
			j.fail(n.Name, fix(n.Name, "modprobe softdog"), "there is no watchdog: a node that loses its leases goes on writing; a real one is better than softdog")
		}
	})
	j.ok("%s", budgetOf(j.View))
}

// budgetOf is the clocks that run when a node is lost, the longest of each kind.
func budgetOf(v *View) string {
	request, token, queue := 0, 0, 0
	for _, n := range v.Nodes {
		if n.Facts == nil {
			continue
		}
		for _, d := range n.Facts.Disks {
			queue = max(queue, d.QueueTime)
			for _, leg := range append(d.Paths, d) {
				request = max(request, leg.Timeout)
			}
		}
		if n.Facts.Cluster != nil {
			token = max(token, n.Facts.Cluster.Token)
		}
	}
	return fmt.Sprintf("a request to a disk ends after %d s, multipath gives up after another %d s, the cluster loses a node after %s, sanlock a lease after %d s", request, queue, time.Duration(token)*time.Millisecond, sanlockLease)
}

func severityOf(bad bool) Severity {
	if bad {
		return Fail
	}
	return Warn
}

// reserve is what a node keeps for itself, MiB.
const reserve = 1024

func memory(j *judge) {
	used, total := map[string]int64{}, map[string]int64{}
	var sumUsed, sumTotal int64
	for _, h := range j.Oned.Hosts {
		f := j.factsOf(h.Name)
		if f == nil || f.Cluster == nil && f.Sanlock == nil {
			continue
		}
		used[h.Name], total[h.Name] = h.MemUsage, max(0, f.Memory>>20-reserve)
		sumUsed, sumTotal = sumUsed+used[h.Name], sumTotal+total[h.Name]
	}
	if len(total) > 1 {
		for _, name := range sortedKeys(total) {
			if left := sumTotal - total[name]; sumUsed > left {
				j.warn("", fix("", "onehost list"), "without %s the others have %d MiB for VMs that need %d MiB: not all could be started again", name, left, sumUsed)
			}
		}
	}
	j.ok("enough for all VMs with one node gone")
}
