//go:build embedded

package embedded

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

func TestMain(m *testing.M) {
	testbed.Main(m.Run, testbed.Plain, testbed.Failpoints, testbed.OldKernel, testbed.VMMFailpoints, testbed.Virsh)
}

// program is where the suite is installed.
const program = "/usr/libexec/one-clvm/tm-clvm"

// groupDir is the volume group in files.
func groupDir() string { return filepath.Join(testbed.GroupsDirectory(), testbed.Group) }

// vmID is the VM of all tests.
const vmID = 42

// site is a machine with one VM on it, as one test sees it. Verbs run one after another.
type site struct {
	*testing.T
	machine *testbed.Machine
	oned    *fakeoned.Server
	mounts  []string // at the beginning

	bystander *bystander // if there is one: it is not one of volumes()
	processes []process  // that are there whatever happens
}

// start makes a machine for a test, with oned 7.4, and looks at its end for what is left.
func start(t *testing.T, options testbed.Options) *site {
	t.Helper()
	if _, err := os.Stat(groupDir()); err == nil {
		options.GroupSize = "-" // an earlier test's group, which is empty
	}
	machine, err := testbed.Start(t.Context(), options)
	require.NoError(t, err)
	s := &site{T: t, machine: machine, oned: machine.Oned, mounts: mounts(t)}
	t.Cleanup(func() {
		s.nothingLeft()
		assert.NoError(t, machine.Stop())
		if t.Failed() {
			s.scrap()
		}
	})
	s.release("7.4.0")
	return s
}

// in is the same site for a subtest, which must leave nothing, either.
func (s *site) in(t *testing.T) *site {
	sub := *s
	sub.T = t
	t.Cleanup(func() {
		sub.nothingLeft()
		if t.Failed() {
			sub.scrap()
		}
	})
	return &sub
}

// scrap removes by force what a failed test left, so that the next one starts clean.
func (s *site) scrap() {
	s.Helper()
	require.NoError(s, os.RemoveAll(home))
	s.root(program, "vg", "destroy", testbed.Group)
	s.root(program, "vg", "create", testbed.Group, "--size", "1T")
	if s.bystander != nil {
		s.addBystander()
	}
}

// release makes the front-end one of that version of OpenNebula.
func (s *site) release(version string) {
	s.Helper()
	require.NoError(s, os.WriteFile(filepath.Join(testbed.Home, "remotes/VERSION"), []byte(version+"\n"), 0o644))
}

// settings are the two ends' configuration for this test.
func (s *site) settings(agent, cxmrc map[string]string) {
	s.Helper()
	require.NoError(s, s.machine.Configure(agent, cxmrc))
	s.Cleanup(func() { assert.NoError(s, s.machine.Configure(nil, nil)) })
}

// home is the VM's directory as oned writes it, with the doubled slash.
var home = fmt.Sprintf("%s//datastores/%d/%d", testbed.Home, fakeoned.SystemDS, vmID)

// at is a disk of the VM on a host, in oned's notation.
func at(host string, disk int) string { return fmt.Sprintf("%s:%s/disk.%d", host, home, disk) }

// device is the path by which the hypervisor opens a disk.
func device(disk int) string { return fmt.Sprintf("%s/disk.%d", home, disk) }

// volume is the name of a disk's volume.
func volume(disk int) string { return fmt.Sprintf("lv-one-%d-%d", vmID, disk) }

// The last two arguments of most verbs.
var (
	ofImage  = []string{strconv.Itoa(vmID), strconv.Itoa(fakeoned.ImageDS)}
	ofSystem = []string{strconv.Itoa(vmID), strconv.Itoa(fakeoned.SystemDS)}
)

// image makes an image known to oned. Its file is made by the caller, at Source.
func (s *site) image(id int, template map[string]string) fakeoned.Image {
	image := fakeoned.Image{
		ID: id, Name: fmt.Sprintf("image-%d", id), SizeMiB: 64, Template: template,
		Source: fileOf(id),
	}
	s.oned.Put(fakeoned.Images, id, image.Document())
	return image
}

// tarImage is a TGZ image of that many MiB when deployed; more is added to its template.
func (s *site) tarImage(id int, size string, more map[string]string) fakeoned.Image {
	template := map[string]string{"MODE": "TGZ", "SIZE": size, "FSTYPE": "ext4"}
	maps.Copy(template, more)
	return s.image(id, template)
}

// vm gives the VM these disks, on node1.
func (s *site) vm(disks ...fakeoned.Disk) {
	s.oned.Put(fakeoned.VMs, vmID, fakeoned.VM{ID: vmID, Name: "vm", Host: "node1", Disks: disks}.Document())
}

// verb runs a verb's script as oned does.
func (s *site) verb(name string, argv ...string) testbed.Result {
	s.Helper()
	result, err := s.machine.Run(s.Context(), testbed.Command{Argv: append([]string{testbed.Verb(name)}, argv...)})
	require.NoError(s, err)
	return result
}

// verbOn gives a verb something on its standard input.
func (s *site) verbOn(stdin, name string, argv ...string) testbed.Result {
	s.Helper()
	result, err := s.machine.Run(s.Context(), testbed.Command{Argv: append([]string{testbed.Verb(name)}, argv...), Stdin: stdin})
	require.NoError(s, err)
	return result
}

func (s *site) okOn(stdin, name string, argv ...string) {
	s.Helper()
	result := s.verbOn(stdin, name, argv...)
	require.Zero(s, result.Status, "%s %v: %s", name, argv, result.Stderr)
	require.Empty(s, messages(result.Stderr))
}

// ok is a verb that succeeds, and says nothing to the user.
func (s *site) ok(name string, argv ...string) testbed.Result {
	s.Helper()
	result := s.verb(name, argv...)
	require.Zero(s, result.Status, "%s %v: %s", name, argv, result.Stderr)
	require.Empty(s, messages(result.Stderr))
	return result
}

// fails is a verb that fails, with one message to the user in which all of want are.
func (s *site) fails(want []string, name string, argv ...string) string {
	s.Helper()
	return s.failed(s.verb(name, argv...), want...)
}

// failed holds a failure to what oned 7.x makes of it.
func (s *site) failed(result testbed.Result, want ...string) string {
	s.Helper()
	require.Contains(s, []int{1, 2}, result.Status, "%s", result.Stderr)
	require.True(s, strings.HasSuffix(result.Stderr, "\n"), "without it the stream from a host hangs: %q", result.Stderr)
	found := messages(result.Stderr)
	require.Len(s, found, 1, "one message to the user: %s", result.Stderr)
	for _, text := range want {
		require.Contains(s, found[0], text)
	}
	s.Logf("message: %s", found[0])
	return found[0]
}

var logLine = regexp.MustCompile(`^(ERROR|INFO|WARN|DEBUG): `)

// messages are the lines of standard error that oned 7.x shows to the user.
func messages(stderr string) []string {
	var out []string
	for line := range strings.Lines(stderr) {
		if !logLine.MatchString(line) {
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	return out
}

// clone deploys an image as a disk and looks at what every deployed disk has.
func (s *site) clone(image fakeoned.Image, disk int) {
	s.Helper()
	s.ok("clone", append([]string{"frontend:" + image.Source, at("node1", disk)}, ofImage...)...)
	s.complete(disk, lvm.Exclusive)
}

// complete: the disk's volume is there, finished, in that mode, and linked if it is active.
func (s *site) complete(disk int, mode lvm.Mode) lvm.Volume {
	s.Helper()
	v := s.volume(disk)
	assert.True(s, v.Tags.Has("one", lvm.KeyTag("vm", vmID), lvm.KeyTag("disk", disk), lvm.KeyTag("ds", fakeoned.SystemDS)), "tags %q", v.Tags)
	assert.False(s, v.Tags.Has(lvm.TagBuilding))
	assert.Equal(s, mode, v.Mode)
	if mode != lvm.Off {
		target, err := os.Readlink(device(disk))
		require.NoError(s, err)
		assert.Equal(s, v.Path, target)
	}
	return v
}

// volume finds a disk's volume.
func (s *site) volume(disk int) lvm.Volume {
	s.Helper()
	for _, v := range s.volumes() {
		if v.Name == volume(disk) {
			return v
		}
	}
	require.Fail(s, "no volume "+volume(disk))
	return lvm.Volume{}
}

// volumes are all of the group's, but for the bystander.
func (s *site) volumes() []lvm.Volume {
	s.Helper()
	return s.volumesOf(testbed.Group)
}

// deleteDisk and deleteHome are what oned does at the end of a VM.
func (s *site) deleteDisk(disk int) {
	s.Helper()
	s.ok("delete", append([]string{at("node1", disk)}, ofImage...)...)
}

func (s *site) deleteHome() {
	s.Helper()
	s.ok("delete", append([]string{"node1:" + home}, ofSystem...)...)
}

// root runs a program as root, to look at things with other people's eyes.
func (s *site) root(argv ...string) string {
	s.Helper()
	result, err := s.machine.Run(context.WithoutCancel(s.Context()), testbed.Command{Argv: argv, Root: true})
	require.NoError(s, err)
	require.Zero(s, result.Status, "%v: %s%s", argv, result.Stdout, result.Stderr)
	return result.Stdout
}
