package vmm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/cluster"
	"one-clvm/opennebula"
)

const (
	device = "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='HOME/disk.0'/><target dev='vdb'/></disk>"
	nic    = "<interface type='bridge'><source bridge='br0'/><mac address='02:00:c0:a8:00:02'/><target dev='one-42-1'/></interface>"
	mac    = "02:00:c0:a8:00:02"
)

// running is a node with the VM running, as deploy left it.
func running(t *testing.T) *node {
	n := defined(t)
	n.state = "running"
	return n
}

func (n *node) stored(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.home(), "domain.xml"))
	require.NoError(t, err)
	return string(text)
}

func (n *node) attachDisk() Request {
	q := n.request(cluster.VerbAttachDisk)
	q.Device, q.Target = strings.ReplaceAll(device, "HOME", n.home()), "vdb"
	return q
}

func TestAttachAndDetachADisk(t *testing.T) {
	n := running(t)
	for range 2 { // the second time it is there
		require.Empty(t, serve(t, n.agent(), n.attachDisk()))
		assert.Equal(t, map[string]string{"vda": "/dev/vg-one/lv-one-42-1", "vdb": "/dev/vg-one/lv-one-42-0"}, n.disks)
		assert.Equal(t, 1, strings.Count(n.stored(t), `dev="/dev/vg-one/lv-one-42-0"`), "a failover has it, too")
		assert.Equal(t, []string{"virsh attach-device one-42 /dev/stdin"}, n.calls)
	}
	q := n.request(cluster.VerbDetachDisk)
	q.Target = "vdb"
	for range 2 {
		require.Empty(t, serve(t, n.agent(), q))
		assert.Equal(t, map[string]string{"vda": "/dev/vg-one/lv-one-42-1"}, n.disks)
		assert.NotContains(t, n.stored(t), "lv-one-42-0")
	}
	assert.Equal(t, "virsh detach-disk one-42 vdb", n.calls[1])
	assert.Len(t, n.calls, 2)
}

// TestAttachThatDiedHalfway: the domain has the disk, the definition has not.
func TestAttachThatDiedHalfway(t *testing.T) {
	n := running(t)
	n.disks["vdb"] = "/dev/vg-one/lv-one-42-0"
	require.Empty(t, serve(t, n.agent(), n.attachDisk()))
	assert.Empty(t, n.calls)
	assert.Contains(t, n.stored(t), "lv-one-42-0")
	delete(n.disks, "vdb") // and the same of a detach
	q := n.request(cluster.VerbDetachDisk)
	q.Target = "vdb"
	require.Empty(t, serve(t, n.agent(), q))
	assert.Empty(t, n.calls)
	assert.NotContains(t, n.stored(t), "lv-one-42-0")
}

func TestAttachThatFailsLeavesTheDefinition(t *testing.T) {
	n := running(t)
	before := n.stored(t)
	n.fail["virsh attach-device"] = errors.New("no more available PCI slots")
	assert.Contains(t, serve(t, n.agent(), n.attachDisk()), "no more available PCI slots")
	assert.Equal(t, before, n.stored(t))
}

// TestDetachThatTheGuestIgnores: it is told, and the definition keeps the disk, as oned does.
func TestDetachThatTheGuestIgnores(t *testing.T) {
	n := running(t)
	require.Empty(t, serve(t, n.agent(), n.attachDisk()))
	n.holds = true
	q := n.request(cluster.VerbDetachDisk)
	q.Target = "vdb"
	assert.Contains(t, serve(t, n.agent(), q), "the guest has not let go of vdb")
	assert.Contains(t, n.stored(t), "lv-one-42-0")
	n.holds = false
	require.Empty(t, serve(t, n.agent(), q))
	assert.NotContains(t, n.stored(t), "lv-one-42-0")
}

func TestAttachAndDetachANIC(t *testing.T) {
	n := running(t)
	q := n.request(cluster.VerbAttachNIC)
	q.Device, q.MAC = nic, mac
	require.Empty(t, serve(t, n.agent(), q))
	assert.Equal(t, []string{mac}, n.nics)
	assert.Contains(t, n.stored(t), mac)
	q = n.request(cluster.VerbDetachNIC)
	q.MAC, q.Home, q.DS = mac, "", 101 // the arguments of detach_nic have no path
	for range 2 {
		require.Empty(t, serve(t, n.agent(), q))
		assert.Empty(t, n.nics)
		assert.NotContains(t, n.stored(t), mac)
	}
	assert.Equal(t, "virsh detach-interface one-42 bridge --mac "+mac, n.calls[1])
	assert.Len(t, n.calls, 2)
}

func TestHostileDevices(t *testing.T) {
	n := running(t)
	before := n.stored(t)
	for name, document := range map[string]string{
		"another VM's volume": "<disk type='block' device='disk'><source dev='/dev/vg-one/lv-one-4-2'/><target dev='vdb'/></disk>",
		"a file of the node":  "<disk type='file' device='disk'><source file='/etc/shadow'/><target dev='vdb'/></disk>",
		"a way out":           "<disk type='file' device='disk'><source file='" + n.home() + "/../4/disk.0'/><target dev='vdb'/></disk>",
		"SCSI commands":       "<disk type='block' device='lun'><source dev='" + n.home() + "/disk.0'/><target dev='vdb'/></disk>",
		"a disk it has":       "<disk type='file' device='disk'><source file='" + n.home() + "/disk.1'/><target dev='vdb'/></disk>",
		"another target":      strings.ReplaceAll(strings.ReplaceAll(device, "HOME", n.home()), "vdb", "vdc"),
		"a device of the PCI": "<hostdev mode='subsystem' type='pci'/>",
		"an interface":        nic,
		"not XML":             "<disk",
		"two":                 "<disk/><disk/>",
		"too deep":            "<disk>" + strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100) + "</disk>",
	} {
		q := n.attachDisk()
		q.Device = document
		assert.Contains(t, serve(t, n.agent(), q), "domain refused", name)
	}
	for name, document := range map[string]string{
		"a device of the node": "<interface type='hostdev'><mac address='" + mac + "'/></interface>",
		"a socket":             "<interface type='vhostuser'><mac address='" + mac + "'/><source type='unix' path='/tmp/x' mode='client'/></interface>",
		"a script":             "<interface type='ethernet'><script path='/tmp/x'/><mac address='" + mac + "'/></interface>",
		"another address":      strings.ReplaceAll(nic, mac, "02:00:c0:a8:00:03"),
		"no address":           "<interface type='bridge'><source bridge='br0'/></interface>",
	} {
		q := n.request(cluster.VerbAttachNIC)
		q.MAC, q.Device = mac, document
		assert.Contains(t, serve(t, n.agent(), q), "domain refused", name)
	}
	assert.Empty(t, n.calls)
	assert.Equal(t, before, n.stored(t))
}

func TestResizes(t *testing.T) {
	n := running(t)
	q := n.request(cluster.VerbResize)
	q.Home, q.DS, q.CPUs, q.MemoryMiB = "", opennebula.None, 4, 1024
	assert.Contains(t, serve(t, n.agent(), q), "processors", "the definition has one")
	require.NoError(t, os.WriteFile(filepath.Join(n.home(), "domain.xml"), []byte(strings.Replace(n.document(), "<devices>", "<vcpu>4</vcpu><devices>", 1)), 0o600))
	require.Empty(t, serve(t, n.agent(), q))
	assert.Equal(t, []string{"virsh setmem one-42 1048576", "virsh setvcpus one-42 4 --live"}, n.calls)
	assert.Contains(t, n.stored(t), `<vcpu current="4">4</vcpu>`)
	assert.Contains(t, n.stored(t), `<currentMemory unit="KiB">1048576</currentMemory>`)

	n.calls = nil
	grow := n.request(cluster.VerbResizeDisk)
	grow.Home, grow.DS, grow.Disk, grow.SizeMiB = "", 101, 1, 2048
	require.Empty(t, serve(t, n.agent(), grow))
	assert.Equal(t, []string{"virsh blockresize one-42 /dev/vg-one/lv-one-42-1 2097152"}, n.calls)
	grow.Disk = 7
	assert.Contains(t, serve(t, n.agent(), grow), "neither a volume nor a file")
}

// TestClusterLearnsWhatAVMUses: it may choose nodes by that.
func TestClusterLearnsWhatAVMUses(t *testing.T) {
	n := newNode(t)
	used := func(cpus, memory string) string {
		return `<utilization id="one-42-use"><nvpair id="one-42-use-cpu" name="cpu" value="` + cpus + `"/><nvpair id="one-42-use-hv_memory" name="hv_memory" value="` + memory + `"/></utilization>`
	}
	do := func(scenario string, q Request) string {
		n.scenario(t, scenario)
		n.configured = nil
		return serve(t, n.clustered(), q)
	}
	deploy := n.request(cluster.VerbStart)
	deploy.Domain = strings.Replace(deploy.Domain, "<devices>", "<vcpu current='2'>4</vcpu><memory>2097152</memory><devices>", 1)
	assert.Contains(t, do("deploy", deploy), "gave up waiting", "the cluster's report stays as it is")
	assert.Contains(t, n.configured[0], used("2", "2048"))

	n.state = "running"
	resize := n.request(cluster.VerbResize)
	resize.CPUs, resize.MemoryMiB = 4, 1024
	require.Empty(t, do("resize", resize))
	assert.Equal(t, []string{`<primitive id="one-42">` + used("4", "1024") + "</primitive>\n"}, n.configured)

	n.state = ""
	do("restore", n.request(cluster.VerbRestore))
	assert.Contains(t, n.configured[0], used("4", "1024"))
}

func TestMediaOfADrive(t *testing.T) {
	n := running(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.home(), "disk.2"), nil, 0o600))
	n.disks["hdc"] = filepath.Join(n.home(), "disk.2")
	eject := n.request(cluster.VerbEject)
	eject.Target, eject.Home, eject.DS = "hdc", "", 101
	insert := n.request(cluster.VerbInsert)
	insert.Target, insert.Disk = "hdc", 2
	for range 2 {
		require.Empty(t, serve(t, n.agent(), eject))
		assert.Empty(t, n.disks["hdc"])
	}
	for range 2 {
		require.Empty(t, serve(t, n.agent(), insert))
		assert.Equal(t, filepath.Join(n.home(), "disk.2"), n.disks["hdc"])
	}
	assert.Len(t, n.calls, 2)
	require.NoError(t, os.Remove(filepath.Join(n.home(), "disk.2")))
	require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(n.home(), "disk.2")))
	assert.Contains(t, serve(t, n.agent(), insert), "domain refused", "a link may lead anywhere")
}

func TestHardwareOfAVMThatIsNotOurs(t *testing.T) {
	n := newNode(t)
	n.state = "running"
	q := n.request(cluster.VerbDetachNIC)
	q.MAC = mac
	assert.Contains(t, serve(t, n.agent(), q), "not deployed by this driver")
	q.Home = ""
	assert.Contains(t, serve(t, n.agent(), q), "no home of VM 42 with a definition")
	assert.Empty(t, n.calls)
}
