package domain

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/opennebula"
)

const home = "/var/lib/one/datastores/101/0"

func owner() Owner {
	return Owner{VM: 0, Home: home,
		Volumes: map[int]string{0: "/dev/vg-one/lv-one-0-0", 1: "/dev/vg-one/lv-oneimg-1", 2: "/dev/vg-one/lv-one-0-2", 3: "/dev/vg-one/lv-one-0-3"},
		Files:   map[string]bool{"disk.4": true, "kernel": true, "disk.0": false, "disk.9": false}}
}

func recorded(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("testdata/deploy.xml")
	require.NoError(t, err)
	return string(data)
}

func TestDisksOfARealOned(t *testing.T) {
	d, err := Read(strings.NewReader(recorded(t)), owner())
	require.NoError(t, err)
	assert.Equal(t, []string{"one-0", "4a9f7553-7c43-41c3-96dc-73ea370c3c3e"}, []string{d.Name, d.UUID})
	assert.Equal(t, []Disk{
		{0, "vda", "disk", "/dev/vg-one/lv-one-0-0", true},
		{1, "sdb", "disk", "/dev/vg-one/lv-oneimg-1", true},
		{2, "sdc", "disk", "/dev/vg-one/lv-one-0-2", true},
		{3, "sdd", "disk", "/dev/vg-one/lv-one-0-3", true},
		{4, "sda", "cdrom", home + "/disk.4", false},
	}, d.Disks)
	assert.Len(t, d.Volumes(), 4)

	text, err := d.Bytes()
	require.NoError(t, err)
	written := string(text)
	assert.NotContains(t, written, "disk.2")
	assert.NotContains(t, written, "//datastores/101/0/disk")
	assert.Contains(t, written, `<disk type="block" device="disk">
			<source dev="/dev/vg-one/lv-one-0-2"/>
			<target dev="sdc"/>
			<driver name="qemu" type="raw" cache="none" discard="unmap"/>`)
	assert.Contains(t, written, `<disk type="file" device="cdrom">
			<source file="`+home+`/disk.4"/>`)

	again, err := Read(bytes.NewReader(text), owner())
	require.NoError(t, err, "what was rewritten is allowed")
	assert.Equal(t, d.Disks, again.Disks)
	twice, err := again.Bytes()
	require.NoError(t, err)
	assert.Equal(t, written, string(twice))
}

// edit replaces a part of the recorded document, which must be there.
func edit(t testing.TB, old, new string) string {
	t.Helper()
	text := recorded(t)
	require.Contains(t, text, old)
	return strings.Replace(text, old, new, 1)
}

const firstSource = "<source dev='/var/lib/one//datastores/101/0/disk.0'/>"

func TestAllowed(t *testing.T) {
	for name, document := range map[string]string{
		"cache":          edit(t, "cache='none'", "cache='writeback'"),
		"no driver":      edit(t, "<driver name='qemu' type='raw' cache='none' discard='unmap'/>", ""),
		"probed format":  edit(t, "type='raw' cache", "type='qcow2' cache"),
		"device itself":  edit(t, firstSource, "<source dev='/dev/vg-one/lv-one-0-0'/>"),
		"kernel":         edit(t, "<os>", "<os><kernel>"+home+"/kernel</kernel><cmdline>root=/dev/vda1 a=../b</cmdline>"),
		"kernel of oned": edit(t, "<os>", "<os><kernel>/var/lib/one//datastores/101/0/kernel</kernel>"),
		"firmware":       edit(t, "<os>", "<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram template='/usr/share/OVMF/OVMF_VARS.fd'>"+home+"/one-0_VARS.fd</nvram>"),
		"emulator":       edit(t, "<![CDATA[/usr/bin/qemu-kvm-one]]>", "/usr/libexec/qemu-kvm"),
		"network":        edit(t, "</devices>", "<interface type='bridge'><source bridge='br0'/><mac address='02:00:c0:a8:00:01'/><target dev='one-0-0'/><model type='virtio'/></interface></devices>"),
		"random numbers": edit(t, "</devices>", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>"),
		"password":       edit(t, "port='5900'", "port='5900' passwd='a/b/../c'"),
		"title":          edit(t, "<title>web</title>", "<title>/etc/passwd</title>"),
		"empty drive":    edit(t, "<source file='/var/lib/one//datastores/101/0/disk.4'/>", ""),
		"qemu":           edit(t, "type='kvm'", "type='qemu'"),
	} {
		d, err := Read(strings.NewReader(document), owner())
		require.NoError(t, err, name)
		text, err := d.Bytes()
		require.NoError(t, err)
		assert.NotContains(t, string(text), "writeback", name)
		assert.NotContains(t, string(text), "qcow2", name)
		_, err = Read(bytes.NewReader(text), owner())
		require.NoError(t, err, name)
	}
}

func TestRefused(t *testing.T) {
	disk := func(source string) string { return edit(t, firstSource, source) }
	device := func(text string) string { return edit(t, "</devices>", text+"</devices>") }
	for name, document := range map[string]string{
		"nothing":                 "",
		"not XML":                 "<domain",
		"another root":            "<network/>",
		"document type":           "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/shadow'>]>" + recorded(t),
		"entity":                  edit(t, "<title>web</title>", "<title>&x;</title>"),
		"too deep":                strings.Repeat("<domain>", 100) + strings.Repeat("</domain>", 100),
		"type":                    edit(t, "type='kvm'", "type='lxc'"),
		"name of another VM":      edit(t, "<name>one-0</name>", "<name>one-1</name>"),
		"hostile name":            edit(t, "<name>one-0</name>", "<name>one-0; reboot</name>"),
		"name with a blank":       edit(t, "<name>one-0</name>", "<name>one-0 </name>"),
		"name that is an option":  edit(t, "<name>one-0</name>", "<name>--help</name>"),
		"two names":               edit(t, "<name>one-0</name>", "<name>one-0</name><name>x</name>"),
		"no name":                 edit(t, "<name>one-0</name>", ""),
		"options of the emulator": edit(t, "</domain>", "<qemu:commandline><qemu:arg value='-drive'/></qemu:commandline></domain>"),
		"no confinement":          edit(t, "</domain>", "<seclabel type='none'/></domain>"),
		"unknown element":         edit(t, "</domain>", "<bootloader>/usr/bin/x</bootloader></domain>"),
		"another VM's volume":     disk("<source dev='/dev/vg-one/lv-one-1-0'/>"),
		"a volume of the node":    disk("<source dev='/dev/vg-root/root'/>"),
		"a disk of the node":      disk("<source dev='/dev/sda'/>"),
		"a file of the node":      disk("<source file='/etc/shadow'/>"),
		"another VM's disk":       disk("<source dev='/var/lib/one/datastores/101/1/disk.0'/>"),
		"out of the home":         disk("<source dev='/var/lib/one/datastores/101/0/../1/disk.0'/>"),
		"hidden way out":          disk("<source dev='/var/lib/one/datastores/101/0/disk.0/../../1/disk.0'/>"),
		"a relative path":         disk("<source file='disk.0'/>"),
		"another file of home":    disk("<source file='" + home + "/kernel'/>"),
		"a disk that is a link":   disk("<source file='" + home + "/disk.9'/>"),
		"a disk that is not":      disk("<source file='" + home + "/disk.7'/>"),
		"spelling of a disk":      disk("<source file='" + home + "/disk.04'/>"),
		"two sources":             disk(firstSource + "<source file='/etc/shadow'/>"),
		"two paths":               disk("<source dev='" + home + "/disk.0' file='/etc/shadow'/>"),
		"source with an index":    disk("<source dev='" + home + "/disk.0' startupPolicy='optional'/>"),
		"source with a child":     disk("<source dev='" + home + "/disk.0'><seclabel model='dac'/></source>"),
		"no source":               disk(""),
		"the same volume twice":   edit(t, "/disk.1'/>", "/disk.0'/>"),
		"the same target twice":   edit(t, "<target dev='sdb'/>", "<target dev='vda'/>"),
		"hostile target":          edit(t, "<target dev='sdb'/>", "<target dev='../b'/>"),
		"no target":               edit(t, "<target dev='sdb'/>", ""),
		"a disk of the network":   edit(t, "<disk type='block' device='disk'>", "<disk type='network' device='disk'>"),
		"SCSI commands":           edit(t, "<disk type='block' device='disk'>", "<disk type='block' device='lun'>"),
		"two writers":             edit(t, "<target dev='sdb'/>", "<target dev='sdb'/><shareable/>"),
		"files behind":            edit(t, "<target dev='sdb'/>", "<target dev='sdb'/><backingStore type='file'><source file='/etc/shadow'/></backingStore>"),
		"format of a file":        edit(t, "<readonly/>\n\t\t\t<driver name='qemu' type='raw'", "<readonly/>\n\t\t\t<driver name='qemu' type='qcow2'"),
		"emulator":                edit(t, "/usr/bin/qemu-kvm-one", "/tmp/x"),
		"emulator out":            edit(t, "/usr/bin/qemu-kvm-one", "/usr/bin/qemu-x/../../../tmp/x"),
		"loader":                  edit(t, "<os>", "<os><loader>/etc/shadow</loader>"),
		"kernel":                  edit(t, "<os>", "<os><kernel>/boot/vmlinuz</kernel>"),
		"kernel by way of dots":   edit(t, "<os>", "<os><kernel>"+home+"//../0/kernel</kernel>"),
		"initrd that is not":      edit(t, "<os>", "<os><initrd>"+home+"/initrd</initrd>"),
		"nvram that is a link":    edit(t, "<os>", "<os><nvram>"+home+"/disk.0</nvram>"),
		"nvram elsewhere":         edit(t, "<os>", "<os><nvram>/etc/x.fd</nvram>"),
		"a directory":             device("<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>"),
		"a device":                device("<hostdev mode='subsystem' type='pci'/>"),
		"serial into a file":      device("<serial type='file'><source path='/etc/crontab'/></serial>"),
		"serial by another name":  device("<serial type='dev'><source path='etc'/></serial>"),
		"another VM's monitor":    device("<channel type='unix'><source mode='connect' path='/var/lib/libvirt/qemu/domain-3-one-1/monitor.sock'/></channel>"),
		"its own monitor":         device("<channel type='unix'><source mode='connect' path='/var/lib/libvirt/qemu/domain-3-one-0/monitor.sock'/></channel>"),
		"hostdev interface":       device("<interface type='hostdev'><source><address type='pci' domain='0' bus='1' slot='0' function='0'/></source></interface>"),
		"script":                  device("<interface type='ethernet'><script path='/tmp/x'/></interface>"),
		"socket":                  device("<graphics type='vnc' socket='/run/x'/>"),
		"metadata of libvirt":     edit(t, "<metadata>", "<metadata><source file='/etc/shadow'/>"),
		"instruction":             edit(t, "<devices>", "<devices><?x y?>"),
		"child of free text":      edit(t, "<title>web</title>", "<title><source file='/x'/></title>"),
	} {
		_, err := Read(strings.NewReader(document), owner())
		require.ErrorIs(t, err, ErrRefused, name)
		assert.ErrorContains(t, err, "VM 0", name)
	}
	_, err := Read(strings.NewReader(strings.Repeat(" ", maxDocument+1)), owner())
	require.ErrorIs(t, err, ErrRefused)
	_, err = Read(strings.NewReader(edit(t, "</domain>", "<qemu:commandline/></domain>")), owner())
	require.ErrorContains(t, err, "remove RAW/DATA")
}

func TestAttachAndDetach(t *testing.T) {
	d, err := Read(strings.NewReader(recorded(t)), Owner{VM: 0, Home: home, Files: owner().Files,
		Volumes: map[int]string{0: "/dev/vg-one/lv-one-0-0", 1: "/dev/vg-one/lv-oneimg-1", 2: "/dev/vg-one/lv-one-0-2", 3: "/dev/vg-one/lv-one-0-3", 5: "/dev/vg-one/lv-one-0-5"}})
	require.NoError(t, err)
	require.NoError(t, d.Attach("<disk type='file' device='disk'><source file='"+home+"/disk.5'/><target dev='sde'/></disk>"))
	assert.Equal(t, Disk{5, "sde", "disk", "/dev/vg-one/lv-one-0-5", true}, d.Disks[5])
	document, err := d.DiskDocument("sde")
	require.NoError(t, err)
	assert.Equal(t, `<disk type="block" device="disk"><source dev="/dev/vg-one/lv-one-0-5"/><target dev="sde"/><driver name="qemu" type="raw" cache="none"/></disk>`+"\n", document)

	for _, refused := range []string{"", "<disk", "<hostdev/>", "<disk type='block'><source dev='/dev/sda'/><target dev='sdf'/></disk>",
		"<disk type='block'><source dev='" + home + "/disk.5'/><target dev='sdf'/></disk>"} {
		require.ErrorIs(t, d.Attach(refused), ErrRefused, refused)
		assert.Len(t, d.Disks, 6, "nothing has changed")
	}
	require.NoError(t, d.Detach("sde"))
	require.NoError(t, d.Detach("sde"), "it is gone")
	assert.Len(t, d.Disks, 5)
	document, err = d.DiskDocument("sde")
	require.NoError(t, err)
	assert.Empty(t, document)
}

func TestAttachAgainTakesItsPlace(t *testing.T) {
	d, err := Read(strings.NewReader(recorded(t)), owner())
	require.NoError(t, err)
	before := len(d.Disks)
	require.NoError(t, d.Attach("<disk type='file' device='disk'><source file='"+home+"/disk.2'/><target dev='sdc'/></disk>"))
	assert.Len(t, d.Disks, before)
	require.ErrorIs(t, d.Attach("<disk type='file' device='disk'><source file='"+home+"/disk.3'/><target dev='sdc'/></disk>"), ErrRefused, "another disk is there")
	const nic = "<interface type='bridge'><source bridge='br0'/><mac address='02:00:C0:a8:00:01'/></interface>"
	for range 2 {
		require.NoError(t, d.Attach(nic))
		assert.Equal(t, []NIC{{"bridge", "02:00:c0:a8:00:01"}}, d.NICs)
	}
	document, err := d.NICDocument("02:00:c0:a8:00:01")
	require.NoError(t, err)
	assert.Contains(t, document, `<source bridge="br0"/>`)
	require.NoError(t, d.DetachNIC("02:00:c0:a8:00:01"))
	assert.Empty(t, d.NICs)
}

func TestResize(t *testing.T) {
	text := strings.Replace(recorded(t), "<memory>131072</memory>", "<vcpu current='1'>4</vcpu><memory>4194304</memory><currentMemory>131072</currentMemory>", 1)
	d, err := Read(strings.NewReader(text), owner())
	require.NoError(t, err)
	require.NoError(t, d.Resize(2, 2048))
	out, err := d.Bytes()
	require.NoError(t, err)
	assert.Contains(t, string(out), `<vcpu current="2">4</vcpu>`)
	assert.Contains(t, string(out), `<currentMemory unit="KiB">2097152</currentMemory>`)
	cpus, memory := d.Uses()
	assert.Equal(t, []int64{2, 2048}, []int64{int64(cpus), memory})
	require.ErrorIs(t, d.Resize(5, 0), ErrRefused)
	require.NoError(t, d.Resize(0, 0))
	same, err := d.Bytes()
	require.NoError(t, err)
	assert.Equal(t, string(out), string(same))
}

func TestUses(t *testing.T) {
	for text, want := range map[string][2]int64{
		"":                               {1, 0},
		"<memory>2097152</memory>":       {1, 2048},
		"<memory unit='G'>2</memory>":    {1, 2048},
		"<memory unit='acre'>2</memory>": {1, 0},
		"<vcpu>4</vcpu><memory>2097152</memory><currentMemory unit='MiB'>512</currentMemory>": {4, 512},
		"<vcpu current='2'>4</vcpu>": {2, 0},
		"<vcpu>many</vcpu>":          {0, 0},
	} {
		d, err := Read(strings.NewReader("<domain type='kvm'><name>one-0</name>"+text+"<devices/></domain>"), owner())
		require.NoError(t, err, text)
		cpus, memory := d.Uses()
		assert.Equal(t, want, [2]int64{int64(cpus), memory}, text)
	}
}

// FuzzAttach: what is attached is the VM's own, as what Read lets pass.
func FuzzAttach(f *testing.F) {
	f.Add("<disk type='file' device='disk'><source file='" + home + "/disk.2'/><target dev='sde'/></disk>")
	f.Add("<interface type='bridge'><source bridge='br0'/><mac address='02:00:c0:a8:00:01'/></interface>")
	f.Fuzz(func(t *testing.T, document string) {
		d, err := Read(strings.NewReader("<domain type='kvm'><name>one-0</name><devices/></domain>"), owner())
		require.NoError(t, err)
		if err := d.Attach(document); err != nil {
			require.ErrorIs(t, err, ErrRefused)
			return
		}
		text, err := d.Bytes()
		require.NoError(t, err)
		again, err := Read(strings.NewReader(string(text)), owner())
		require.NoError(t, err)
		require.Equal(t, d.Disks, again.Disks)
		require.Equal(t, d.NICs, again.NICs)
	})
}

func FuzzRead(f *testing.F) {
	f.Add(recorded(f))
	f.Add("<domain type='kvm'><name>one-0</name><devices><disk type='block'><source dev='/dev/vg-one/lv-one-0-0'/><target dev='vda'/></disk></devices></domain>")
	f.Fuzz(func(t *testing.T, document string) {
		d, err := Read(strings.NewReader(document), owner())
		if err != nil {
			require.ErrorIs(t, err, ErrRefused)
			return
		}
		for _, disk := range d.Disks {
			require.Contains(t, []string{"", home + "/disk.4", owner().Volumes[disk.ID]}, disk.Path)
		}
		text, err := d.Bytes()
		require.NoError(t, err)
		again, err := Read(bytes.NewReader(text), owner())
		require.NoError(t, err, "what was accepted once is accepted again: %s", text)
		require.Equal(t, d.Disks, again.Disks)
		require.Equal(t, opennebula.ServiceName(0), again.Name)
	})
}

// TestCompletedByLibvirt: what libvirt puts into a document itself, of several of its versions.
func TestCompletedByLibvirt(t *testing.T) {
	const device, element = "</devices>", "<devices>"
	completed := func(place, text string) string {
		if place == device {
			text += device
		} else {
			text += element
		}
		return strings.Replace("<domain type='kvm' id='3'><name>one-0</name><devices></devices></domain>", place, text, 1)
	}
	for name, document := range map[string]string{
		"confinement":             completed(element, "<seclabel type='dynamic' model='selinux' relabel='yes'/><seclabel type='dynamic' model='dac' relabel='yes'/>"),
		"partition":               completed(element, "<resource><partition>/machine</partition></resource>"),
		"terminal":                completed(device, "<serial type='pty'><source path='/dev/pts/3'/></serial><console type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/></console>"),
		"guest agent, 9.7":        completed(device, "<channel type='unix'><source mode='bind' path='/run/libvirt/qemu/channel/3-one-0/org.qemu.guest_agent.0'/></channel>"),
		"guest agent, 1.3":        completed(device, "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-3-one-0/org.qemu.guest_agent.0'/></channel>"),
		"guest agent, 1.0":        completed(device, "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/one-0.org.qemu.guest_agent.0'/></channel>"),
		"guest agent of oned 4.x": completed(device, "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/one-0.agent'/></channel>"),
		"firmware":                completed(element, "<os firmware='efi'><type>hvm</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/one-0_VARS.fd</nvram></os>"),
		"firmware, 8.5":           completed(element, "<os><type>hvm</type><nvram type='file' template='/usr/share/OVMF/OVMF_VARS_4M.fd'><source file='/var/lib/libvirt/qemu/nvram/one-0_VARS.fd'/></nvram></os>"),
		"screen":                  completed(device, "<graphics type='vnc' socket='/var/lib/libvirt/qemu/domain-3-one-0/vnc.sock'><listen type='socket' socket='/var/lib/libvirt/qemu/domain-3-one-0/vnc.sock'/></graphics>"),
		"sound":                   completed(device, "<audio id='1' type='none'/>"),
		"empty drive":             completed(device, "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='hdc' bus='ide'/><readonly/></disk>"),
	} {
		require.NoError(t, CheckCompleted(strings.NewReader(document), owner()), name)
		_, err := Read(strings.NewReader(document), owner())
		if name == "confinement" || name == "partition" || name == "screen" {
			require.ErrorIs(t, err, ErrRefused, "of libvirt alone: "+name)
		}
	}
}
