//go:build lab

package lab

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/test/fakeoned"
)

// bootSector is the whole guest of a VM, so that emulation in emulation boots it in seconds. It
// counts in sector 1 of the disk that it is started from: how often it has booted, its writes
// (18 a second) and those that failed. It obeys the power button, by which libvirt shuts
// down and reboots.
//
//	start:  ds = es = ss = 0, sp = 0x7c00, drive = dl
//	        port 0x602 (PM1a_EN) = 0x100                  the power button is to be told
//	        read sector 1 to 0x8000; without "CLV1": write that, and zeros
//	        boots++
//	loop:   writes++; write the sector (int 0x13, ah = 0x43, count = 1, of which a failure makes 0);
//	        carry: errors++
//	        until the tick at 0x46c changes: hlt; port 0x600 (PM1a_STS) bit 8: off
//	off:    port 0x604 (PM1a_CNT) = 0x2000                S5
const bootSector = "+jHAjtiOwI7QvAB86hF8AACIFot8ugIGuAAB7/u4AELoUwBmgT4AgENMVjF0GGbHBgCAQ0xWMWYxwGajBIBmowiAZqMMgGb/BgSAZv8GCIC4AEPoIACLHmwEugAG7fbEAXUJ9DsebAR08OvfugQGuAAg7/Tr9r6MfMZEAgGKFot8zRNzBWb/BgyAwwAQAAEAAIAAAAE="

// guestDisk is a file with the guest on it.
func (s *site) guestDisk(name string, mib int64) string {
	s.Helper()
	code, err := base64.StdEncoding.DecodeString(bootSector)
	require.NoError(s, err)
	sector := make([]byte, 512)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	path := s.write(name, string(sector))
	require.NoError(s, os.Truncate(path, mib<<20))
	return path
}

// guestDomain is the domain of a VM as oned writes it for an emulated processor, with the
// guest on disk 0. That is IDE, which shares no memory with the device: of a virtio disk one
// write failed right after one of eight live migrations, with no error on either node.
func guestDomain(vm int) string {
	return fmt.Sprintf(`<domain type='qemu'>
	<name>one-%d</name>
	<uuid>4a9f7553-7c43-41c3-96dc-%012d</uuid>
	<memory>16384</memory>
	<vcpu>1</vcpu>
	<os><type arch='x86_64' machine='pc'>hvm</type></os>
	<features><acpi/></features>
	<devices>
		<emulator><![CDATA[/usr/bin/qemu-system-x86_64]]></emulator>
		<disk type='block' device='disk'>
			<source dev='%s/disk.0'/>
			<target dev='hda' bus='ide'/>
			<driver name='qemu' type='raw' cache='none'/>
		</disk>
		<controller type='scsi' index='0' model='virtio-scsi'/>
		<controller type='usb' index='0' model='none'/>
		<memballoon model='none'/>
	</devices>
</domain>
`, vm, vm, home(vm))
}

// guest is what a guest says of itself.
type guest struct{ boots, writes, errors int }

// guest reads the counters where the disk is active.
func (s *site) guest(n *cluster.Node, vm int) guest {
	s.Helper()
	return s.guestOn(n, volume(vm, 0))
}

// guestOn reads those of a guest on any volume.
func (s *site) guestOn(n *cluster.Node, volume string) guest {
	s.Helper()
	return s.guestAt(n, "/dev/"+cluster.Group+"/"+volume)
}

// guestAt reads those on any device or file.
func (s *site) guestAt(n *cluster.Node, path string) guest {
	s.Helper()
	// Past the page cache, as the guest writes.
	r, err := n.Run(s.Context(), run.Cmd{Path: "dd", Args: []string{"if=" + path, "bs=512", "skip=1", "count=1", "iflag=direct", "status=none"}})
	require.NoError(s, err)
	return readGuest(r.Stdout)
}

func readGuest(sector []byte) guest {
	if len(sector) < 16 || string(sector[:4]) != "CLV1" {
		return guest{} // it has not begun
	}
	at := func(i int) int { return int(binary.LittleEndian.Uint32(sector[i:])) }
	return guest{at(4), at(8), at(12)}
}

// guestTime bounds what a guest is waited for: emulation in emulation, on a busy machine.
const guestTime = 4 * time.Minute

// awaitGuest waits for what a guest is to say.
func (s *site) awaitGuest(n *cluster.Node, vm int, what string, done func(guest) bool) guest {
	s.Helper()
	var last guest
	s.await(what, func() bool { last = s.guest(n, vm); return done(last) })
	require.Zero(s, last.errors, "writes of the guest that failed")
	return last
}

// await asks again and again: what a guest counts on its disk nobody is told of. done may end
// the test, so it runs here and not beside it, as that of require.Eventually does.
func (s *site) await(what string, done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(guestTime); !done(); {
		require.True(s, time.Now().Before(deadline), what)
		time.Sleep(200 * time.Millisecond)
	}
}

// writing waits until the guest is seen to write.
func (s *site) writing(n *cluster.Node, vm int) guest {
	s.Helper()
	first := s.guest(n, vm)
	return s.awaitGuest(n, vm, "the guest writes", func(g guest) bool { return g.writes > first.writes+1 })
}

// guestVM makes a VM with the guest on its disk, on a host, as far as the transfer manager
// does that.
func (s *site) guestVM(vm int, host string) {
	s.Helper()
	image := s.locate(vm, host)
	s.ok("clone", append([]string{"frontend:" + image.Source, at(host, vm, 0)}, of(vm, fakeoned.ImageDS)...)...)
}

// locate is where oned has the VM from now on, with these disks besides the guest's.
func (s *site) locate(vm int, host string, more ...fakeoned.Disk) fakeoned.Image {
	s.Helper()
	image := s.imageFile(100, s.guestDisk("guest", 8), map[string]string{"MODE": "RAW"})
	s.vm(vm, host, append([]fakeoned.Disk{fakeoned.CloneDisk(0, image, 0)}, more...)...)
	return image
}
