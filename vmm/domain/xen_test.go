package domain

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const xenFile = `name    = 'one-42'
#O CPU_CREDITS = 256
memory  = '512'
vcpus  = 1
bootloader = "/usr/bin/pygrub"
disk = [
    'tap:aio:/var/lib/one//datastores/101/42/disk.0,xvda,w',
    'phy:/var/lib/one/datastores/101/42/disk.10,xvdb,w',
    'file:/var/lib/one/datastores/101/42/disk.2,hdc:cdrom,r',
]
vif = [
    ' mac=02:00:c0:a8:00:01,ip=192.168.0.1,bridge=br0',
]
vfb = ['type=vnc,vnclisten=0.0.0.0,vncdisplay=42']
on_crash = 'restart'
`

func xenOwner() Owner {
	return Owner{
		VM: 42, Home: "/var/lib/one/datastores/101/42", Files: map[string]bool{"disk.2": true, "vmlinuz": true, "disk.7": false},
		Volumes: map[int]string{0: "/dev/vg-one/lv-one-42-0", 1: "/dev/vg-one/lv-one-42-1", 10: "/dev/vg-one/lv-one-42-10"},
	}
}

func TestXenFileIsWrittenAnew(t *testing.T) {
	x, err := ReadXen(strings.NewReader(xenFile), xenOwner(), "alice-web.vm.home.net")
	require.NoError(t, err)
	const want = `#O VM_ID = 42
name = "alice-web.vm.home.net"
memory = 512
vcpus = 1
bootloader = "/usr/bin/pygrub"
disk = ["phy:/dev/vg-one/lv-one-42-0,xvda,w", "phy:/dev/vg-one/lv-one-42-10,xvdb,w", "file:/var/lib/one/datastores/101/42/disk.2,hdc:cdrom,r"]
vif = [" mac=02:00:c0:a8:00:01,ip=192.168.0.1,bridge=br0"]
vfb = ["type=vnc,vnclisten=0.0.0.0,vncdisplay=42"]
on_crash = "restart"
`
	assert.Equal(t, want, textOf42(t, x))
	again, err := ReadXen(strings.NewReader(want), xenOwner(), x.Name)
	require.NoError(t, err)
	assert.Equal(t, want, textOf42(t, again), "what is written is understood")
	vm, ok := OwnerOfXen(want)
	assert.Equal(t, []any{42, true}, []any{vm, ok})
}

func TestXenFilesThatAreRefused(t *testing.T) {
	replace := func(old, with string) string { return strings.Replace(xenFile, old, with, 1) }
	for name, text := range map[string]string{
		"code":                     xenFile + "import os\n",
		"a call":                   xenFile + "extra = os.system('id')\n",
		"a call behind a value":    xenFile + "extra = 'a' + open('/etc/shadow').read()\n",
		"an escape":                xenFile + `extra = 'a\'` + "\n",
		"a value without an end":   xenFile + "extra = 'a\n",
		"a list without an end":    xenFile + "extra = [\n",
		"an unknown setting":       xenFile + "device_model = '/tmp/x'\n",
		"a device of the node":     xenFile + "pci = ['01:00.0']\n",
		"a path in a word":         xenFile + "keymap = '/etc/shadow'\n",
		"a setting twice":          xenFile + "memory = 1\n",
		"a list for a word":        xenFile + "root = ['a']\n",
		"a word for a list":        replace("vfb = ['type=vnc,vnclisten=0.0.0.0,vncdisplay=42']", "vfb = 'vnc'"),
		"another bootloader":       replace("/usr/bin/pygrub", "/home/x/pygrub"),
		"a socket of the node":     xenFile + "serial = 'tcp::4444'\n",
		"a USB device of the node": xenFile + "usbdevice = 'host:1.2'\n",
		"a word for a script":      replace("bridge=br0", "bridge=br0 && reboot"),
		"a kernel of the node":     xenFile + "kernel = '/etc/shadow'\n",
		"a kernel through dots":    xenFile + "kernel = '/boot/../etc/shadow'\n",
		"a script of an interface": replace("bridge=br0", "script=/tmp/x"),
		"another VM's volume":      replace("/var/lib/one//datastores/101/42/disk.0", "/dev/vg-one/lv-one-4-2"),
		"a file of the node":       replace("/var/lib/one//datastores/101/42/disk.0", "/etc/shadow"),
		"another VM's home":        replace("datastores/101/42/disk.2", "datastores/101/43/disk.2"),
		"a link in the home":       replace("42/disk.2", "42/disk.7"),
		"a disk twice":             replace("disk.10", "disk.0"),
		"a target twice":           replace("xvdb", "xvda"),
		"a target that is a path":  replace("xvdb", "../x"),
		"a mode that shares":       replace("xvdb,w'", "xvdb,w!'"),
		"a disk without a mode":    replace(",xvdb,w'", ",xvdb'"),
	} {
		_, err := ReadXen(strings.NewReader(text), xenOwner(), "one-42")
		require.ErrorIs(t, err, ErrRefused, name)
	}
	kernel, err := ReadXen(strings.NewReader("kernel = '/var/lib/one/datastores/101/42/vmlinuz'\nramdisk = '/boot/initrd-5.10'\n"), xenOwner(), "one-42")
	require.NoError(t, err)
	assert.Contains(t, textOf42(t, kernel), "/boot/initrd-5.10")
}

func textOf42(t require.TestingT, x *Xen) string {
	text, err := x.Bytes()
	require.NoError(t, err)
	return string(text)
}

// TestDevicesOfAXenFile: devices come as libvirt's documents, and become entries of the file.
func TestDevicesOfAXenFile(t *testing.T) {
	x, err := ReadXen(strings.NewReader(xenFile), xenOwner(), "web")
	require.NoError(t, err)
	const home = "/var/lib/one/datastores/101/42"
	disk := func(number, target, more string) string {
		return "<disk><source file='" + home + "/disk." + number + "'/><target dev='" + target + "'/>" + more + "</disk>"
	}
	for range 2 { // the same verb may come twice
		require.NoError(t, x.Attach(disk("1", "xvdc", "")))
		assert.Equal(t, "phy:/dev/vg-one/lv-one-42-1,xvdc,w", x.Entry("xvdc", ""))
	}
	require.ErrorIs(t, x.Attach(disk("1", "xvdd", "")), ErrRefused, "it is attached")
	require.ErrorIs(t, x.Attach(disk("7", "xvdd", "")), ErrRefused, "a link in the home")
	require.ErrorIs(t, x.Attach(strings.Replace(disk("1", "xvdd", ""), "42/", "43/", 1)), ErrRefused, "another VM's")
	require.ErrorIs(t, x.Attach(disk("1\"]\nimport os", "xvdd", "")), ErrRefused)
	require.ErrorIs(t, x.Attach("<hostdev/>"), ErrRefused)
	require.ErrorIs(t, x.Attach("disk"), ErrRefused)
	require.NoError(t, x.Detach("xvdc"))
	require.NoError(t, x.Detach("xvdc"))
	assert.Empty(t, x.Entry("xvdc", ""))
	require.NoError(t, x.Attach(disk("1", "xvdc", "<readonly/>")))
	assert.Equal(t, "phy:/dev/vg-one/lv-one-42-1,xvdc,r", x.Entry("xvdc", ""))

	nic := "<interface><source bridge='br1'/><mac address='02:00:C0:a8:00:02'/><target dev='one-42-1'/></interface>"
	for range 2 {
		require.NoError(t, x.Attach(nic))
		assert.Equal(t, "mac=02:00:c0:a8:00:02,bridge=br1,vifname=one-42-1", x.Entry("", "02:00:c0:a8:00:02"))
	}
	require.ErrorIs(t, x.Attach(strings.Replace(nic, "br1", "br1,script=x", 1)), ErrRefused)
	require.ErrorIs(t, x.Attach(strings.Replace(nic, "br1", "br1;reboot", 1)), ErrRefused)
	require.NoError(t, x.DetachNIC("02:00:c0:a8:00:01"))
	assert.Contains(t, textOf42(t, x), `vif = ["mac=02:00:c0:a8:00:02,bridge=br1,vifname=one-42-1"]`)

	require.NoError(t, x.Resize(0, 256))
	assert.Equal(t, []int64{256, 512, 1, 0}, []int64{x.Number("memory"), x.Number("maxmem"), x.Number("vcpus"), x.Number("maxvcpus")})
	require.NoError(t, x.Resize(1, 0))
	again, err := ReadXen(strings.NewReader(textOf42(t, x)), xenOwner(), "")
	require.NoError(t, err)
	assert.Equal(t, textOf42(t, x), textOf42(t, again), "what is written is understood, the name too")
}

func TestOwnerOfAXenFile(t *testing.T) {
	for text, want := range map[string]int{"#O VM_ID = 1\n": 1, "name = 'x'\n#O VM_ID = 10\n": 10, "": -1, "#O VM_ID = x\n": -1, "#O VM_ID = -1\n": -1, "VM_ID = 1": -1} {
		vm, ok := OwnerOfXen(text)
		if want < 0 {
			assert.False(t, ok, text)
			continue
		}
		assert.Equal(t, []any{want, true}, []any{vm, ok}, text)
	}
}

func FuzzReadXen(f *testing.F) {
	f.Add(xenFile)
	f.Fuzz(func(t *testing.T, text string) {
		x, err := ReadXen(strings.NewReader(text), xenOwner(), "one-42")
		if err != nil {
			return
		}
		written := textOf42(t, x)
		again, err := ReadXen(strings.NewReader(written), xenOwner(), "one-42")
		require.NoError(t, err, written)
		require.Equal(t, written, textOf42(t, again))
		require.NotContains(t, written, "\\")
	})
}
