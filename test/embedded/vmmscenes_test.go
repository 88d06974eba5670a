//go:build embedded

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
)

// domains is where the libvirt of the machine notes what runs.
const domains = "/run/virsh"

const vmMAC = "02:00:c0:a8:00:01"

// vmDomain is what oned has deployed.
func vmDomain() string {
	return fmt.Sprintf("<domain type='kvm'><name>one-%d</name><vcpu>2</vcpu><memory>1048576</memory><devices>"+
		"<disk type='file' device='disk'><source file='%s'/><target dev='vda'/></disk><disk type='file' device='cdrom'><source file='%s'/><target dev='hda'/></disk></devices></domain>",
		vmID, device(0), device(2))
}

// vmAction is the document of its verbs.
func vmAction(template string) func(*site) string {
	return func(*site) string {
		return fmt.Sprintf("<VMM_DRIVER_ACTION_DATA><VM><ID>%d</ID><TEMPLATE>%s</TEMPLATE><HISTORY_RECORDS><HISTORY><SEQ>0</SEQ><HOSTNAME>node1</HOSTNAME><DS_ID>%d</DS_ID></HISTORY></HISTORY_RECORDS></VM></VMM_DRIVER_ACTION_DATA>",
			vmID, template, fakeoned.SystemDS)
	}
}

// domain is the document of the domain that runs; "" for none.
func (s *site) domain() string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(domains, fmt.Sprintf("one-%d.xml", vmID)))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(s, err)
	return string(text)
}

// definition is what a cluster would start the VM from.
func (s *site) definition() string {
	s.Helper()
	return string(must(s.T, os.ReadFile, filepath.Join(home, "domain.xml")))
}

// vmmScenes are verbs of the VMM driver, on a node without a cluster.
func vmmScenes(i sceneImages) []scene {
	withCD := func(s *site) {
		i.deployed(s)
		require.NoError(s, os.WriteFile(device(2), nil, 0o644))
	}
	run := func(s *site, name string, stdin string, argv ...any) {
		s.Helper()
		c := scene{argv: verb("vmm/"+name, argv...), stdin: func(*site) string { return stdin }}
		result := s.run(c).Wait()
		require.Zero(s, result.Status, result.Stderr)
		s.settled()
	}
	one := fmt.Sprintf("one-%d", vmID)
	deploy := verb("vmm/deploy", home+"/deployment.0", "node1", vmID, "node1")
	running := func(s *site) {
		withCD(s)
		run(s, "deploy", vmDomain(), deploy[1:])
	}
	ends := []any{one, "node1", vmID, "node1"}
	isOff := func(s *site) {
		assert.Empty(s, s.domain())
		assert.Equal(s, lvm.Off, s.volume(0).Mode)
	}
	disk := []any{one, device(1), "vdb", 1, vmID, "node1"}
	second := vmAction("<DISK><DISK_ID>1</DISK_ID></DISK>")
	withSecond := func(s *site) {
		running(s)
		s.vm(fakeoned.CloneDisk(0, i.tar, 0), fakeoned.VolatileDisk(1, "", 16))
		s.ok("mkimage", append([]string{"16", "raw", at("node1", 1)}, ofSystem...)...)
	}
	attached := func(s *site) {
		withSecond(s)
		run(s, "attach_disk", second(s), disk...)
	}
	both := func(s *site, text string, count int) {
		assert.Equal(s, count, strings.Count(s.domain(), text))
		assert.Equal(s, count, strings.Count(s.definition(), text))
	}
	ejected := func(s *site) {
		running(s)
		run(s, "prereconfigure", vmAction("")(s), one, "hda", vmID, "node1")
	}
	nic := vmAction("<NIC><MAC>" + vmMAC + "</MAC></NIC>")
	attachNIC := verb("vmm/attach_nic", one, vmMAC, "br0", "-", "dummy", "one-42-0", vmID, "node1")
	withNIC := func(s *site) {
		running(s)
		run(s, "attach_nic", nic(s), attachNIC[1:])
	}
	checkpoint := home + "/checkpoint"
	saved := func(s *site) {
		running(s)
		run(s, "save", vmAction("")(s), one, checkpoint, "node1", vmID, "node1")
	}
	return []scene{
		{name: "VMM deploy", before: withCD, argv: deploy, stdin: func(*site) string { return vmDomain() }, after: func(s *site) {
			exclusive(s)
			both(s, volume(0), 1)
		}},
		{name: "VMM shutdown", before: running, argv: verb("vmm/shutdown", ends...), stdin: vmAction(""), after: isOff},
		{name: "VMM cancel", before: running, argv: verb("vmm/cancel", ends...), stdin: vmAction(""), after: isOff},
		{name: "VMM attach_disk", before: withSecond, argv: verb("vmm/attach_disk", disk...), stdin: second, after: func(s *site) { both(s, volume(1), 1) }},
		{name: "VMM detach_disk", before: attached, argv: verb("vmm/detach_disk", disk...), stdin: second, after: func(s *site) { both(s, volume(1), 0) }},
		{name: "VMM attach_nic", before: running, argv: attachNIC, stdin: nic, after: func(s *site) { both(s, vmMAC, 1) }},
		{name: "VMM detach_nic", before: withNIC, argv: verb("vmm/detach_nic", one, vmMAC, vmID, "node1"), stdin: nic, after: func(s *site) { both(s, vmMAC, 0) }},
		{name: "VMM restore", before: saved, argv: verb("vmm/restore", checkpoint, "node1", one, vmID, "node1"), stdin: vmAction(""), after: func(s *site) {
			exclusive(s)
			assert.NotEmpty(s, s.domain())
			assert.NotContains(s, s.domain(), " paused=")
			assert.NoFileExists(s, checkpoint)
		}},
		{name: "VMM migrate", before: running, argv: verb("vmm/migrate", one, "node2", "node1", vmID, "node1"), stdin: vmAction(""), after: func(s *site) {
			assert.Empty(s, s.domain())
			assert.FileExists(s, fmt.Sprintf("%s-node2/%s.xml", domains, one))
		}},
		{name: "VMM resize", before: running, argv: verb("vmm/resize", one, vmID, "node1"), stdin: vmAction("<VCPU>1</VCPU><MEMORY>512</MEMORY>"),
			after: func(s *site) { assert.Contains(s, s.definition(), ">524288</currentMemory>") }},
		{name: "VMM reconfigure", before: ejected, argv: verb("vmm/reconfigure", one, "hda", device(2), vmID, "node1"), stdin: vmAction(""),
			after: func(s *site) { assert.Contains(s, s.domain(), "disk.2") }},
	}
}
