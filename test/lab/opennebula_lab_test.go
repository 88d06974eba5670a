//go:build lab

package lab

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"one-clvm/internal/run"
	"one-clvm/lab/cluster"
	"one-clvm/test/fakeoned"
)

// What the lab has not of OpenNebula is played: its commands, and what oned has its drivers do
// for them, which are the real ones of the packages.

// guestName is in the image that the example makes.
const guestName = "web"

// hasOpenNebula gives the front-end what OpenNebula's package and its first start leave there, and
// the tree that step 7 makes an image of.
func (e *example) hasOpenNebula() {
	e.Helper()
	conf, err := os.ReadFile("../../opennebula/onedconf/testdata/7.4.conf")
	require.NoError(e, err)
	const remotes = oneadminHome + "/remotes"
	e.fe.put(e.T, "/etc/one/oned.conf", string(conf), "root", 0o644)
	e.fe.put(e.T, "/etc/one/vmm_exec/vmm_execrc", "LIVE_DISK_SNAPSHOTS=\"kvm-qcow2 kvm-ceph\"\n", "root", 0o644)
	e.fe.put(e.T, remotes+"/VERSION", "7.4.0\n", "oneadmin", 0o644)
	for _, file := range []string{"im/kvm.d/collectd-client.rb", "im/kvm-probes.d/host/monitor/probe"} {
		e.fe.put(e.T, remotes+"/"+file, "#!/bin/sh\n", "oneadmin", 0o755)
	}
	for owner, home := range map[string]string{"root": "/root", "oneadmin": oneadminHome} {
		e.fe.put(e.T, home+"/.one/one_auth", fakeoned.Session+"\n", owner, 0o600)
		e.fe.put(e.T, home+"/.one/one_endpoint", e.oned.URL()+"\n", owner, 0o644)
	}
	e.fe.put(e.T, "/srv/root/etc/hostname", guestName+"\n", "root", 0o644)
	e.fe.put(e.T, "/srv/root/vmlinuz", string(bootKernel(e.bootSector())), "root", 0o644)
	e.fe.put(e.T, "/srv/root/initrd.img", "not looked at", "root", 0o644)
	e.onFrontEnd("root", "", "chown", "-R", "oneadmin:oneadmin", oneadminHome)
}

// onFrontEnd runs a program there, which must succeed.
func (e *example) onFrontEnd(user, stdin string, argv ...string) string {
	e.Helper()
	out, err := e.tryOnFrontEnd(user, stdin, argv...)
	require.NoError(e, err)
	return out
}

func (e *example) tryOnFrontEnd(user, stdin string, argv ...string) (string, error) {
	as := []string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "env", "HOME=" + map[string]string{"root": "/root", "oneadmin": oneadminHome}[user]}
	argv = append(as, argv...)
	r, err := e.fe.Run(e.Context(), run.Cmd{Path: argv[0], Args: argv[1:], Stdin: strings.NewReader(stdin)})
	return string(r.Stdout), err
}

// commands that are played, by their first words.
func (e *example) commands() map[string]func(words []string) string {
	return map[string]func([]string) string{
		"systemctl restart opennebula": e.restart, "onehost create": e.createHost, "onedatastore create": e.createDatastore,
		"oneimage create": e.createImage, "onevm create": e.createVM, "onevm show": e.showVM,
	}
}

func (e *example) isPlayed(host, command string) bool {
	return host == frontEndName && slices.Contains([]string{"systemctl", "onehost", "onedatastore", "oneimage", "onevm"}, strings.Fields(command)[0])
}

func (e *example) play(command string) string {
	e.Helper()
	for name, do := range e.commands() {
		if rest, is := strings.CutPrefix(command, name); is {
			return do(strings.Fields(rest))
		}
	}
	require.Fail(e, "nobody plays", command)
	return ""
}

var (
	comment   = regexp.MustCompile(`(?m)^\s*#.*$`)
	section   = regexp.MustCompile(`(?m)^\s*([A-Za-z_]+)\s*=\s*(?:\[([^\]]*)\]|"([^"]*)"|(\S+))`)
	attribute = regexp.MustCompile(`([A-Za-z_]+)\s*=\s*"([^"]*)"`)
)

// restart: oned reads its configuration, and shows it by its API.
func (e *example) restart([]string) string {
	e.patient()
	var document strings.Builder
	element := func(name, text string) {
		fmt.Fprintf(&document, "<%s><![CDATA[%s]]></%[1]s>", strings.ToUpper(name), text)
	}
	document.WriteString("<OPENNEBULA_CONFIGURATION>")
	for _, m := range section.FindAllStringSubmatch(comment.ReplaceAllString(e.onFrontEnd("root", "", "cat", "/etc/one/oned.conf"), ""), -1) {
		if m[2] == "" {
			element(m[1], m[3]+m[4])
			continue
		}
		name := strings.ToUpper(m[1])
		fmt.Fprintf(&document, "<%s>", name)
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			element(a[1], a[2])
		}
		fmt.Fprintf(&document, "</%s>", name)
	}
	document.WriteString("</OPENNEBULA_CONFIGURATION>")
	e.oned.Put(fakeoned.Configuration, 0, document.String())
	return ""
}

// next is the id of the next object of a kind.
func (e *example) next(kind fakeoned.Kind, first int) int {
	for e.oned.Document(kind, first) != "" {
		first++
	}
	return first
}

func allocated(id int) string { return fmt.Sprintf("ID: %d\n", id) }

// createHost: NAME --im IM --vm VM. oned copies the drivers' scripts to it.
func (e *example) createHost(words []string) string {
	id := e.next(fakeoned.Hosts, 0)
	e.oned.Put(fakeoned.Hosts, id, fakeoned.Host(id, words[0], 2))
	e.oned.Change(fakeoned.Hosts, id, map[string]string{"IM_MAD": words[2], "VM_MAD": words[4]})
	e.onFrontEnd("oneadmin", "", "rsync", "-Laz", "--delete", oneadminHome+"/remotes/", words[0]+":"+cluster.Remotes)
	return allocated(id)
}

// createDatastore: FILE.
func (e *example) createDatastore(words []string) string {
	e.Helper()
	id, err := e.oned.CreateDatastore(e.onFrontEnd("root", "", "cat", oneadminHome+"/"+words[0]))
	require.NoError(e, err)
	e.onFrontEnd("oneadmin", "", "mkdir", "-p", fmt.Sprintf("%s/datastores/%d", oneadminHome, id))
	return allocated(id)
}

// createImage: --datastore files --type TYPE --name NAME --path PATH. OpenNebula's driver fs copies it.
func (e *example) createImage(words []string) string {
	name, from := words[5], words[7]
	require.Equal(e, "/var/tmp", filepath.Dir(from), "the SAFE_DIRS of the files datastore")
	image := fakeoned.Image{ID: e.next(fakeoned.Images, 0), Name: name, Source: oneadminHome + "/datastores/2/" + name, SizeMiB: 1}
	e.onFrontEnd("root", "", "install", "-D", "-o", "oneadmin", "-g", "oneadmin", from, image.Source)
	e.oned.Put(fakeoned.Images, image.ID, image.Document())
	e.oned.Change(fakeoned.Images, image.ID, map[string]string{"DATASTORE_ID": "2"})
	return allocated(image.ID)
}

// image that has a name.
func (e *example) image(name string) fakeoned.Image {
	e.Helper()
	text := func(document, field string) string {
		m := regexp.MustCompile("<" + field + `>(?:<!\[CDATA\[)?([^<\]]*)`).FindStringSubmatch(document)
		require.NotNil(e, m, field)
		return m[1]
	}
	for id := 0; ; id++ {
		document := e.oned.Document(fakeoned.Images, id)
		require.NotEmpty(e, document, "no image %s", name)
		if text(document, "NAME") == name {
			image := fakeoned.Image{ID: id, Name: name, Source: text(document, "SOURCE")}
			_, err := fmt.Sscan(text(document, "SIZE"), &image.SizeMiB)
			require.NoError(e, err)
			return image
		}
	}
}

var bootFile = regexp.MustCompile(`(KERNEL|INITRD)_DS = "\$FILE\[IMAGE=([^\]]*)\]"`)

// createVM: FILE. The scheduler takes the first host; oned has the drivers make the disk, copy the
// kernel and the ramdisk, and start it.
func (e *example) createVM(words []string) string {
	e.Helper()
	text, host := e.onFrontEnd("root", "", "cat", oneadminHome+"/"+words[0]), e.Nodes[0].Name
	template := map[string]string{"DEV_PREFIX": "hd"} // what oned.conf of 7.0 has by default
	for _, m := range attribute.FindAllStringSubmatch(text, -1) {
		template[m[1]] = m[2]
	}
	template["TARGET"] = template["DEV_PREFIX"] + "a"
	require.Equal(e, template["TARGET"], template["ROOT"], "the kernel is told of a disk that the VM does not have")
	image := e.image(template["IMAGE"])
	disk := fakeoned.CloneDisk(0, image, 0).With(map[string]string{"DEV_PREFIX": template["DEV_PREFIX"], "TARGET": template["TARGET"]})
	e.oned.Put(fakeoned.VMs, webVM, fakeoned.VM{ID: webVM, Name: guestName, Host: host, Disks: []fakeoned.Disk{disk}}.Document())
	e.onFrontEnd("oneadmin", "", append([]string{driver("tm/clvm/clone"), frontEndName + ":" + image.Source, at(host, webVM, 0)}, of(webVM, fakeoned.ImageDS)...)...)
	for _, m := range bootFile.FindAllStringSubmatch(text, -1) { // the driver of datastore "files" is OpenNebula's
		e.onFrontEnd("oneadmin", "", "scp", "-q", e.image(m[2]).Source, host+":"+home(webVM)+"/"+strings.ToLower(m[1]))
	}
	deployment := home(webVM) + "/deployment.0"
	answer := e.onFrontEnd("oneadmin", webDomain(template), "ssh", host, cluster.Remotes+"/vmm/rhcs/deploy", deployment, host, fmt.Sprint(webVM), host)
	require.Equal(e, name(webVM)+"\n", answer, "the deploy id")
	e.oned.Lose(webVM, 3, 3) // RUNNING
	return allocated(webVM)
}

// driver is the path of a script of the packages' drivers.
func driver(script string) string { return oneadminHome + "/remotes/" + script }

// showVM: ID.
func (e *example) showVM([]string) string {
	e.Helper()
	host, state, lcm := e.oned.At(webVM)
	require.Equal(e, []int{3, 3}, []int{state, lcm}, "ACTIVE, RUNNING")
	return fmt.Sprintf("VIRTUAL MACHINE %d INFORMATION\nNAME                : %s\nSTATE               : ACTIVE\nLCM_STATE           : RUNNING\nHOST                : %s\nLOCK                : None\n", webVM, guestName, host)
}

// Migrate implements fakeoned.Drivers: what oned does when it is told that the VM is elsewhere. That
// POSTMIGRATE fails on a node that is dead is nothing to it.
func (e *example) Migrate(vm int, from, to string) error {
	call := append([]string{from, to, home(vm)}, of(vm, fakeoned.SystemDS)...)
	if _, err := e.tryOnFrontEnd("oneadmin", e.document(vm), append([]string{driver("tm/clvm/premigrate")}, call...)...); err != nil {
		return err
	}
	if _, err := e.tryOnFrontEnd("oneadmin", e.action(vm), driver("vmm/rhcs/migrate_local"), name(vm), to, from, fmt.Sprint(vm), from); err != nil {
		return err
	}
	_, err := e.tryOnFrontEnd("oneadmin", e.document(vm), append([]string{driver("tm/clvm/postmigrate")}, call...)...)
	e.Logf("postmigrate: %v", err)
	return nil
}

// Deploy implements fakeoned.Drivers. No VM here is lost, or off.
func (e *example) Deploy(vm int, host string) error {
	return fmt.Errorf("deploy of VM %d on %s", vm, host)
}

// webDomain is the domain as oned writes it of a template, for an emulated processor.
func webDomain(template map[string]string) string {
	return fmt.Sprintf(`<domain type='qemu'>
	<name>one-%d</name>
	<uuid>4a9f7553-7c43-41c3-96dc-000000000000</uuid>
	<vcpu>1</vcpu>
	<memory>524288</memory>
	<os>
		<type arch='x86_64' machine='pc'>hvm</type>
		<kernel>%[2]s/kernel</kernel>
		<initrd>%[2]s/initrd</initrd>
		<cmdline>root=/dev/%[3]s %[4]s</cmdline>
	</os>
	<features><acpi/></features>
	<devices>
		<emulator><![CDATA[/usr/bin/qemu-system-x86_64]]></emulator>
		<disk type='block' device='disk'>
			<source dev='%[2]s/disk.0'/>
			<target dev='%[5]s'/>
			<driver name='qemu' type='raw' cache='none'/>
		</disk>
		<controller type='usb' index='0' model='none'/>
		<memballoon model='none'/>
	</devices>
</domain>
`, webVM, home(webVM), template["ROOT"], template["KERNEL_CMD"], template["TARGET"])
}

// bootSector is the guest that counts.
func (e *example) bootSector() []byte {
	code, err := base64.StdEncoding.DecodeString(bootSector)
	require.NoError(e, err)
	return code
}

// bootKernel is a kernel by the protocol of Linux (2.02) whose part for real mode is a boot sector:
// it is put where a BIOS has it, and started as if from the first disk. The sector that the guest
// counts in is before the superblock of an ext4, and free.
//
//	cli; cld; xor ax, ax; es = ax; si = 0x400 (ds is where this file was loaded); di = 0x7c00;
//	cx = 256; rep movsw; dl = 0x80; jmp 0:0x7c00
func bootKernel(sector []byte) []byte {
	const setupSectors = 2
	kernel := make([]byte, 512*(1+setupSectors)+512)
	kernel[0x1f1] = setupSectors
	binary.LittleEndian.PutUint16(kernel[0x1fe:], 0xaa55)
	copy(kernel[0x200:], []byte{0xeb, 0x66}) // jmp 0x268
	copy(kernel[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(kernel[0x206:], 0x0202)
	kernel[0x211] = 1 // what is not setup is loaded high
	copy(kernel[0x268:], []byte{
		0xfa, 0xfc, 0x31, 0xc0, 0x8e, 0xc0, 0xbe, 0x00, 0x04, 0xbf, 0x00, 0x7c, 0xb9, 0x00, 0x01, 0xf3, 0xa5,
		0xb2, 0x80, 0xea, 0x00, 0x7c, 0x00, 0x00,
	})
	copy(kernel[0x400:], sector)
	return kernel
}
