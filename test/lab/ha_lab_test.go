//go:build lab

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/lab/profile"
	"one-clvm/lab/wire"
	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// sub runs a part of a test that shares its cluster with the others; the parts build on each
// other.
func (s *site) sub(name string, do func()) {
	s.Helper()
	whole := s.T
	ok := whole.Run(name, func(t *testing.T) {
		began := time.Now()
		s.T = t
		defer func() { s.T = whole }()
		do()
		t.Logf("%.0f s", time.Since(began).Seconds())
	})
	require.True(whole, ok)
}

// The life of a VM that is a service of Pacemaker. The first names are lines of the original
// driver's list of what worked ("CURRENT STATE").
func TestVMsAsServices(t *testing.T) {
	s := startHA(t, profile.HA)
	one, two := s.Nodes[0], s.Nodes[1]
	before := s.configuration(one)
	var g guest
	s.sub("instantiate", func() {
		s.guestVM(vmID, one.Name)
		s.deploy(one.Name, vmID)
		g = s.runsOn(one, vmID)
		assert.Equal(s, 1, g.boots)
		assert.Contains(s, s.configuration(one), `name="hv_memory" value="16"`)
	})
	s.sub("instantiate again", func() {
		s.deploy(one.Name, vmID)
		assert.Equal(s, 1, s.runsOn(one, vmID).boots, "it ran already")
	})
	s.sub("reboot", func() {
		s.drives(one.Name, "reboot", vmID, name(vmID), one.Name)
		s.awaitGuest(one, vmID, "the guest boots", func(g guest) bool { return g.boots == 2 })
		s.drives(one.Name, "reset", vmID, name(vmID), one.Name)
		s.awaitGuest(one, vmID, "the guest boots", func(g guest) bool { return g.boots == 3 })
		g = s.runsOn(one, vmID)
	})
	s.sub("livemigrate", func() { g = s.migratesLive(one, two, g) })
	s.sub("suspend", func() {
		s.drives(two.Name, "save", vmID, name(vmID), checkpoint(vmID), two.Name)
		s.isOffEverywhere(vmID)
	})
	s.sub("snapshot suspended machine", func() {
		s.ok("snap_create", append([]string{at(two.Name, vmID, 0), "0"}, of(vmID, fakeoned.ImageDS)...)...)
		s.hasSnapshots(vmID, 0)
	})
	s.sub("resume", func() {
		s.drives(two.Name, "restore", vmID, checkpoint(vmID), two.Name, name(vmID))
		g = s.goneOn(two, g)
		s.ok("snap_delete", append([]string{at(two.Name, vmID, 0), "0"}, of(vmID, fakeoned.ImageDS)...)...)
	})
	s.sub("stop", func() {
		s.drives(two.Name, "save", vmID, name(vmID), checkpoint(vmID), two.Name)
		s.moves(two.Name, "frontend", vmID)
		s.isOffEverywhere(vmID)
		assert.Equal(s, lvm.Off, s.volumes(two)[volume(vmID, 0)].Mode)
		s.moves("frontend", one.Name, vmID)
		s.drives(one.Name, "restore", vmID, checkpoint(vmID), one.Name, name(vmID))
		g = s.goneOn(one, g)
	})
	s.sub("migrate", func() {
		s.drives(one.Name, "save", vmID, name(vmID), checkpoint(vmID), one.Name)
		s.moves(one.Name, two.Name, vmID)
		s.drives(two.Name, "restore", vmID, checkpoint(vmID), two.Name, name(vmID))
		g = s.goneOn(two, g)
	})
	s.sub("the cluster moves it by itself", func() {
		s.standby(two, "on")
		s.comesTo(one, vmID)
		g = s.goneOn(one, g)
		s.standby(two, "off")
		s.locate(vmID, one.Name) // as the hook tells oned
	})
	s.sub("shutdown", func() {
		s.drives(one.Name, "shutdown", vmID, name(vmID), one.Name)
		s.isOffEverywhere(vmID)
		s.drives(one.Name, "shutdown", vmID, name(vmID), one.Name)
	})
	s.sub("saveas + shutdown", func() { s.savesDisk(one, vmID) })
	s.sub("resubmit", func() {
		s.deletes(one, vmID)
		s.guestVM(vmID, one.Name)
		s.deploy(one.Name, vmID)
		g = s.runsOn(one, vmID)
		assert.Equal(s, 1, g.boots, "it began anew")
	})
	var imported, datablock fakeoned.Image
	s.sub("import ttylinux from file", func() {
		imported = s.registers(two, "cp", 102, fields{"PATH": s.guestDisk("guest", 8)})
	})
	s.sub("persistence", func() { s.keepsImage(two, vmID+1, imported) })
	s.sub("create new datablock volume", func() {
		datablock = s.registers(one, "mkfs", 103, fields{"FORMAT": "raw", "SIZE": "8"})
	})
	s.sub("attach it, grow the other", func() { s.attaches(one, vmID, datablock) })
	s.sub("a freeze holds", func() { s.freezeHolds(one, vmID) })
	s.sub("libvirt is away", func() { s.missesLibvirt(one, vmID) })
	s.sub("attach a network card", func() { s.plugsIn(one, vmID) })
	s.sub("node dies", func() { s.failsOver(one, two, vmID, fakeoned.PersistentDisk(1, datablock)) })
	s.sub("its network is there, too", func() { s.isConnected(two, vmID) })
	s.sub("detach the disk where the VM is now", func() { s.detaches(two, vmID, datablock) })
	s.sub("cancel", func() {
		s.drives(two.Name, "cancel", vmID, name(vmID), two.Name)
		s.drives(two.Name, "cancel", vmID, name(vmID), two.Name)
		assert.Empty(s, s.domstate(two, vmID))
	})
	s.sub("delete", func() {
		s.deletes(two, vmID)
		assert.Equal(s, before, s.configuration(two), "of the cluster, before the first VM and after the last")
	})
}

// savesDisk makes an image file of the disk of a VM that is off: it has what the guest wrote.
func (s *site) savesDisk(n *cluster.Node, vm int) {
	s.Helper()
	saved := fakeoned.Image{ID: 101, Name: "saved", Source: filepath.Join(s.directory, "saved"), SizeMiB: 9, Template: map[string]string{"MODE": "RAW"}}
	s.oned.Put(fakeoned.Images, saved.ID, saved.Document())
	var want guest
	s.whileActive(n, volume(vm, 0), func(string) { want = s.guest(n, vm) })
	s.ok("cpds", append([]string{at(n.Name, vm, 0), saved.Source, "-1"}, of(vm, fakeoned.ImageDS)...)...)
	file, err := os.ReadFile(saved.Source)
	require.NoError(s, err)
	assert.Equal(s, want, readGuest(file[512:1024]))
}

// registers makes an image on the SAN as a user does, by way of the datastore driver.
func (s *site) registers(n *cluster.Node, verb string, id int, f fields) fakeoned.Image {
	s.Helper()
	require.NoError(s, os.MkdirAll(s.files(), 0o755))
	s.putDatastore(fakeoned.ImageDS, nil)
	return (&worker{site: s, id: id, node: n}).register(verb, id, f, nil)
}

// keepsImage runs a VM on an image of the SAN itself, which afterwards has what it wrote.
func (s *site) keepsImage(n *cluster.Node, vm int, image fakeoned.Image) {
	s.Helper()
	s.vm(vm, n.Name, fakeoned.PersistentDisk(0, image))
	s.ok("ln", append([]string{"frontend:" + image.Source, at(n.Name, vm, 0)}, of(vm, fakeoned.ImageDS)...)...)
	s.deploy(n.Name, vm)
	s.await("the guest writes", func() bool { return s.guestOn(n, image.Source).writes > 1 })
	s.drives(n.Name, "shutdown", vm, name(vm), n.Name)
	s.ok("mvds", append([]string{at(n.Name, vm, 0), image.Source}, of(vm, fakeoned.ImageDS)...)...)
	s.ok("delete", append([]string{n.Name + ":" + home(vm)}, of(vm, fakeoned.SystemDS)...)...)
	s.whileActive(n, image.Source, func(string) { assert.Equal(s, 1, s.guestOn(n, image.Source).boots) })
}

// goneOn: the VM runs there and has not begun anew.
func (s *site) goneOn(n *cluster.Node, before guest) guest {
	s.Helper()
	after := s.runsOn(n, vmID)
	assert.Equal(s, before.boots, after.boots, "it went on")
	assert.Greater(s, after.writes, before.writes)
	return after
}

// migratesLive moves the VM while it writes, and looks at its volume's locks all the time. The
// nodes are asked one after the other, so that each is held to its own order.
func (s *site) migratesLive(from, to *cluster.Node, before guest) guest {
	s.Helper()
	modes := func() [2]lvm.Mode {
		return [2]lvm.Mode{s.volumes(from)[volume(vmID, 0)].Mode, s.volumes(to)[volume(vmID, 0)].Mode}
	}
	assert.Equal(s, [2]lvm.Mode{lvm.Exclusive, lvm.Off}, modes())
	end := s.sample(from, to)
	s.windowVerb("premigrate", from.Name, to.Name, vmID)
	began := time.Now()
	s.drives(from.Name, "migrate", vmID, name(vmID), to.Name, from.Name)
	ended := time.Now()
	s.windowVerb("postmigrate", from.Name, to.Name, vmID)
	samples := end()
	assert.Equal(s, [2]lvm.Mode{lvm.Off, lvm.Exclusive}, modes())
	var ofFrom, ofTo []lvm.Mode
	moving := 0
	for _, sample := range samples {
		ofFrom, ofTo = append(ofFrom, sample.modes[0]), append(ofTo, sample.modes[1])
		assert.NotEqual(s, [2]lvm.Mode{lvm.Exclusive, lvm.Exclusive}, sample.modes, "two writers")
		if sample.began.After(began) && sample.ended.Before(ended) {
			moving++
			assert.Equal(s, [2]lvm.Mode{lvm.Shared, lvm.Shared}, sample.modes)
		}
	}
	s.Logf("%d samples of the locks, %d of the move alone", len(samples), moving)
	assert.Equal(s, []lvm.Mode{lvm.Exclusive, lvm.Shared, lvm.Off}, slices.Compact(ofFrom))
	assert.Equal(s, []lvm.Mode{lvm.Off, lvm.Shared, lvm.Exclusive}, slices.Compact(ofTo))
	s.locate(vmID, to.Name)
	return s.goneOn(to, before)
}

// attaches plugs a disk in, and grows the first one.
func (s *site) attaches(n *cluster.Node, vm int, image fakeoned.Image) {
	s.Helper()
	s.locate(vm, n.Name, fakeoned.PersistentDisk(1, image))
	s.ok("ln", append([]string{"frontend:" + image.Source, at(n.Name, vm, 1)}, of(vm, fakeoned.ImageDS)...)...)
	for range 2 {
		s.drives(n.Name, "attach_disk", vm, name(vm), home(vm)+"/disk.1", "sdb", "1", s.argument(vm))
		assert.Equal(s, "/dev/"+cluster.Group+"/"+image.Source, s.plugged(n, vm, "sdb"))
	}
	s.ok("resize", append([]string{at(n.Name, vm, 0), "16"}, of(vm, fakeoned.ImageDS)...)...)
	s.drives(n.Name, "resize_disk", vm, name(vm), "0", "16", s.argument(vm), n.Name)
	assert.Regexp(s, `Capacity:\s+16777216\n`, s.Output(s.T, n, "virsh", "-c", "qemu:///system", "domblkinfo", name(vm), "hda"))
	s.runsOn(n, vm)
}

// detaches finds the disk that was plugged in on another node, and plugs it out.
func (s *site) detaches(n *cluster.Node, vm int, image fakeoned.Image) {
	s.Helper()
	assert.Equal(s, "/dev/"+cluster.Group+"/"+image.Source, s.plugged(n, vm, "sdb"))
	for range 2 {
		s.drives(n.Name, "detach_disk", vm, name(vm), home(vm)+"/disk.1", "sdb", "1")
		assert.Empty(s, s.plugged(n, vm, "sdb"))
	}
	s.ok("mvds", append([]string{at(n.Name, vm, 1), image.Source}, of(vm, fakeoned.ImageDS)...)...)
	s.locate(vm, n.Name)
	s.writing(n, vm)
}

// freezeHolds: the rule by which a service is frozen keeps this Pacemaker from a start of
// the domain that is gone, until it is dropped; a freeze that has ended by its own clock
// does not.
func (s *site) freezeHolds(n *cluster.Node, vm int) {
	s.Helper()
	managed := func() bool {
		return strings.Contains(s.Output(s.T, n, "crm_mon", "-1", "--output-as=xml", "--resource="+name(vm)), ` managed="true"`)
	}
	freeze := func(until time.Time) {
		id := name(vm) + "-frozen"
		_, err := n.Run(s.Context(), run.Cmd{Path: "cibadmin", Args: []string{"-M", "-c", "-o", "resources", "-p"}, Stdin: strings.NewReader(fmt.Sprintf(
			`<primitive id="%s"><meta_attributes id="%s" score="1000"><rule id="%s-rule" score="INFINITY"><date_expression id="%s-until" operation="lt" end="%s"/></rule><nvpair id="%s-is-managed" name="is-managed" value="false"/></meta_attributes></primitive>`,
			name(vm), id, id, id, until.UTC().Format("2006-01-02T15:04:05Z"), id))})
		require.NoError(s, err)
	}
	require.True(s, managed())
	freeze(time.Now().Add(10 * time.Minute))
	s.await("the freeze holds", func() bool { return !managed() })
	s.Output(s.T, n, "virsh", "-c", "qemu:///system", "destroy", name(vm))
	s.Output(s.T, n, "crm_resource", "--refresh", "-r", name(vm))
	s.Output(s.T, n, "crm_resource", "--wait", "--timeout=120s")
	assert.Empty(s, s.domstate(n, vm), "the cluster had nothing to do")
	freeze(time.Now().Add(5 * time.Second)) // as if who froze it had died
	s.await("the freeze ends by itself and the cluster starts the VM", func() bool { return s.domstate(n, vm) == "running" })
	s.Output(s.T, n, "cibadmin", "-D", "-o", "resources", "-X", `<meta_attributes id="`+name(vm)+`-frozen"/>`)
	s.runsOn(n, vm)
}

// missesLibvirt: the cluster looks at the VM on all nodes while no libvirt answers, and leaves
// it and them as they are.
func (s *site) missesLibvirt(n *cluster.Node, vm int) {
	s.Helper()
	process, fencing := s.process(n, vm), s.fencing()
	for _, node := range s.Nodes {
		s.Output(s.T, node, "pkill", "-x", "libvirtd")
	}
	s.Output(s.T, n, "crm_resource", "--refresh", "-r", name(vm))
	s.Output(s.T, n, "crm_resource", "--wait", "--timeout=240s")
	assert.True(s, s.settled(n, vm))
	for _, node := range s.Nodes {
		s.Output(s.T, node, "libvirtd", "--daemon")
	}
	s.await("libvirt knows the VM again", func() bool { return s.domstate(n, vm) == "running" })
	assert.Equal(s, process, s.process(n, vm), "nobody started it anew")
	assert.Equal(s, fencing, s.fencing())
	s.runsOn(n, vm)
}

// failsOver cuts the power of the node that runs the VM, which has these disks besides the
// guest's.
func (s *site) failsOver(dead, survivor *cluster.Node, vm int, more ...fakeoned.Disk) {
	s.Helper()
	killed := time.Now()
	require.NoError(s, dead.Kill())
	var detected, fenced, running float64
	since := func() float64 { return time.Since(killed).Seconds() }
	s.await("the death is seen", func() bool {
		detected = since()
		return !strings.Contains(s.Output(s.T, survivor, "crm_mon", "-1", "--output-as=xml", "--exclude=all", "--include=nodes"), `name="`+dead.Name+`" id="1" online="true"`)
	})
	s.await("fencing", func() bool {
		fenced = since()
		return strings.Contains(s.fencing(), "off "+dead.Name+": "+wire.FenceDone)
	})
	s.await("the VM runs on the other node", func() bool {
		running = since()
		return s.domstate(survivor, vm) == "running"
	})
	fmt.Printf("failover: detected %.0f s, fenced %.0f s, running %.0f s\n", detected, fenced, running)
	assert.Equal(s, lvm.Exclusive, s.volumes(survivor)[volume(vm, 0)].Mode)
	s.writing(survivor, vm)
	s.locate(vm, survivor.Name, more...)
}
