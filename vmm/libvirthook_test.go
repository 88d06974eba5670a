package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/vmm/domain"
)

// hook has libvirt call its hook.
func (n *node) hook(t *testing.T, document string, argv ...string) error {
	t.Helper()
	return n.libvirtHook().Do(t.Context(), ParseHookCall(argv), strings.NewReader(document))
}

func (n *node) libvirtHook() *LibvirtHook {
	return &LibvirtHook{
		Config: n.config(), Groups: []string{"vg-one"}, Agents: n, Runner: n, Clock: n, Stderr: io.Discard, PhaseLimit: n.phaseLimit,
		Later: func(_ context.Context, phase, name string) error { return n.note("later " + phase + " " + name) },
	}
}

// own is a domain as libvirt hands it to the hook.
const own = `<domain type='kvm' id='7'><name>one-42</name><devices><emulator>/usr/libexec/qemu-kvm</emulator>` +
	`<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/><source dev='/dev/vg-one/lv-one-42-0' index='2'/><backingStore/><target dev='vda' bus='virtio'/></disk>` +
	`<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='HOME/disk.2' index='1'/><backingStore/><target dev='hdc' bus='ide'/><readonly/></disk></devices>` +
	`<seclabel type='dynamic' model='dac' relabel='yes'/></domain>`

// own has the home of the domain, with its CD, there.
func (n *node) own(t *testing.T) string {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(n.home(), "disk.2"), []byte("CD"), 0o600))
	return strings.ReplaceAll(own, "HOME", n.home())
}

func TestLibvirtHookActivatesBeforeTheStart(t *testing.T) {
	n := newNode(t)
	require.NoError(t, n.hook(t, n.own(t), "one-42", "prepare", "begin", "-"))
	assert.Equal(t, []string{exclusive}, n.calls)
	require.NoError(t, n.hook(t, n.own(t), "one-42", "release", "end", "-"))
	assert.Equal(t, []string{exclusive, off, "later clean one-42"}, n.calls)
}

// TestLibvirtHookFindsTheHome: HOME_BASE may be several directories, and the agent's lock is
// that of the home.
func TestLibvirtHookFindsTheHome(t *testing.T) {
	n := newNode(t)
	n.first = t.TempDir()
	require.NoError(t, n.hook(t, n.own(t), "one-42", "prepare", "begin", "-"))
	require.NoError(t, n.hook(t, n.own(t), "one-42", "release", "end", "-"))
	assert.Equal(t, []string{exclusive, off, "later clean one-42"}, n.calls)
	stranger := strings.ReplaceAll(own, "HOME", n.first+"/../101/42")
	require.ErrorIs(t, n.hook(t, stranger, "one-42", "prepare", "begin", "-"), domain.ErrRefused)
	require.NoError(t, os.RemoveAll(n.home()))
	n.calls = nil
	require.NoError(t, n.hook(t, own, "one-42", "release", "end", "-"))
	assert.Equal(t, []string{"here: activate off of VM 42 in " + n.first + "/101/42", "later clean one-42"}, n.calls, "a home that is gone keeps no disk active")
}

func TestLibvirtHookLetsTheRestPass(t *testing.T) {
	n := newNode(t)
	for _, argv := range [][]string{
		{"one-42", "start", "begin", "-"}, {"one-42", "started", "begin", "-"}, {"one-42", "stopped", "end", "-"}, {"one-42", "migrate", "begin", "-"}, {"one-42", "prepare", "end", "-"},
		{"web", "prepare", "begin", "-"}, {"one-x", "prepare", "begin", "-"}, {"one-042", "release", "end", "-"}, {"one--1", "release", "end", "-"},
	} {
		require.NoError(t, n.hook(t, "no document", argv...), argv)
	}
	assert.Empty(t, n.calls)
}

// TestLibvirtHookMayRefuseWhatDoesNotRun: libvirt kills a running guest whose hook fails.
func TestLibvirtHookMayRefuseWhatDoesNotRun(t *testing.T) {
	operations := strings.Split("prepare begin,start begin,started begin,stopped end,release end,migrate begin,restore begin,reconnect begin,attach begin,prepare end,weather begin", ",")
	for _, guest := range []string{"one-42", "web", "one-x", "one-042", "one-", "one-42-1", "help", "--help", ""} {
		for _, operation := range operations {
			c := ParseHookCall(append([]string{guest}, append(strings.Fields(operation), "-")...))
			ours := guest == "one-42"
			assert.Equal(t, ours && (operation == "prepare begin" || operation == "migrate begin"), c.MayRefuse(), "%s %s", guest, operation)
			assert.Equal(t, !c.MayRefuse() && (!ours || operation != "release end" && operation != "started begin"), c.Idle(), "%s %s", guest, operation)
		}
	}
	assert.True(t, ParseHookCall([]string{"one-42", "prepare"}).Idle())
}

// window has all of the VM's disks shared for a migration that is to end at a time.
func (n *node) window(until time.Time) {
	for i := range n.volumes {
		n.volumes[i].Mode = lvm.Shared
		n.volumes[i].Tags = n.volumes[i].Tags.With(fmt.Sprintf("migrating=node1:node2:%d", until.Unix()))
	}
	n.fail["here: activate exclusive"] = errors.New("volume is locked by another node: node1")
}

// TestLibvirtHookKeepsTheWindow: a migration that the transfer manager has prepared finds
// the volumes shared on both nodes.
func TestLibvirtHookKeepsTheWindow(t *testing.T) {
	n := newNode(t)
	n.window(n.now.Add(time.Hour))
	require.NoError(t, n.hook(t, n.own(t), "one-42", "migrate", "begin", "-"))
	require.NoError(t, n.hook(t, n.own(t), "one-42", "prepare", "begin", "-"))
	assert.Empty(t, n.calls)
	require.ErrorContains(t, n.hook(t, n.own(t), "one-42", "prepare", "begin", "-"), "node1", "one arrival is one start")
}

// TestLibvirtHookStartsOnSharedDisksForAMigrationOnly: with any other start the VM may run on
// the other node still; the lock manager knows.
func TestLibvirtHookStartsOnSharedDisksForAMigrationOnly(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *node){
		"no migration arrives":   func(_ *testing.T, n *node) { n.window(n.now.Add(time.Hour)) },
		"one of another VM does": func(t *testing.T, n *node) { n.window(n.now.Add(time.Hour)); announced(t, n, "one-4") },
		"one has, a minute ago": func(t *testing.T, n *node) {
			n.window(n.now.Add(time.Hour))
			announced(t, n, "one-42")
			n.now = n.now.Add(arrival)
		},
		"the window is over": func(t *testing.T, n *node) { n.window(n.now); announced(t, n, "one-42") },
		"there is no window": func(t *testing.T, n *node) {
			n.window(n.now.Add(time.Hour))
			n.volumes[1].Tags = lvm.DiskTags(42, 1, 101)
			announced(t, n, "one-42")
		},
		"one of the disks is not": func(t *testing.T, n *node) {
			n.window(n.now.Add(time.Hour))
			n.volumes[0].Mode = lvm.Off
			announced(t, n, "one-42")
		},
		"an announcement was cut off": func(t *testing.T, n *node) { n.window(n.now.Add(time.Hour)); announced(t, n, "one-42"); cutOff(t, n) },
	} {
		n := newNode(t)
		change(t, n)
		require.ErrorContains(t, n.hook(t, n.own(t), "one-42", "prepare", "begin", "-"), "node1", name)
		assert.Equal(t, []string{exclusive}, n.calls, name)
	}
}

// announced has libvirt say that a domain arrives.
func announced(t *testing.T, n *node, name string) {
	t.Helper()
	require.NoError(t, n.hook(t, n.own(t), name, "migrate", "begin", "-"))
}

func cutOff(t *testing.T, n *node) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.config().LockDir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Truncate(files[0], 0))
}

// TestLibvirtHookRefuses what oneadmin could write into the file that rgmanager has root's libvirt
// start: none of it gets as far as a volume.
func TestLibvirtHookRefuses(t *testing.T) {
	swap := func(old, text string) func(string) string {
		return func(document string) string { return strings.Replace(document, old, text, 1) }
	}
	device := func(text string) func(string) string { return swap("<devices>", "<devices>"+text) }
	element := func(text string) func(string) string { return swap("<devices>", text+"<devices>") }
	for name, change := range map[string]func(string) string{
		"another VM's volume":        swap("lv-one-42-0", "lv-one-4-2"),
		"a file of the node":         swap("<source file='HOME/disk.2'", "<source file='/etc/shadow'"),
		"a way out":                  swap("/disk.2", "/x/../../43/disk.2"),
		"another VM's home":          swap("HOME/disk.2", "HOME/../43/disk.2"),
		"another file of the home":   swap("/disk.2", "/domain.xml"),
		"a link in the home":         swap("/disk.2", "/disk.3"),
		"a volume by way of a link":  swap("/dev/vg-one/lv-one-42-0", "HOME/disk.0"),
		"a backing file":             swap("<backingStore/>", "<backingStore type='file'><format type='raw'/><source file='/etc/shadow'/></backingStore>"),
		"a format with backing file": swap("type='raw' cache", "type='qcow2' cache"),
		"a CD in such a format":      swap("type='raw'/>", "type='qcow2'/>"),
		"a mirror":                   swap("<backingStore/>", "<mirror type='file'><source file='/etc/shadow'/></mirror>"),
		"a label of a disk":          swap("index='2'/>", "index='2'><seclabel model='dac' relabel='yes'><label>root:root</label></seclabel></source>"),
		"a device of the node":       device("<hostdev/>"),
		"a directory of the node":    device("<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>"),
		"memory of the node":         device("<shmem name='x'/>"),
		"options of the emulator":    element("<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>"),
		"a volume of a pool":         swap("<source dev='/dev/vg-one/lv-one-42-0' index='2'/>", "<source pool='default' volume='web'/>"),
		"an emulator":                swap("/usr/libexec/qemu-kvm", "/tmp/x"),
		"an emulator without a path": swap("/usr/libexec/qemu-kvm", "x"),
		"a serial port into a file":  device("<serial type='file'><source path='/etc/cron.d/x'/></serial>"),
		"a relative one":             device("<serial type='dev'><source path='etc'/></serial>"),
		"a console from a device":    device("<console type='dev'><source path='/dev/sda'/></console>"),
		"a log":                      device("<serial type='pty'><log file='/etc/cron.d/x'/></serial>"),
		"another VM's monitor":       device("<channel type='unix'><source mode='connect' path='/var/lib/libvirt/qemu/domain-3-one-4/monitor.sock'/></channel>"),
		"its own monitor":            device("<channel type='unix'><source mode='connect' path='/var/lib/libvirt/qemu/domain-3-one-42/monitor.sock'/></channel>"),
		"another VM's channel":       device("<channel type='unix'><source mode='connect' path='/run/libvirt/qemu/channel/3-one-4/org.qemu.guest_agent.0'/></channel>"),
		"a screen elsewhere":         device("<graphics type='vnc' socket='/run/x'/>"),
		"a kernel":                   element("<os><type>hvm</type><kernel>/etc/shadow</kernel></os>"),
		"an initrd":                  element("<os><type>hvm</type><initrd>/etc/shadow</initrd></os>"),
		"a device tree":              element("<os><type>hvm</type><dtb>/etc/shadow</dtb></os>"),
		"a loader":                   element("<os><type>hvm</type><loader>/tmp/x</loader></os>"),
		"nvram":                      element("<os><type>hvm</type><nvram>/etc/passwd</nvram></os>"),
		"nvram in its other form":    element("<os><type>hvm</type><nvram type='file'><source file='/etc/passwd'/></nvram></os>"),
		"another VM's nvram":         element("<os><type>hvm</type><nvram>/var/lib/libvirt/qemu/nvram/one-4_VARS.fd</nvram></os>"),
		"random numbers":             device("<rng model='virtio'><backend model='random'>/dev/sda</backend></rng>"),
		"a script of an interface":   device("<interface type='ethernet'><script path='/tmp/x'/></interface>"),
		"an interface's device":      device("<interface type='bridge'><source bridge='br0'/><backend tap='/dev/sda'/></interface>"),
		"a TPM":                      device("<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/sda'/></backend></tpm>"),
		"sound into a file":          device("<audio id='1' type='file' path='/etc/cron.d/x'/>"),
		"root's emulator":            element("<seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>"),
		"no confinement":             element("<seclabel type='none'/>"),
		"a weaker confinement":       element("<seclabel type='dynamic' model='selinux'><baselabel>system_u:system_r:unconfined_t:s0</baselabel></seclabel>"),
		"another VM's name":          swap("<name>one-42</name>", "<name>one-43</name>"),
		"no document":                func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.own(t)
			for link, target := range map[string]string{"disk.0": "/etc/shadow", "disk.3": "/etc/shadow"} {
				require.NoError(t, os.Symlink(target, filepath.Join(n.home(), link)))
			}
			document := strings.ReplaceAll(change(own), "HOME", n.home())
			require.NotEqual(t, strings.ReplaceAll(own, "HOME", n.home()), document)
			require.ErrorIs(t, n.hook(t, document, "one-42", "prepare", "begin", "-"), domain.ErrRefused)
			assert.Empty(t, n.calls)
		})
	}
}

// TestLibvirtHookTakesWhatLibvirtCompletes: the document that libvirt 9.0 handed to its hook for a
// domain as the driver stores it.
func TestLibvirtHookTakesWhatLibvirtCompletes(t *testing.T) {
	n := newNode(t)
	n.own(t)
	text, err := os.ReadFile("testdata/completed.xml")
	require.NoError(t, err)
	document := strings.ReplaceAll(string(text), "/var/lib/one/datastores/101/42", n.home())
	require.Contains(t, document, n.home())
	require.NoError(t, n.hook(t, document, "one-42", "prepare", "begin", "-"))
	assert.Equal(t, []string{exclusive}, n.calls)
}

func TestLibvirtHookFailsClosed(t *testing.T) {
	n := newNode(t)
	n.manager = "none"
	require.ErrorContains(t, n.hook(t, n.own(t), "one-42", "prepare", "begin", "-"), "no lock manager")
	assert.Empty(t, n.calls)
	n.fail["volumes"] = errors.New("no agent answered")
	require.ErrorContains(t, n.hook(t, n.own(t), "one-42", "release", "end", "-"), "no agent answered", "what is not known is not let go")
}
